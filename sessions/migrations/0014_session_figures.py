"""What `/metrics` tells of sessions, for an application that sees one organization at a time."""

from django.db import migrations

from keeptrusts_runners.identity.rls import APP, function

# Runs as the owner, whom the policies do not bind, and tells sums over all organizations: `serve`
# needs no connection that sees more than one of them.
FIGURES = """
CREATE FUNCTION kt_session_figures(tolerated interval)
RETURNS TABLE (figure text, label text, value double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  WITH due AS MATERIALIZED (
    SELECT * FROM kt_sessions_due(statement_timestamp())
  ), open AS MATERIALIZED (
    SELECT state, count(*) AS number FROM runner_session
     WHERE state IN ('cancelling', 'dispatched', 'paused', 'pending', 'running') GROUP BY state
  )
  SELECT 'overdue', '', count(DISTINCT session_id)::float8 FROM due
   WHERE greatest(due_at, held_until) <= statement_timestamp() - tolerated
   UNION ALL
  SELECT 'held_back', '', count(DISTINCT session_id) FROM due
   WHERE held_until > statement_timestamp()
   UNION ALL
  SELECT 'sessions', name, coalesce(number, 0)
    FROM unnest(ARRAY['pending', 'dispatched', 'running', 'paused', 'cancelling']) AS name
    LEFT JOIN open ON state = name
   UNION ALL
  SELECT 'live_leases', '', coalesce(sum(number), 0) FROM open
   WHERE state IN ('cancelling', 'dispatched', 'running')
   UNION ALL
  SELECT 'pulse_age', '', extract(epoch FROM clock_timestamp() - pulse_at)
    FROM runner_reaper_pulse
   UNION ALL
  SELECT 'brake', reason,
         coalesce(brake_reason = reason AND brake_until > clock_timestamp(), false)::int
    FROM runner_reaper_pulse, unnest(ARRAY['absence', 'mass_expiry']) AS reason
   UNION ALL
  SELECT 'settled', outcome, total FROM runner_reaper_total
$$
"""


class Migration(migrations.Migration):
    dependencies = [("runner_sessions", "0013_reaper_pulse")]

    operations = [function(FIGURES, "kt_session_figures(interval)", APP)]
