"""The database refuses what the application would: an approval of one's own request, and access
with fewer approvals than it takes. An approver is compared with the requester, the dispatcher and
the owners of service accounts behind either, whoever asks the database."""

from django.db import migrations

from keeptrusts_runners.identity.rls import APP, function

# How ids are written outside (keeptrusts_runners.ids): 130 bits, five to a character.
_TYPE_ID = """
CREATE FUNCTION kt_type_id(prefix text, id uuid) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT prefix || '_' || string_agg(
           substr('0123456789abcdefghjkmnpqrstvwxyz', substring(bits FROM i FOR 5)::bit(5)::integer + 1, 1),
           '' ORDER BY i)
    FROM (SELECT B'00' || ('x' || replace(id::text, '-', ''))::bit(128) AS bits) AS written,
         generate_series(1, 126, 5) AS i
$$
"""
_DECISION = """
CREATE FUNCTION kt_refuse_own_decision() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  person text := kt_type_id('user', NEW.by_id);
BEGIN
  IF NEW.decision = 'approve' AND EXISTS (
    SELECT FROM runner_grant g JOIN runner_session s ON s.id = g.session_id
     WHERE g.id = NEW.grant_id
       AND (g.requested_by = person OR g.requested_owner = NEW.by_id OR s.dispatched_by = person
            OR EXISTS (SELECT FROM identity_service_account a
                        WHERE a.organization_id = g.organization_id AND a.owner_id = NEW.by_id
                          AND kt_type_id('sa', a.id) IN (g.requested_by, s.dispatched_by)))) THEN
    RAISE EXCEPTION 'nobody approves a request of their own'
      USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'runner_grant_four_eyes';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER four_eyes BEFORE INSERT ON runner_grant_decision
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_own_decision();
"""
_NO_DECISION = """
DROP TRIGGER four_eyes ON runner_grant_decision;
DROP FUNCTION kt_refuse_own_decision();
"""
# Deferred, so that rows may come in any order within a transaction; what commits is what counts.
_ACTIVATION = """
CREATE FUNCTION kt_require_approvals() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  given integer;
BEGIN
  SELECT count(DISTINCT d.by_id) INTO given FROM runner_grant_decision d
   WHERE d.grant_id = NEW.id AND d.decision = 'approve';
  IF given < NEW.approvals_required THEN
    RAISE EXCEPTION 'a grant takes % approvals and has %', NEW.approvals_required, given
      USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'runner_grant_approved';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER approved_at_first AFTER INSERT ON runner_grant
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.approvals_required > 0 AND NEW.state IN ('approved', 'active'))
  EXECUTE FUNCTION kt_require_approvals();
CREATE CONSTRAINT TRIGGER approved AFTER UPDATE ON runner_grant
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.approvals_required > 0 AND NEW.state IN ('approved', 'active')
        AND NEW.state IS DISTINCT FROM OLD.state)
  EXECUTE FUNCTION kt_require_approvals();
"""
_NO_ACTIVATION = """
DROP TRIGGER approved ON runner_grant;
DROP TRIGGER approved_at_first ON runner_grant;
DROP FUNCTION kt_require_approvals();
"""
# What was asked for, and what it takes, stays as it was asked for. AFTER, so that policies and
# references have said first what is not the organization's.
_TERMS = """
CREATE FUNCTION kt_refuse_other_terms() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.organization_id, NEW.session_id, NEW.operation, NEW.resource, NEW.operation_digest,
      NEW.policy_version, NEW.approvals_required, NEW.single_use, NEW.requested_by)
     <> (OLD.organization_id, OLD.session_id, OLD.operation, OLD.resource, OLD.operation_digest,
         OLD.policy_version, OLD.approvals_required, OLD.single_use, OLD.requested_by)
     OR NEW.requested_owner IS DISTINCT FROM OLD.requested_owner
     OR NEW.rule IS DISTINCT FROM OLD.rule OR NEW.renews_id IS DISTINCT FROM OLD.renews_id
     OR NEW.ttl_seconds > OLD.ttl_seconds OR NEW.uses < OLD.uses
     OR (OLD.renewable_until IS NOT NULL
         AND NEW.renewable_until IS DISTINCT FROM OLD.renewable_until) THEN
    RAISE EXCEPTION 'the terms of a grant do not change'
      USING ERRCODE = 'insufficient_privilege', CONSTRAINT = 'runner_grant_terms';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER terms AFTER UPDATE ON runner_grant
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_other_terms();
"""
_NO_TERMS = """
DROP TRIGGER terms ON runner_grant;
DROP FUNCTION kt_refuse_other_terms();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("grants", "0008_renewals_and_authority"),
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0001_sessions_transitions_and_checkpoints"),
    ]

    operations = [
        function(_TYPE_ID, "kt_type_id(text, uuid)", APP),
        migrations.RunSQL(_DECISION, _NO_DECISION),
        migrations.RunSQL(_ACTIVATION, _NO_ACTIVATION),
        migrations.RunSQL(_TERMS, _NO_TERMS),
    ]
