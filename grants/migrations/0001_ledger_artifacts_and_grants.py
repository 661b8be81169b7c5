"""The ledger, artifacts and grants. The ledger's table is written by hand, since it is partitioned.

Partitions are ranges of the session id, which begins with the time of dispatch: a month each, made
a year ahead here and kept ahead by maintenance. There is no DEFAULT partition: a stray row in one
would block the partition that it belongs to.
"""

import django.contrib.postgres.functions
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import keeptrusts_runners.ids

EVENTS = """
CREATE TABLE runner_event (
  organization_id uuid NOT NULL,
  session_id uuid NOT NULL,
  seq bigint NOT NULL CHECK (seq > 0),
  id uuid NOT NULL,
  kind varchar(64) NOT NULL,
  actor varchar(64) NOT NULL,
  lease_epoch bigint NOT NULL,
  recorded_at timestamptz NOT NULL,
  body bytea,
  salt bytea,
  body_digest bytea NOT NULL,
  hash bytea NOT NULL,
  level varchar(8),
  step varchar(200),
  client_id varchar(120),
  client_seq bigint,
  occurred_at timestamptz,
  PRIMARY KEY (session_id, seq)
) PARTITION BY RANGE (session_id);
-- A record by its id, within its session; repeats by client_id; filters by level and kind.
CREATE UNIQUE INDEX runner_event_id ON runner_event (session_id, id);
CREATE UNIQUE INDEX runner_event_client_id ON runner_event (session_id, client_id)
  WHERE client_id IS NOT NULL;
CREATE INDEX runner_event_kind ON runner_event (session_id, kind, seq);
-- What a runner numbered, for completeness; most sessions number nothing and have no entry here.
CREATE INDEX runner_event_client_seq ON runner_event (session_id, lease_epoch, client_seq)
  WHERE client_seq IS NOT NULL;
CREATE INDEX runner_event_level ON runner_event (session_id, level, seq)
  WHERE level IN ('warning', 'error', 'critical');
"""

