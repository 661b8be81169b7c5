"""Executors that wait in many organizations are looked for in one query."""

from django.db import migrations

# As the owner, whom the policies do not bind: one process waits for executors of many
# organizations, and would have to open a scope in each. It tells no more than that something is
# pending whose time has come. LATERAL, ORDER BY and LIMIT keep it to one probe each of
# runner_session_lane and runner_session_due, however much is pending elsewhere.
FUNCTION = """
CREATE FUNCTION kt_organizations_with_work(among uuid[]) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT one.id FROM unnest(among) AS one (id) CROSS JOIN LATERAL (
    (SELECT FROM runner_session s
      WHERE s.organization_id = one.id AND s.state = 'pending' AND s.not_before IS NULL
        AND s.deadline_at > statement_timestamp()
      ORDER BY s.lane, s.priority DESC, s.id LIMIT 1)
    UNION ALL
    (SELECT FROM runner_session s
      WHERE s.organization_id = one.id AND s.state = 'pending'
        AND s.not_before <= statement_timestamp() AND s.deadline_at > statement_timestamp()
      ORDER BY s.not_before LIMIT 1)
    LIMIT 1) AS first
$$;
REVOKE ALL ON FUNCTION kt_organizations_with_work(uuid[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION kt_organizations_with_work(uuid[]) TO keeptrusts_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("runner_sessions", "0015_failures_of_a_window"),
    ]

    operations = [
        migrations.RunSQL(FUNCTION, "DROP FUNCTION kt_organizations_with_work(uuid[])"),
    ]
