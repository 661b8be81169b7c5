"""Grants and artifacts lose the index by organization alone. Nobody lists them so, and after a burst,
before statistics know of it, PostgreSQL read all of an organization's grants by it for the few that
are open."""

import django.db.models.deletion
from django.db import migrations, models


def organization() -> models.ForeignKey:
    return models.ForeignKey(
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="identity.organization",
    )


class Migration(migrations.Migration):
    dependencies = [("grants", "0011_integrity_of_artifacts")]

    operations = [
        migrations.AlterField("artifact", "organization", organization()),
        migrations.AlterField("permissiongrant", "organization", organization()),
    ]
