"""When artifacts' bytes were last read back, whose turn it is, and which were found damaged."""

from django.db import migrations, models
from django.db.models.functions import Coalesce

from keeptrusts_runners.identity.rls import APP, function

# Served by runner_artifact_damaged and runner_artifact_oldest_check.
_INTEGRITY = """
CREATE FUNCTION kt_artifact_integrity(OUT broken bigint, OUT missing bigint, OUT oldest double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT count(*) FILTER (WHERE status = 'broken'), count(*) FILTER (WHERE status = 'missing'),
         COALESCE((SELECT extract(epoch FROM clock_timestamp() - COALESCE(checked_at, created_at))
                     FROM runner_artifact WHERE status = 'stored'
                    ORDER BY COALESCE(checked_at, created_at), id LIMIT 1), 0)::double precision
    FROM runner_artifact WHERE status IN ('broken', 'missing')
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("grants", "0010_blobs_and_usage"),
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0018_when_evidence_expired"),
    ]

    operations = [
        migrations.AlterField(
            model_name="artifact",
            name="status",
            field=models.CharField(
                choices=[
                    ("stored", "Stored"),
                    ("verifying", "Verifying"),
                    ("broken", "Broken"),
                    ("missing", "Missing"),
                    ("removed", "Removed"),
                ],
                default="stored",
                max_length=16,
            ),
        ),
        migrations.RemoveConstraint(model_name="artifact", name="runner_artifact_status"),
        migrations.AddConstraint(
            model_name="artifact",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    status__in=["stored", "verifying", "broken", "missing", "removed"]
                ),
                name="runner_artifact_status",
            ),
        ),
        migrations.AddField(
            model_name="artifact",
            name="checked_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(fields=["organization", "sha256"], name="runner_artifact_blob"),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(
                Coalesce("checked_at", "created_at"),
                models.F("id"),
                condition=models.Q(("status", "stored")),
                name="runner_artifact_oldest_check",
            ),
        ),
        migrations.AddIndex(
            model_name="artifact",
            index=models.Index(
                condition=models.Q(("status__in", ["broken", "missing"])),
                fields=["organization", "-checked_at", "-id"],
                name="runner_artifact_damaged",
            ),
        ),
        function(_INTEGRITY, "kt_artifact_integrity()", APP),
    ]
