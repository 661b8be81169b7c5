"""Any list of one state, and what needs attention, from an index; heartbeats judged in one place."""

from django.db import migrations, models

from keeptrusts_runners.identity.rls import APP, function

# What a heartbeat is worth, for every statement that asks. Two that are missed make it late
# (diagnosis.LATE_AFTER); without one, the claim counts.
HEALTH = """
CREATE FUNCTION kt_session_health(
  lease_expires_at timestamptz, heard_at timestamptz, interval_seconds integer)
RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT CASE WHEN lease_expires_at IS NULL THEN 'n/a'
              WHEN lease_expires_at <= statement_timestamp() THEN 'silent'
              WHEN heard_at + 2 * interval_seconds * interval '1 second' <= statement_timestamp()
              THEN 'late' ELSE 'healthy' END
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("runner_sessions", "0018_when_evidence_expired"),
    ]

    operations = [
        function(HEALTH, "kt_session_health(timestamptz, timestamptz, integer)", APP),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                fields=["organization", "state", "-id"], name="runner_session_state"
            ),
        ),
        migrations.RemoveIndex(model_name="runnersession", name="runner_session_open"),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                fields=["profile", "state", "-id"], name="runner_session_profile_state"
            ),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(
                    models.Q(("disposition", ""), ("state", "lost")),
                    models.Q(("failures__gt", 0), ("state", "pending")),
                    _connector="OR",
                ),
                fields=["organization", "-id"],
                name="runner_session_attention",
            ),
        ),
    ]
