"""What a person decided about a lost session, by whom and when."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runner_sessions", "0003_sessions_of_a_harness"),
    ]

    operations = [
        migrations.AddField(
            model_name="runnersession",
            name="disposition",
            field=models.CharField(
                blank=True,
                choices=[("accept", "Accept"), ("retry", "Retry"), ("abandon", "Abandon")],
                default="",
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="runnersession",
            name="disposition_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="runnersession",
            name="disposition_by",
            field=models.CharField(blank=True, default="", max_length=64),
        ),
    ]