# The owner's function, since only the owner may make tables; maintenance may call it.
PARTITIONS = """
CREATE FUNCTION kt_uuid7_floor(at timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
  SELECT (encode(substring(int8send((extract(epoch FROM at) * 1000)::bigint) FROM 3), 'hex')
          || repeat('0', 20))::uuid
$$;
CREATE FUNCTION kt_make_event_partitions(since timestamptz, until timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public SET timezone = 'UTC' AS $$
DECLARE
  month timestamptz := date_trunc('month', since);
  made integer := 0;
  name text;
BEGIN
  WHILE month <= until LOOP
    name := 'runner_event_' || to_char(month, 'YYYY_MM');
    IF to_regclass(name) IS NULL THEN
      EXECUTE format(
        'CREATE TABLE %I PARTITION OF runner_event FOR VALUES FROM (%L) TO (%L)',
        name, kt_uuid7_floor(month), kt_uuid7_floor(month + interval '1 month'));
      made := made + 1;
    END IF;
    month := month + interval '1 month';
  END LOOP;
  RETURN made;
END $$;
REVOKE ALL ON FUNCTION kt_make_event_partitions(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION kt_make_event_partitions(timestamptz, timestamptz)
  TO keeptrusts_maintain;
"""
DROP_PARTITIONS = """
DROP FUNCTION kt_make_event_partitions(timestamptz, timestamptz);
DROP FUNCTION kt_uuid7_floor(timestamptz);
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0001_sessions_transitions_and_checkpoints"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="Event",
                    fields=[
                        (
                            "id",
                            models.UUIDField(
                                default=keeptrusts_runners.ids.new,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("seq", models.PositiveBigIntegerField()),
                        ("kind", models.CharField(max_length=64)),
                        ("actor", models.CharField(max_length=64)),
                        ("lease_epoch", models.PositiveBigIntegerField()),
                        ("recorded_at", models.DateTimeField()),
                        ("body", models.BinaryField(null=True)),
                        ("salt", models.BinaryField(max_length=32, null=True)),
                        ("body_digest", models.BinaryField(max_length=32)),
                        ("hash", models.BinaryField(max_length=32)),
                        ("level", models.CharField(max_length=8, null=True)),
                        ("step", models.CharField(max_length=200, null=True)),
                        ("client_id", models.CharField(max_length=120, null=True)),
                        ("client_seq", models.PositiveBigIntegerField(null=True)),
                        ("occurred_at", models.DateTimeField(null=True)),
                        (
                            "organization",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="+",
                                to="identity.organization",
                            ),
                        ),
                        (
                            "session",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.PROTECT,
                                related_name="events",
                                to="runner_sessions.runnersession",
                            ),
                        ),
                    ],
                    options={
                        "db_table": "runner_event",
                    },
                ),
            ],
            database_operations=[
                migrations.RunSQL(EVENTS, "DROP TABLE runner_event"),
                migrations.RunSQL(PARTITIONS, DROP_PARTITIONS),
                migrations.RunSQL(
                    "SELECT kt_make_event_partitions(now(), now() + interval '1 year')",
                    migrations.RunSQL.noop,
                ),
            ],
        ),
        migrations.CreateModel(
            name="LedgerHead",
            fields=[
                (
                    "session",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="ledger_head",
                        serialize=False,
                        to="runner_sessions.runnersession",
                    ),
                ),
                ("seq", models.PositiveBigIntegerField(default=0)),
                ("hash", models.BinaryField(max_length=32)),
                ("events", models.PositiveBigIntegerField(default=0)),
                ("warnings", models.PositiveBigIntegerField(default=0)),
                ("errors", models.PositiveBigIntegerField(default=0)),
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
                "db_table": "runner_ledger_head",
            },
        ),
        migrations.CreateModel(
            name="PermissionGrant",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=keeptrusts_runners.ids.new,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("operation", models.CharField(max_length=200)),
                ("resource", models.CharField(blank=True, default="", max_length=512)),
                ("constraints", models.JSONField(default=dict)),
                ("reason", models.TextField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("requested", "Requested"),
                            ("approved", "Approved"),
                            ("active", "Active"),
                            ("expired", "Expired"),
                            ("revoked", "Revoked"),
                            ("consumed", "Consumed"),
                            ("ended", "Ended"),
                            ("denied", "Denied"),
                            ("lapsed", "Lapsed"),
                        ],
                        max_length=16,
                    ),
                ),
                ("ttl_seconds", models.PositiveIntegerField()),
                ("operation_digest", models.CharField(max_length=71)),
                ("rule", models.JSONField(null=True)),
                ("policy_version", models.PositiveIntegerField()),
                ("approvals_required", models.PositiveSmallIntegerField()),
                ("single_use", models.BooleanField(default=False)),
                ("lease_epoch", models.PositiveBigIntegerField(null=True)),
                ("requested_by", models.CharField(max_length=64)),
                ("requested_owner", models.UUIDField(null=True)),
                ("requested_at", models.DateTimeField()),
                ("request_lapses_at", models.DateTimeField()),
                ("activated_at", models.DateTimeField(null=True)),
                ("expires_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                ("end_reason", models.CharField(blank=True, default="", max_length=64)),
                ("ended_by", models.CharField(blank=True, default="", max_length=64)),
                ("uses", models.PositiveIntegerField(default=0)),
                ("version", models.PositiveIntegerField(default=1)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
                (
                    "session",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="grants",
                        to="runner_sessions.runnersession",
                    ),
                ),
            ],
            options={
                "db_table": "runner_grant",
            },
        ),
        migrations.CreateModel(
            name="Decision",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=keeptrusts_runners.ids.new,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("decision", models.CharField(max_length=8)),
                ("operation_digest", models.CharField(max_length=71)),
                ("comment", models.TextField(blank=True, default="")),
                ("ttl_seconds", models.PositiveIntegerField(null=True)),
                ("constraints", models.JSONField(null=True)),
                ("at", models.DateTimeField()),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
                (
                    "grant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="decisions",
                        to="grants.permissiongrant",
                    ),
                ),
            ],
            options={
                "db_table": "runner_grant_decision",
            },
        ),
        migrations.CreateModel(
            name="Artifact",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=keeptrusts_runners.ids.new,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                ("kind", models.CharField(max_length=64)),
                ("media_type", models.CharField(max_length=127)),
                ("size_bytes", models.PositiveBigIntegerField()),
                ("sha256", models.CharField(max_length=64)),
                ("status", models.CharField(default="stored", max_length=16)),
                ("lease_epoch", models.PositiveBigIntegerField()),
                ("created_by", models.CharField(max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.contrib.postgres.functions.TransactionNow(),
                        editable=False,
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
                (
                    "session",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="artifacts",
                        to="runner_sessions.runnersession",
                    ),
                ),
            ],
            options={
                "db_table": "runner_artifact",
                "indexes": [models.Index(fields=["session", "-id"], name="runner_artifact_newest")],
            },
        ),
        migrations.AddIndex(
            model_name="permissiongrant",
            index=models.Index(fields=["session", "-id"], name="runner_grant_newest"),
        ),
        migrations.AddIndex(
            model_name="permissiongrant",
            index=models.Index(
                condition=models.Q(("state", "requested")),
                fields=["organization", "request_lapses_at"],
                name="runner_grant_waiting",
            ),
        ),
        migrations.AddIndex(
            model_name="permissiongrant",
            index=models.Index(
                condition=models.Q(("state", "active")),
                fields=["organization", "expires_at"],
                name="runner_grant_active",
            ),
        ),
        migrations.AddConstraint(
            model_name="permissiongrant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "requested",
                            "approved",
                            "active",
                            "expired",
                            "revoked",
                            "consumed",
                            "ended",
                            "denied",
                            "lapsed",
                        ],
                    )
                ),
                name="runner_grant_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="permissiongrant",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "active"), _negated=True),
                    models.Q(("expires_at__isnull", False), ("lease_epoch__isnull", False)),
                    _connector="OR",
                ),
                name="runner_grant_active_has_an_end",
            ),
        ),
        migrations.AddConstraint(
            model_name="decision",
            constraint=models.UniqueConstraint(
                fields=("grant", "by"), name="runner_grant_decision_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="decision",
            constraint=models.CheckConstraint(
                condition=models.Q(("decision__in", ["approve", "deny"])),
                name="runner_grant_decision_word",
            ),
        ),
    ]
