"""Every new head of a ledger waits to be anchored: a trigger says so, and no writer can forget."""

from django.db import migrations

# As the owner, since the application may not write there. A head is made with no record, so the
# trigger on INSERT runs for rows that come with their records, as in `seed`, alone.
PENDING = """
CREATE FUNCTION kt_heads_are_pending() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  INSERT INTO evidence_pending (organization_id, kind, subject, seq, hash)
  SELECT organization_id, 'session', session_id, seq, hash FROM changed;
  RETURN NULL;
END $$;
CREATE FUNCTION kt_head_is_pending() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
BEGIN
  INSERT INTO evidence_pending (organization_id, kind, subject, seq, hash)
  VALUES (NEW.organization_id, 'session', NEW.session_id, NEW.seq, NEW.hash);
  RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION kt_heads_are_pending() FROM PUBLIC;
REVOKE ALL ON FUNCTION kt_head_is_pending() FROM PUBLIC;
CREATE TRIGGER pending AFTER UPDATE ON runner_ledger_head
  REFERENCING NEW TABLE AS changed
  FOR EACH STATEMENT EXECUTE FUNCTION kt_heads_are_pending();
CREATE TRIGGER pending_from_the_start AFTER INSERT ON runner_ledger_head
  FOR EACH ROW WHEN (NEW.seq > 0) EXECUTE FUNCTION kt_head_is_pending();
-- What was recorded before there was a log.
INSERT INTO evidence_pending (organization_id, kind, subject, seq, hash)
SELECT organization_id, 'session', session_id, seq, hash FROM runner_ledger_head WHERE seq > 0;
"""
NOT_PENDING = """
DROP FUNCTION kt_heads_are_pending() CASCADE;
DROP FUNCTION kt_head_is_pending() CASCADE;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("grants", "0005_heads_of_watched_ledgers"),
        ("evidence", "0002_organization_log"),
    ]

    operations = [migrations.RunSQL(PENDING, NOT_PENDING)]
