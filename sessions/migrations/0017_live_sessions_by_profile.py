"""What a limit counts, in an index that has an order of its own."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("profiles", "0003_harness_status_reasons"),
        ("runner_sessions", "0016_which_organizations_have_work"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(("state__in", ["cancelling", "dispatched", "running"])),
                fields=["profile", "dispatched_at"],
                name="runner_session_live",
            ),
        ),
    ]
