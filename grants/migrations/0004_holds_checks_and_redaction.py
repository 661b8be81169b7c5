"""Legal holds, kept results of verification, and the one way in which a record may change.

A record may lose its body and salt, and what is read from them, and nothing else may change: the
trigger lets such an update pass, and only the owner has the privilege for one. Two functions of the
owner use it: one redacts records of a session of the caller's organization that nobody holds, the
other drops months of which nothing is left to keep.
"""

import django.db.models.deletion
from django.db import migrations, models

from keeptrusts_runners.identity.rls import APP, MAINTAIN, function, protect, tenant_reference

_REFUSE = """
CREATE OR REPLACE FUNCTION kt_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  {allowed}
  RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END $$;
"""
_A_REDACTION = """
  IF TG_OP = 'UPDATE' AND NEW.body IS NULL AND NEW.salt IS NULL
     AND (NEW.organization_id, NEW.session_id, NEW.seq, NEW.id, NEW.kind, NEW.actor,
          NEW.lease_epoch, NEW.recorded_at, NEW.body_digest, NEW.hash)
       = (OLD.organization_id, OLD.session_id, OLD.seq, OLD.id, OLD.kind, OLD.actor,
          OLD.lease_epoch, OLD.recorded_at, OLD.body_digest, OLD.hash) THEN
    RETURN NEW;
  END IF;
"""
_REDACT = """
CREATE FUNCTION kt_redact_events(session uuid, first bigint, last bigint) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
  redacted integer;
BEGIN
  IF EXISTS (SELECT FROM runner_legal_hold h WHERE h.session_id = session) THEN
    RAISE EXCEPTION 'a legal hold is on the session' USING ERRCODE = 'insufficient_privilege';
  END IF;
  UPDATE runner_event e
     SET body = NULL, salt = NULL, level = NULL, step = NULL, client_id = NULL,
         client_seq = NULL, occurred_at = NULL
   WHERE e.session_id = session AND e.seq BETWEEN first AND last AND e.body IS NOT NULL
     AND e.kind <> 'evidence.redacted'
     AND e.organization_id = NULLIF(current_setting('app.org_id', true), '')::uuid;
  GET DIAGNOSTICS redacted = ROW_COUNT;
  RETURN redacted;
END $$
"""
# Half a second for the lock, so that nobody who writes waits behind it; the next pass tries again.
_DROP = """
CREATE FUNCTION kt_drop_expired_event_partitions() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET timezone = 'UTC'
SET lock_timeout = '500ms' AS $$
DECLARE
  found record;
  month timestamptz;
  dropped integer := 0;
BEGIN
  FOR found IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'runner_event'::regclass ORDER BY c.relname
  LOOP
    month := to_timestamp(right(found.relname, 7), 'YYYY_MM');
    EXIT WHEN month > now() - interval '2 months';
    CONTINUE WHEN EXISTS (
      SELECT FROM runner_session s
       WHERE s.id >= kt_uuid7_floor(month) AND s.id < kt_uuid7_floor(month + interval '1 month')
         AND s.evidence_expired_at IS NULL);
    BEGIN
      EXECUTE format('DROP TABLE %I', found.relname);
      dropped := dropped + 1;
    EXCEPTION WHEN lock_not_available THEN
      EXIT;
    END;
  END LOOP;
  RETURN dropped;
END $$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("grants", "0003_pending_requests_as_a_figure"),
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0018_when_evidence_expired"),
    ]

    operations = [
        migrations.CreateModel(
            name="LegalHold",
            fields=[
                (
                    "session",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="hold",
                        serialize=False,
                        to="runner_sessions.runnersession",
                    ),
                ),
                ("reason", models.TextField()),
                ("placed_by", models.CharField(max_length=64)),
                ("placed_at", models.DateTimeField()),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
            ],
            options={
                "db_table": "runner_legal_hold",
            },
        ),
        migrations.CreateModel(
            name="Verification",
            fields=[
                (
                    "session",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="verification",
                        serialize=False,
                        to="runner_sessions.runnersession",
                    ),
                ),
                (
                    "verdict",
                    models.CharField(
                        choices=[
                            ("verified", "Verified"),
                            ("broken", "Broken"),
                            ("expired", "Expired"),
                            ("pending", "Pending"),
                        ],
                        max_length=16,
                    ),
                ),
                ("records", models.PositiveBigIntegerField()),
                ("head_hash", models.BinaryField(max_length=32)),
                ("first_bad_seq", models.PositiveBigIntegerField(null=True)),
                ("reason", models.CharField(blank=True, max_length=200)),
                ("checked_at", models.DateTimeField()),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
            ],
            options={
                "db_table": "runner_verification",
                "indexes": [
                    models.Index(fields=["checked_at"], name="runner_verification_oldest"),
                    models.Index(
                        condition=models.Q(("verdict", "broken")),
                        fields=["organization", "-checked_at"],
                        name="runner_verification_broken",
                    ),
                ],
            },
        ),
        tenant_reference("runner_legal_hold", "session_id", "runner_session"),
        protect(
            "runner_legal_hold", app=("SELECT", "INSERT", "UPDATE", "DELETE"), maintain=("SELECT",)
        ),
        tenant_reference("runner_verification", "session_id", "runner_session"),
        protect("runner_verification", app=("SELECT", "INSERT", "UPDATE"), maintain=("SELECT",)),
        migrations.RunSQL(_REFUSE.format(allowed=_A_REDACTION), _REFUSE.format(allowed="")),
        function(_REDACT, "kt_redact_events(uuid, bigint, bigint)", APP),
        function(_DROP, "kt_drop_expired_event_partitions()", MAINTAIN),
    ]
