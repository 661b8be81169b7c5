"""Three lists of the approvals inbox, each from an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("grants", "0012_no_index_by_organization_alone")]

    operations = [
        migrations.AddIndex(
            model_name="permissiongrant",
            index=models.Index(
                condition=models.Q(("state__in", ["requested", "lapsed"])),
                fields=["organization", "-id"],
                name="runner_grant_lapsed",
            ),
        ),
        migrations.AddIndex(
            model_name="permissiongrant",
            index=models.Index(
                condition=models.Q(("state", "revoked")),
                fields=["organization", "-ended_at", "-id"],
                name="runner_grant_revoked",
            ),
        ),
        migrations.AddIndex(
            model_name="decision",
            index=models.Index(fields=["organization", "-id"], name="runner_grant_decision_newest"),
        ),
    ]
