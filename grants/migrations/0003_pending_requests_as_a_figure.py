"""How many grant requests wait in all organizations, for the metrics of an application that sees
one organization at a time."""

from django.db import migrations

from keeptrusts_runners.identity.rls import APP, function

# Served by runner_grant_waiting.
PENDING = """
CREATE FUNCTION kt_grant_requests_pending() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT count(*) FROM runner_grant
   WHERE state = 'requested' AND request_lapses_at > statement_timestamp()
$$
"""


class Migration(migrations.Migration):
    dependencies = [("grants", "0002_row_level_security_and_append_only")]

    operations = [function(PENDING, "kt_grant_requests_pending()", APP)]
