"""The kept answers of creating requests, each visible to its own organization alone."""

from django.contrib.postgres.functions import TransactionNow
from django.db import migrations, models

from keeptrusts_runners.identity.rls import protect


class Migration(migrations.Migration):
    initial = True

    dependencies = [("identity", "0002_row_level_security_and_roles")]

    operations = [
        migrations.CreateModel(
            name="IdempotencyKey",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("organization_id", models.UUIDField()),
                ("principal", models.CharField(max_length=64)),
                ("route", models.CharField(max_length=200)),
                ("key", models.CharField(max_length=255)),
                ("body_digest", models.BinaryField(max_length=32)),
                ("status", models.PositiveSmallIntegerField()),
                ("headers", models.JSONField(default=dict)),
                ("body", models.BinaryField()),
                (
                    "created_at",
                    models.DateTimeField(db_default=TransactionNow(), editable=False),
                ),
            ],
            options={
                "db_table": "api_idempotency_key",
                "indexes": [models.Index(fields=["created_at"], name="api_idempotency_key_age")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization_id", "principal", "route", "key"),
                        name="api_idempotency_key_once",
                    )
                ],
            },
        ),
        protect(
            "api_idempotency_key",
            app=("SELECT", "INSERT", "DELETE"),
            maintain=("SELECT", "DELETE"),
            # Answers are kept for retries, not for looking at.
            forensics=False,
        ),
    ]
