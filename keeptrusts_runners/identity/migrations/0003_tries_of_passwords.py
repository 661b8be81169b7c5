"""Tries of passwords, counted before an organization is known: they belong to none."""

from django.db import migrations, models

from keeptrusts_runners.identity.rls import MAINTAIN, grant


class Migration(migrations.Migration):
    dependencies = [("identity", "0002_row_level_security_and_roles")]

    operations = [
        migrations.CreateModel(
            name="PasswordTries",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("free", models.PositiveIntegerField()),
                ("tries", models.PositiveIntegerField()),
                ("last_at", models.DateTimeField()),
            ],
            options={"db_table": "identity_password_tries"},
        ),
        grant("identity_password_tries", "SELECT", "INSERT", "UPDATE", "DELETE"),
        grant("identity_password_tries", "SELECT", "DELETE", role=MAINTAIN),
    ]
