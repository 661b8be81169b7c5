"""Sessions with the same concurrency key take turns."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("profiles", "0003_harness_status_reasons"),
        ("runner_sessions", "0006_claim_ids_of_attempts"),
    ]

    operations = [
        migrations.AddField(
            model_name="runnersession",
            name="concurrency_key",
            field=models.CharField(blank=True, default="", max_length=120),
        ),
        migrations.AddField(
            model_name="runnersession",
            name="concurrency_limit",
            field=models.PositiveIntegerField(default=1),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(
                    ("state__in", ["cancelling", "dispatched", "running"]),
                    models.Q(("concurrency_key", ""), _negated=True),
                ),
                fields=["organization", "concurrency_key"],
                name="runner_session_live_key",
            ),
        ),
    ]
