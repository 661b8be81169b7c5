"""The organization's log: what waits, leaves, tiles, checkpoints and keys; it only grows."""

import django.db.models.deletion
from django.db import migrations, models

from keeptrusts_runners.evidence.merkle import EMPTY_ROOT
from keeptrusts_runners.identity.rls import APP, FORENSICS, SIGNER, function, grant, protect

# Rows of evidence_pending live for seconds: vacuum must not wait for a fifth of the table. Hashes
# are random, so trying to compress them is wasted.
COLUMNS = """
CREATE SEQUENCE evidence_pending_id AS bigint OWNED BY evidence_pending.id;
ALTER TABLE evidence_pending
  ALTER COLUMN id SET DEFAULT nextval('evidence_pending_id'),
  ALTER COLUMN at SET DEFAULT clock_timestamp(),
  SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE evidence_leaf
  ALTER COLUMN appended_at SET DEFAULT clock_timestamp(),
  ADD CONSTRAINT evidence_leaf_kind CHECK (kind IN ('session', 'audit', 'rollback'));
ALTER TABLE evidence_checkpoint ALTER COLUMN at SET DEFAULT clock_timestamp();
ALTER TABLE evidence_tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
ALTER TABLE evidence_log_key ALTER COLUMN since SET DEFAULT clock_timestamp();
"""

# The signer has the privileges that it needs; the triggers hold it, and everybody else, to growth.
GROWS_ONLY = """
CREATE FUNCTION kt_refuse_log_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'the log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE FUNCTION kt_refuse_log_shrinking() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.organization_id <> OLD.organization_id OR NEW.size < OLD.size
     OR (NEW.size = OLD.size AND NEW.root <> OLD.root) OR NEW.published_size < OLD.published_size
  THEN
    RAISE EXCEPTION 'the log only grows: it has % leaves', OLD.size
      USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION kt_refuse_tile_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF (NEW.organization_id, NEW.level, NEW.index) <> (OLD.organization_id, OLD.level, OLD.index)
     OR length(NEW.hashes) < length(OLD.hashes)
     OR substring(NEW.hashes FROM 1 FOR length(OLD.hashes)) <> OLD.hashes
  THEN
    RAISE EXCEPTION 'a tile only grows' USING ERRCODE = 'insufficient_privilege';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON evidence_leaf
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_log_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON evidence_checkpoint
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_log_change();
CREATE TRIGGER append_only BEFORE DELETE ON evidence_tile
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_log_change();
CREATE TRIGGER append_only BEFORE DELETE ON evidence_log
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_log_change();
CREATE TRIGGER append_only BEFORE DELETE ON evidence_log_key
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_log_change();
CREATE TRIGGER grows_only BEFORE UPDATE ON evidence_tile
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_tile_change();
CREATE TRIGGER grows_only BEFORE UPDATE ON evidence_log
  FOR EACH ROW EXECUTE FUNCTION kt_refuse_log_shrinking();
"""
_TRUNCATE = "".join(
    f"CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON evidence_{table} "
    "FOR EACH STATEMENT EXECUTE FUNCTION kt_refuse_log_change();"
    for table in ("leaf", "checkpoint", "tile", "log", "log_key")
)
CHANGEABLE = """
DROP FUNCTION kt_refuse_log_change() CASCADE;
DROP FUNCTION kt_refuse_log_shrinking() CASCADE;
DROP FUNCTION kt_refuse_tile_change() CASCADE;
"""

# Every audit record waits to be anchored: a trigger says so, and no writer can forget. As the owner,
# since the application may not write there.
AUDIT_PENDING = """
CREATE FUNCTION kt_audit_is_pending() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  INSERT INTO evidence_pending (organization_id, kind, subject, seq, hash)
  SELECT organization_id, 'audit', id, 0, digest FROM recorded;
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION kt_audit_is_pending() FROM PUBLIC;
CREATE TRIGGER pending AFTER INSERT ON evidence_audit
  REFERENCING NEW TABLE AS recorded
  FOR EACH STATEMENT EXECUTE FUNCTION kt_audit_is_pending();
-- What was recorded before there was a log.
INSERT INTO evidence_pending (organization_id, kind, subject, seq, hash)
SELECT organization_id, 'audit', id, 0, digest FROM evidence_audit;
"""
AUDIT_NOT_PENDING = "DROP FUNCTION kt_audit_is_pending() CASCADE"

