"""Who asked for a cancellation, when, and when the lease holder was told."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runner_sessions", "0008_executors"),
    ]

    operations = [
        migrations.AddField(
            model_name="runnersession",
            name="cancel_delivered_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="runnersession",
            name="cancel_requested_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="runnersession",
            name="cancel_requested_by",
            field=models.CharField(blank=True, default="", max_length=64),
        ),
    ]
