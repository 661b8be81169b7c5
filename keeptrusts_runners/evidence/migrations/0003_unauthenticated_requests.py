"""How many requests nobody was authenticated for, over all servers."""

from django.db import migrations

from keeptrusts_runners.identity.rls import FORENSICS, grant

_TABLE = """
CREATE TABLE evidence_unauthenticated (
  code text PRIMARY KEY,
  total bigint NOT NULL
);
"""


class Migration(migrations.Migration):
    dependencies = [("evidence", "0002_organization_log")]

    operations = [
        migrations.RunSQL(_TABLE, "DROP TABLE evidence_unauthenticated"),
        grant("evidence_unauthenticated", "SELECT", "INSERT", "UPDATE"),
        grant("evidence_unauthenticated", "SELECT", role=FORENSICS),
    ]
