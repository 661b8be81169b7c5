"""Each ledger head keeps sixty buckets of time by level; those there are count what they hold."""

import django.contrib.postgres.fields
from django.db import migrations, models

from keeptrusts_runners.identity.rls import function

# The same figures from the records themselves. A redacted record has no level any more and counts
# as info. Reads every record of the session: for repair and for tests, never for a request.
RECOUNT = """
CREATE FUNCTION kt_ledger_buckets(of_session uuid)
RETURNS TABLE (began_at timestamptz, bucket_seconds integer, buckets integer[])
LANGUAGE sql STABLE AS $$
  WITH first AS (
    SELECT e.recorded_at AS at FROM runner_event e WHERE e.session_id = of_session AND e.seq = 1
  ), placed AS (
    SELECT greatest(0, floor(extract(epoch FROM e.recorded_at - first.at)))::bigint AS second,
           array_position(ARRAY['debug', 'info', 'warning', 'error', 'critical'],
                          coalesce(e.level, 'info')::text) AS level
      FROM runner_event e, first WHERE e.session_id = of_session
  ), wide AS (
    SELECT min(w) AS width FROM (SELECT 2 ^ k AS w FROM generate_series(0, 30) k) widths
     WHERE w * 60 > (SELECT max(second) FROM placed)
  ), counted AS (
    SELECT (second / wide.width::bigint) * 5 + level AS place, count(*)::integer AS number
      FROM placed, wide GROUP BY 1
  )
  SELECT first.at, wide.width::integer,
         (SELECT array_agg(coalesce(counted.number, 0) ORDER BY place)
            FROM generate_series(1, (SELECT ((max(place) - 1) / 5 + 1) * 5 FROM counted)) AS place
            LEFT JOIN counted USING (place))
    FROM first, wide
$$
"""
# Counting what is there makes no new heads: nothing of it waits for the log.
FILL = """
ALTER TABLE runner_ledger_head DISABLE TRIGGER pending;
UPDATE runner_ledger_head h
   SET began_at = b.began_at, bucket_seconds = b.bucket_seconds, buckets = b.buckets
  FROM runner_ledger_head o, kt_ledger_buckets(o.session_id) b
 WHERE o.session_id = h.session_id;
ALTER TABLE runner_ledger_head ENABLE TRIGGER pending;
"""


class Migration(migrations.Migration):
    dependencies = [("grants", "0006_heads_wait_for_the_log")]

    operations = [
        migrations.AddField("ledgerhead", "began_at", models.DateTimeField(null=True)),
        migrations.AddField(
            "ledgerhead", "bucket_seconds", models.PositiveIntegerField(db_default=1)
        ),
        migrations.AddField(
            "ledgerhead",
            "buckets",
            django.contrib.postgres.fields.ArrayField(
                base_field=models.IntegerField(), db_default=[], size=None
            ),
        ),
        function(RECOUNT, "kt_ledger_buckets(uuid)", "keeptrusts_app", "keeptrusts_maintain"),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
