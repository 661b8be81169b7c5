"""What a grant renews and until when it may be renewed; indexes of what is open and what was in
force."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

from keeptrusts_runners.identity.rls import tenant_reference

# What was active before counts from its activation too.
_BOUND_WHAT_IS_THERE = """
UPDATE runner_grant
   SET renewable_until = greatest(
         expires_at,
         activated_at + make_interval(secs => coalesce((rule->>'max_ttl_seconds')::integer, 3600)))
 WHERE activated_at IS NOT NULL
"""


class Migration(migrations.Migration):
    dependencies = [("grants", "0007_time_buckets_of_sessions")]

    operations = [
        migrations.AddField(
            "permissiongrant",
            "renews",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="renewals",
                to="grants.permissiongrant",
            ),
        ),
        migrations.AddField("permissiongrant", "renewable_until", models.DateTimeField(null=True)),
        migrations.RunSQL(_BOUND_WHAT_IS_THERE, migrations.RunSQL.noop),
        tenant_reference("runner_grant", "renews_id", "runner_grant"),
        migrations.AddIndex(
            "permissiongrant",
            models.Index(
                condition=Q(state__in=["requested", "approved", "active"]),
                fields=["organization", "session", "id"],
                name="runner_grant_open",
            ),
        ),
        migrations.AddIndex(
            "permissiongrant",
            models.Index(
                condition=Q(activated_at__isnull=False),
                fields=["organization", "-activated_at", "-id"],
                name="runner_grant_activated",
            ),
        ),
        migrations.AddConstraint(
            "permissiongrant",
            models.UniqueConstraint(
                condition=Q(state="requested"),
                fields=["renews"],
                name="runner_grant_one_renewal",
            ),
        ),
        migrations.AddConstraint(
            "permissiongrant",
            models.CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__lte=F("renewable_until")),
                name="runner_grant_within_its_rule",
            ),
        ),
    ]