# Over all organizations, for an application that sees one at a time. What waits is counted up to
# a bound: a signer that is away must not make the metrics slow.
FIGURES = """
CREATE FUNCTION kt_log_figures()
RETURNS TABLE (pending bigint, oldest_pending timestamptz, refused bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS $$
  SELECT (SELECT count(*) FROM (SELECT FROM evidence_pending LIMIT 100000) AS waiting),
         (SELECT min(at) FROM (SELECT at FROM evidence_pending LIMIT 100000) AS waiting),
         (SELECT count(*) FROM evidence_log WHERE refused <> '')
$$
"""


def _organization():  # type: ignore[no-untyped-def]
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.PROTECT,
        related_name="+",
        to="identity.organization",
    )


def _pk(*columns):  # type: ignore[no-untyped-def]
    return models.CompositePrimaryKey(
        *columns, blank=True, editable=False, primary_key=True, serialize=False
    )


class Migration(migrations.Migration):
    dependencies = [("evidence", "0001_audit_log")]

    operations = [
        migrations.CreateModel(
            name="Pending",
            fields=[
                ("pk", _pk("organization", "id")),
                ("id", models.BigIntegerField()),
                ("kind", models.CharField(max_length=8)),
                ("subject", models.UUIDField()),
                ("seq", models.PositiveBigIntegerField()),
                ("hash", models.BinaryField(max_length=32)),
                ("at", models.DateTimeField()),
                ("organization", _organization()),
            ],
            options={"db_table": "evidence_pending"},
        ),
        migrations.CreateModel(
            name="Log",
            fields=[
                (
                    "organization",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to="identity.organization",
                    ),
                ),
                ("size", models.PositiveBigIntegerField(default=0)),
                ("root", models.BinaryField(default=EMPTY_ROOT, max_length=32)),
                ("published_size", models.PositiveBigIntegerField(default=0)),
                ("refused", models.TextField(blank=True)),
                ("refused_since", models.DateTimeField(null=True)),
            ],
            options={"db_table": "evidence_log"},
        ),
        migrations.CreateModel(
            name="LogLeaf",
            fields=[
                ("pk", _pk("organization", "index")),
                ("index", models.PositiveBigIntegerField()),
                ("kind", models.CharField(max_length=8)),
                ("subject", models.UUIDField()),
                ("seq", models.PositiveBigIntegerField()),
                ("hash", models.BinaryField(max_length=32)),
                ("appended_at", models.DateTimeField()),
                ("organization", _organization()),
            ],
            options={
                "db_table": "evidence_leaf",
                "indexes": [
                    models.Index(
                        fields=["organization", "subject", "-index"],
                        name="evidence_leaf_of_subject",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="LogTile",
            fields=[
                ("pk", _pk("organization", "level", "index")),
                ("level", models.PositiveSmallIntegerField()),
                ("index", models.PositiveBigIntegerField()),
                ("hashes", models.BinaryField()),
                ("organization", _organization()),
            ],
            options={"db_table": "evidence_tile"},
        ),
        migrations.CreateModel(
            name="LogCheckpoint",
            fields=[
                ("pk", _pk("organization", "size")),
                ("size", models.PositiveBigIntegerField()),
                ("root", models.BinaryField(max_length=32)),
                ("note", models.TextField()),
                ("at", models.DateTimeField()),
                ("organization", _organization()),
            ],
            options={"db_table": "evidence_checkpoint"},
        ),
        migrations.CreateModel(
            name="LogKey",
            fields=[
                ("kid", models.CharField(max_length=43, primary_key=True, serialize=False)),
                ("public_key", models.BinaryField(max_length=32)),
                ("since", models.DateTimeField()),
                ("until", models.DateTimeField(null=True)),
            ],
            options={"db_table": "evidence_log_key"},
        ),
        migrations.RunSQL(COLUMNS, migrations.RunSQL.noop),
        migrations.RunSQL(GROWS_ONLY + _TRUNCATE, CHANGEABLE),
        protect("evidence_pending", app=("SELECT",), signer=("SELECT", "DELETE")),
        protect("evidence_log", app=("SELECT",), signer=("SELECT", "INSERT", "UPDATE")),
        protect("evidence_leaf", app=("SELECT",), signer=("SELECT", "INSERT")),
        protect("evidence_tile", app=("SELECT",), signer=("SELECT", "INSERT", "UPDATE")),
        protect("evidence_checkpoint", app=("SELECT",), signer=("SELECT", "INSERT")),
        grant("evidence_log_key", "SELECT"),
        grant("evidence_log_key", "SELECT", role=FORENSICS),
        grant("evidence_log_key", "SELECT", "INSERT", "UPDATE", role=SIGNER),
        function(FIGURES, "kt_log_figures()", APP),
        migrations.RunSQL(AUDIT_PENDING, AUDIT_NOT_PENDING),
    ]
