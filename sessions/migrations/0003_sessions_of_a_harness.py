"""One index over the sessions of a harness revision, newest first, in place of the plain one."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("profiles", "0003_harness_status_reasons"),
        ("runner_sessions", "0002_row_level_security"),
    ]

    operations = [
        migrations.AlterField(
            model_name="runnersession",
            name="harness",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="sessions",
                to="profiles.harnessrevision",
            ),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(fields=["harness", "-id"], name="runner_session_of_harness"),
        ),
    ]
