"""Which bytes the store has and who names them, the room that they take, and what became of an
artifact's content. What is there already is counted."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

from keeptrusts_runners.identity.rls import APP, function, protect

_COUNT_WHAT_IS_THERE = """
INSERT INTO runner_blob (organization_id, sha256, size_bytes, artifacts, reserved_at)
SELECT organization_id, sha256, max(size_bytes), count(*), now() FROM runner_artifact
 GROUP BY organization_id, sha256;
INSERT INTO runner_storage_usage
       (organization_id, owner_id, kind, profile_id, artifacts, size_bytes)
SELECT a.organization_id, coalesce(a.session_id, s.profile_id),
       CASE WHEN a.session_id IS NULL THEN 'profile' ELSE 'session' END,
       CASE WHEN a.session_id IS NOT NULL THEN s.profile_id END, count(*), sum(a.size_bytes)
  FROM runner_artifact a JOIN runner_session s ON s.id = a.session_id
 GROUP BY GROUPING SETS ((a.organization_id, a.session_id, s.profile_id),
                         (a.organization_id, s.profile_id))
 UNION ALL
SELECT organization_id, organization_id, 'organization', NULL, sum(artifacts), sum(size_bytes)
  FROM runner_blob GROUP BY organization_id;
"""
_FIGURES = """
CREATE FUNCTION kt_storage_figures(OUT artifacts bigint, OUT bytes bigint, OUT unnamed bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT coalesce(sum(u.artifacts), 0)::bigint, coalesce(sum(u.size_bytes), 0)::bigint,
         (SELECT count(*) FROM runner_blob b WHERE b.artifacts = 0)
    FROM runner_storage_usage u WHERE u.kind = 'organization'
$$
"""
_ORGANIZATION = models.ForeignKey(
    db_index=False,
    on_delete=django.db.models.deletion.PROTECT,
    related_name="+",
    to="identity.organization",
)


class Migration(migrations.Migration):
    dependencies = [
        ("grants", "0009_four_eyes_in_the_database"),
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0018_when_evidence_expired"),
    ]

    operations = [
        migrations.CreateModel(
            name="StoredBlob",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organization_id",
                        "sha256",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("organization", _ORGANIZATION),
                ("sha256", models.CharField(max_length=64)),
                ("size_bytes", models.PositiveBigIntegerField()),
                ("artifacts", models.PositiveBigIntegerField(default=0)),
                ("reserved_at", models.DateTimeField()),
            ],
            options={
                "db_table": "runner_blob",
                "indexes": [
                    models.Index(
                        condition=Q(artifacts=0),
                        fields=["reserved_at"],
                        name="runner_blob_unnamed",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="StorageUsage",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "organization_id",
                        "owner_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("organization", _ORGANIZATION.clone()),
                ("owner_id", models.UUIDField()),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("organization", "Organization"),
                            ("profile", "Profile"),
                            ("session", "Session"),
                        ],
                        max_length=16,
                    ),
                ),
                ("profile_id", models.UUIDField(null=True)),
                ("artifacts", models.PositiveBigIntegerField(default=0)),
                ("size_bytes", models.PositiveBigIntegerField(default=0)),
            ],
            options={
                "db_table": "runner_storage_usage",
                "indexes": [
                    models.Index(
                        condition=Q(artifacts__gt=0, kind="session"),
                        fields=["profile_id", "owner_id"],
                        name="runner_storage_usage_sessions",
                    )
                ],
            },
        ),
        migrations.RunSQL(_COUNT_WHAT_IS_THERE, migrations.RunSQL.noop),
        protect(
            "runner_blob",
            app=("SELECT", "INSERT", "UPDATE"),
            maintain=("SELECT", "UPDATE", "DELETE"),
        ),
        protect("runner_storage_usage", app=("SELECT", "INSERT", "UPDATE"), maintain=("SELECT",)),
        function(_FIGURES, "kt_storage_figures()", APP),
        migrations.RunSQL(
            "GRANT EXECUTE ON FUNCTION kt_uuid7_floor(timestamptz) TO keeptrusts_maintain",
            "REVOKE EXECUTE ON FUNCTION kt_uuid7_floor(timestamptz) FROM keeptrusts_maintain",
        ),
        migrations.AddField(
            "artifact", "digest_source", models.CharField(default="server", max_length=8)
        ),
        migrations.AddField("artifact", "removal_reason", models.TextField(blank=True, default="")),
        migrations.AddField("artifact", "removed_at", models.DateTimeField(null=True)),
        migrations.AddField(
            "artifact", "removed_by", models.CharField(blank=True, default="", max_length=64)
        ),
        migrations.AddField(
            "artifact",
            "retention",
            models.CharField(
                choices=[("standard", "Standard"), ("evidence", "Evidence")],
                default="standard",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            "artifact",
            "status",
            models.CharField(
                choices=[
                    ("stored", "Stored"),
                    ("verifying", "Verifying"),
                    ("broken", "Broken"),
                    ("removed", "Removed"),
                ],
                default="stored",
                max_length=16,
            ),
        ),
        migrations.AddIndex(
            "artifact",
            models.Index(
                condition=Q(status="verifying"), fields=["id"], name="runner_artifact_verifying"
            ),
        ),
        migrations.AddConstraint(
            "artifact",
            models.CheckConstraint(
                condition=Q(status__in=["stored", "verifying", "broken", "removed"]),
                name="runner_artifact_status",
            ),
        ),
        migrations.AddConstraint(
            "artifact",
            models.CheckConstraint(
                condition=~Q(status="removed") | Q(removed_at__isnull=False),
                name="runner_artifact_removed_at",
            ),
        ),
    ]
