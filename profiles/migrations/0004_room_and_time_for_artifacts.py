"""How much the sessions of a profile may store, and how long the content of artifacts is kept."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("profiles", "0003_harness_status_reasons"),
    ]

    operations = [
        migrations.AddField(
            model_name="runnerprofile",
            name="artifact_retention_days",
            field=models.PositiveIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="runnerprofile",
            name="max_stored_bytes",
            field=models.PositiveBigIntegerField(null=True),
        ),
    ]
