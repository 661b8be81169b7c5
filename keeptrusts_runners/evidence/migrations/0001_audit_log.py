"""The audit log, append-only, and the denials of the present minute."""

import django.db.models.deletion
from django.db import migrations, models

import keeptrusts_runners.ids
from keeptrusts_runners.identity.rls import APP, function, protect

# The digest of a record, as evidence.audit.digest computes it: each field behind its length.
_DIGEST = """
CREATE FUNCTION kt_audit_digest(organization uuid, record uuid, at timestamptz, body bytea)
RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT sha256(int4send(11) || 'kt.audit.v1'::bytea
           || int4send(16) || uuid_send(organization) || int4send(16) || uuid_send(record)
           || int4send(8) || int8send((extract(epoch FROM at) * 1000000)::bigint)
           || int4send(length(body)) || body)
$$
"""
# One statement for all organizations that a page of the admin showed, which no scope spans.
_STAFF = """
CREATE FUNCTION kt_record_look_of_staff(
  organizations uuid[], staff text, subject text, request text, body bytea)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
  INSERT INTO evidence_audit
         (organization_id, id, at, actor, verb, object, outcome, request_id, body, digest)
  SELECT organization, id, at, staff, 'staff.viewed', subject, 'done', request, body,
         kt_audit_digest(organization, id, at, body)
    FROM (SELECT organization, kt_uuid7() AS id, clock_timestamp() AS at
            FROM unnest(organizations) AS organization) dated
$$
"""
_APPEND_ONLY = """
CREATE FUNCTION kt_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON evidence_audit
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_audit_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON evidence_audit
  FOR EACH STATEMENT EXECUTE FUNCTION kt_refuse_audit_change();
"""
_CHANGEABLE = """
DROP TRIGGER append_only_truncate ON evidence_audit;
DROP TRIGGER append_only ON evidence_audit;
DROP FUNCTION kt_refuse_audit_change();
"""


def _id():  # type: ignore[no-untyped-def]
    return models.UUIDField(
        default=keeptrusts_runners.ids.new, editable=False, primary_key=True, serialize=False
    )


def _organization():  # type: ignore[no-untyped-def]
    return models.ForeignKey(
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="identity.organization",
    )


class Migration(migrations.Migration):
    initial = True

    dependencies = [("identity", "0002_row_level_security_and_roles")]

    operations = [
        migrations.CreateModel(
            name="AuditRecord",
            fields=[
                ("id", _id()),
                ("at", models.DateTimeField()),
                ("actor", models.CharField(max_length=64)),
                ("verb", models.CharField(max_length=64)),
                ("object", models.CharField(max_length=200)),
                (
                    "outcome",
                    models.CharField(
                        choices=[("done", "Done"), ("denied", "Denied")], max_length=8
                    ),
                ),
                ("request_id", models.CharField(blank=True, max_length=128)),
                ("body", models.BinaryField()),
                ("digest", models.BinaryField(max_length=32)),
                ("organization", _organization()),
            ],
            options={
                "db_table": "evidence_audit",
                "indexes": [
                    models.Index(fields=["organization", "-id"], name="evidence_audit_newest"),
                    models.Index(
                        fields=["organization", "object", "-id"], name="evidence_audit_object"
                    ),
                    models.Index(
                        fields=["organization", "actor", "-id"], name="evidence_audit_actor"
                    ),
                    models.Index(
                        fields=["organization", "verb", "-id"], name="evidence_audit_verb"
                    ),
                    models.Index(
                        condition=models.Q(("request_id", ""), _negated=True),
                        fields=["organization", "request_id"],
                        name="evidence_audit_request",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Denial",
            fields=[
                ("id", _id()),
                ("actor", models.CharField(max_length=64)),
                ("route", models.CharField(max_length=200)),
                ("code", models.CharField(max_length=64)),
                ("minute", models.DateTimeField()),
                ("count", models.PositiveIntegerField(default=1)),
                ("first_request_id", models.CharField(blank=True, max_length=128)),
                ("source_address", models.CharField(blank=True, max_length=64)),
                ("organization", _organization()),
            ],
            options={
                "db_table": "evidence_denial",
                "indexes": [models.Index(fields=["minute"], name="evidence_denial_due")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("organization", "actor", "route", "code", "minute"),
                        name="evidence_denial_once_a_minute",
                    )
                ],
            },
        ),
        function(_DIGEST, "kt_audit_digest(uuid, uuid, timestamptz, bytea)", APP),
        protect("evidence_audit", maintain=("SELECT",)),
        function(_STAFF, "kt_record_look_of_staff(uuid[], text, text, text, bytea)", APP),
        migrations.RunSQL(_APPEND_ONLY, _CHANGEABLE),
        protect(
            "evidence_denial",
            app=("SELECT", "INSERT", "UPDATE", "DELETE"),
            maintain=("SELECT",),
        ),
    ]
