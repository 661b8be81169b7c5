"""Of a harness revision it is kept who deprecated or recalled it, when, and why."""

from django.db import migrations, models

from keeptrusts_runners.identity.rls import grant

_COLUMNS = "status_reason, status_changed_at, status_changed_by"


class Migration(migrations.Migration):
    dependencies = [("profiles", "0002_row_level_security")]

    operations = [
        migrations.AddField(
            model_name="harnessrevision",
            name="status_reason",
            field=models.TextField(blank=True, default=""),
        ),
        migrations.AddField(
            model_name="harnessrevision",
            name="status_changed_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="harnessrevision",
            name="status_changed_by",
            field=models.CharField(blank=True, default="", max_length=64),
        ),
        grant("runner_harness", f"UPDATE ({_COLUMNS})"),
    ]
