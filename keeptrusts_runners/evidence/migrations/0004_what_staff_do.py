"""Records of staff name their verb: exports are on record beside looks, with how many rows."""

from django.db import migrations

from keeptrusts_runners.identity.rls import APP, function

# One statement for all organizations that were looked at, which no scope spans; each has a body of
# its own.
_STAFF = """
CREATE FUNCTION kt_record_act_of_staff(
  organizations uuid[], verb text, staff text, subject text, request text, bodies bytea[])
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  INSERT INTO evidence_audit
         (organization_id, id, at, actor, verb, object, outcome, request_id, body, digest)
  SELECT organization, id, at, staff, verb, subject, 'done', request, body,
         kt_audit_digest(organization, id, at, body)
    FROM (SELECT organization, body, kt_uuid7() AS id, clock_timestamp() AS at
            FROM unnest(organizations, bodies) AS told (organization, body)) dated
   WHERE verb LIKE 'staff.%'
$$
"""
_LOOKS_ALONE = """
CREATE FUNCTION kt_record_look_of_staff(
  organizations uuid[], staff text, subject text, request text, body bytea)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  INSERT INTO evidence_audit
         (organization_id, id, at, actor, verb, object, outcome, request_id, body, digest)
  SELECT organization, id, at, staff, 'staff.viewed', subject, 'done', request, body,
         kt_audit_digest(organization, id, at, body)
    FROM (SELECT organization, kt_uuid7() AS id, clock_timestamp() AS at
            FROM unnest(organizations) AS organization) dated
$$;
REVOKE ALL ON FUNCTION kt_record_look_of_staff(uuid[], text, text, text, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION kt_record_look_of_staff(uuid[], text, text, text, bytea) TO keeptrusts_app
"""


class Migration(migrations.Migration):
    dependencies = [
        ("evidence", "0003_unauthenticated_requests"),
        ("identity", "0002_row_level_security_and_roles"),
    ]

    operations = [
        function(_STAFF, "kt_record_act_of_staff(uuid[], text, text, text, text, bytea[])", APP),
        migrations.RunSQL(
            "DROP FUNCTION kt_record_look_of_staff(uuid[], text, text, text, bytea)", _LOOKS_ALONE
        ),
    ]
