"""Named searches over sessions of all organizations.

Each is bounded: by a partial index as small as what is open, by a window of the key, or by the
newest so many. The time is the statement's: an index is not searched by what changes meanwhile.
"""

from __future__ import annotations

from keeptrusts_runners.investigations.questions import Investigation

# By runner_session_queue, as long as the queue. Sorted by another column than the key, so that
# nobody looks for them from the oldest session on.
_WAITING = """
SELECT id FROM runner_session
 WHERE state = 'pending'
   AND greatest(created_at, not_before) < statement_timestamp() - interval '1 hour'
 ORDER BY greatest(created_at, not_before)
"""
# By runner_session_deadline and runner_session_held; a pass of the reaper takes a second.
_OVERDUE = """
SELECT id FROM (
  SELECT id, deadline_at AS at FROM runner_session
   WHERE state IN ('pending', 'dispatched', 'running', 'paused', 'cancelling')
     AND deadline_at < statement_timestamp() - interval '1 minute'
  UNION
  SELECT id, lease_expires_at FROM runner_session
   WHERE state IN ('dispatched', 'running', 'cancelling')
     AND lease_expires_at < statement_timestamp() - interval '1 minute'
) AS overdue ORDER BY at
"""
# By runner_session_newest_ended.
_LOST = """
SELECT id FROM runner_session
 WHERE state = 'lost' AND disposition = ''
   AND ended_at > statement_timestamp() - interval '30 days'
 ORDER BY ended_at DESC
"""
_UNCONFIRMED = """
SELECT id FROM runner_session
 WHERE state = 'cancelled' AND lease_epoch > 0
   AND reason NOT IN ('cancel_requested', 'cancel_acknowledged')
   AND ended_at > statement_timestamp() - interval '30 days'
 ORDER BY ended_at DESC
"""
# One probe of runner_session_of_task for each of the newest; LATERAL, so that it is not a join with
# all sessions.
_TWICE = """
SELECT id FROM (
  SELECT id, organization_id, task_id FROM runner_session
   WHERE retry_of_id IS NULL ORDER BY id DESC LIMIT 10000
) AS newest CROSS JOIN LATERAL (
  SELECT FROM runner_session s
   WHERE s.organization_id = newest.organization_id AND s.task_id = newest.task_id
     AND s.id <> newest.id AND s.retry_of_id IS NULL LIMIT 1
) AS twin
"""
# By the primary key of refusals.
_STALE_WRITES = """
SELECT id FROM runner_refusal
 WHERE id > %(since)s AND code = 'lease_lost'
 ORDER BY id DESC
"""
_OFTEN_REFUSED = """
SELECT id FROM runner_refusal
 WHERE id > %(since)s AND count >= 10
 ORDER BY id DESC
"""

OF_SESSIONS = (
    Investigation(
        "waiting", "Pending for more than an hour",
        "Nobody claims them: no executor, a full limit, or labels that nobody has.", _WAITING,
    ),
    Investigation(
        "overdue", "Overdue",
        "Past a deadline or a lease for a minute. The maintenance loop should leave none.",
        _OVERDUE,
    ),
    Investigation(
        "lost", "Lost and undecided, past 30 days",
        "The runner went silent, so the outcome is unknown; a person decides.", _LOST,
    ),
    Investigation(
        "unconfirmed", "Cancelled without confirmation, past 30 days",
        "The runner never said that it had stopped: it may have gone on for a while.",
        _UNCONFIRMED,
    ),
    Investigation(
        "twice", "Task ids dispatched more than once, among the newest 10,000",
        "Not as a retry. Somebody may have sent the same work twice.", _TWICE,
    ),
)  # fmt: skip
OF_REFUSALS = (
    Investigation(
        "stale", "Stale writes, past 7 days",
        "A runner wrote after its lease was over, and was refused.", _STALE_WRITES,
    ),
    Investigation(
        "bursts", "Refused ten times in a minute, past 7 days",
        "One principal kept asking for what it may not have.", _OFTEN_REFUSED,
    ),
)  # fmt: skip
