"""What the reaper knows of itself, and one definition of what is due.

A pass is served by two indexes, whatever number of sessions waits or has ended: one over deadlines,
and that over the live leases. No heartbeat column is in either, so that a heartbeat stays a HOT
update.
"""

from django.db import migrations, models

from keeptrusts_runners.identity.rls import FORENSICS, MAINTAIN, function, grant

# One row: when a pass last looked, and the last brake. It holds back executing sessions that were
# last heard of from brake_heard_since (when the brake before it began) until brake_began_at.
PULSE = """
CREATE TABLE runner_reaper_pulse (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  pulse_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  brake_reason text NOT NULL DEFAULT '',
  brake_heard_since timestamptz NOT NULL DEFAULT '-infinity',
  brake_began_at timestamptz,
  brake_until timestamptz
);
INSERT INTO runner_reaper_pulse DEFAULT VALUES;
CREATE TABLE runner_reaper_total (
  outcome text PRIMARY KEY,
  total bigint NOT NULL
);
"""

# Every session that time demands something of at an instant; twice where both clocks have run out.
# Served by runner_session_deadline and runner_session_held.
#
# A lease's last sign of life is its end less its length: each sign sets the end anew. A session
# that has given none since the brake began is held back for one lease from then, and never a
# second time: a later brake does not reach back beyond this one's beginning.
DUE = """
CREATE FUNCTION kt_sessions_due(at timestamptz)
RETURNS TABLE (organization_id uuid, session_id uuid, lease_epoch bigint,
               due_at timestamptz, held_until timestamptz)
LANGUAGE sql STABLE AS $$
  SELECT s.organization_id, s.id, s.lease_epoch, s.due_at,
         CASE WHEN s.state IN ('dispatched', 'running')
               AND s.lease_expires_at - s.lease >= p.brake_heard_since
               AND s.lease_expires_at - s.lease < p.brake_began_at
              THEN p.brake_began_at + s.lease END
    FROM (SELECT organization_id, id, lease_epoch, state, lease_expires_at,
                 make_interval(secs => lease_ttl_seconds) AS lease, deadline_at AS due_at
            FROM runner_session
           WHERE state IN ('cancelling', 'dispatched', 'paused', 'pending', 'running')
             AND deadline_at <= at
           UNION ALL
          SELECT organization_id, id, lease_epoch, state, lease_expires_at,
                 make_interval(secs => lease_ttl_seconds), lease_expires_at
            FROM runner_session
           WHERE state IN ('cancelling', 'dispatched', 'running')
             AND lease_expires_at <= at) s
    LEFT JOIN runner_reaper_pulse p ON true
$$
"""


class Migration(migrations.Migration):
    dependencies = [("runner_sessions", "0012_batches")]

    operations = [
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(
                    ("state__in", ["cancelling", "dispatched", "paused", "pending", "running"])
                ),
                fields=["deadline_at"],
                name="runner_session_deadline",
            ),
        ),
        migrations.RunSQL(PULSE, "DROP TABLE runner_reaper_total; DROP TABLE runner_reaper_pulse"),
        grant("runner_reaper_pulse", "SELECT", "UPDATE", role=MAINTAIN),
        grant("runner_reaper_pulse", "SELECT"),
        grant("runner_reaper_pulse", "SELECT", role=FORENSICS),
        grant("runner_reaper_total", "SELECT", "INSERT", "UPDATE", role=MAINTAIN),
        grant("runner_reaper_total", "SELECT", role=FORENSICS),
        function(DUE, "kt_sessions_due(timestamptz)", MAINTAIN),
    ]
