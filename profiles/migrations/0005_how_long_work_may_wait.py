"""How long a session may wait for an executor before somebody should look, profile by profile."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("profiles", "0004_room_and_time_for_artifacts"),
    ]

    operations = [
        migrations.AddField(
            model_name="runnerprofile",
            name="queue_target_seconds",
            field=models.PositiveIntegerField(db_default=600, default=600),
        ),
    ]
