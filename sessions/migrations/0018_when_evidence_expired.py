"""When retention removed the content of a session's evidence, and what it may come for."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("profiles", "0003_harness_status_reasons"),
        ("runner_sessions", "0017_live_sessions_by_profile"),
    ]

    operations = [
        migrations.AddField(
            model_name="runnersession",
            name="evidence_expired_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", False), ("evidence_expired_at", None)),
                fields=["profile", "ended_at"],
                name="runner_session_kept",
            ),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(("ended_at__isnull", False)),
                fields=["-ended_at"],
                name="runner_session_newest_ended",
            ),
        ),
    ]
