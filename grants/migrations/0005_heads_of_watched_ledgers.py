"""How far the ledgers that are watched have grown is asked in one query."""

from django.db import migrations

from keeptrusts_runners.identity.rls import APP, function

# As the owner, whom the policies do not bind: one process watches ledgers of many organizations,
# and would have to open a scope in each. It tells no more than a number, to those who name the
# session, which their bearers were let see. One probe of the primary key for each.
HEADS = """
CREATE FUNCTION kt_ledger_heads(among uuid[]) RETURNS TABLE (session_id uuid, seq bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT h.session_id, h.seq FROM runner_ledger_head h WHERE h.session_id = ANY(among)
$$
"""


class Migration(migrations.Migration):
    dependencies = [("grants", "0004_holds_checks_and_redaction")]

    operations = [function(HEADS, "kt_ledger_heads(uuid[])", APP)]
