"""Ledger, artifacts and grants stay within their organization; the ledger is append-only."""

from django.db import migrations

from keeptrusts_runners.identity.rls import protect, tenant_key, tenant_reference

# The application has no UPDATE or DELETE on the ledger; the triggers refuse them to everybody who
# has, the owner included.
APPEND_ONLY = """
CREATE FUNCTION kt_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON runner_event
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON runner_event
  FOR EACH STATEMENT EXECUTE FUNCTION kt_refuse_change();
"""
CHANGEABLE = """
DROP TRIGGER append_only_truncate ON runner_event;
DROP TRIGGER append_only ON runner_event;
DROP FUNCTION kt_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("grants", "0001_ledger_artifacts_and_grants"),
        ("runner_sessions", "0002_row_level_security"),
    ]

    operations = [
        tenant_reference("runner_ledger_head", "session_id", "runner_session"),
        protect("runner_ledger_head", app=("SELECT", "INSERT", "UPDATE"), maintain=("SELECT",)),
        protect("runner_event", maintain=("SELECT",)),
        migrations.RunSQL(APPEND_ONLY, CHANGEABLE),
        tenant_reference("runner_artifact", "session_id", "runner_session"),
        protect("runner_artifact", app=("SELECT", "INSERT", "UPDATE"), maintain=("SELECT",)),
        tenant_key("runner_grant"),
        tenant_reference("runner_grant", "session_id", "runner_session"),
        protect("runner_grant", app=("SELECT", "INSERT", "UPDATE"), maintain=("SELECT",)),
        tenant_reference("runner_grant_decision", "grant_id", "runner_grant"),
        protect("runner_grant_decision"),
    ]
