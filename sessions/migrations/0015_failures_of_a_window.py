"""An index over what failed, by the time that it ended, for summaries of failures."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runner_sessions", "0014_session_figures")]

    operations = [
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(("state__in", ["expired", "failed", "lost", "timed_out"])),
                fields=["organization", "-ended_at"],
                name="runner_session_failed",
            ),
        ),
    ]
