"""Retention: what a profile keeps for so many days is redacted after them, then dropped.

A session's time runs from its end. Its records' bodies are destroyed first; the month that they
stand in is dropped whole once every session of it is over, unheld and expired. The head with its
count and hash stays, as do the session, its transitions and its place in the organization's log.
"""

from __future__ import annotations

import time
from collections import Counter
from uuid import UUID

import structlog
from django.db import connections

from grants import custody
from keeptrusts_runners import ids
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import transitions

log = structlog.get_logger(__name__)

EVERY_SECONDS = 10
# Sessions of one pass, and how long it takes on new ones, since the duties of the maintenance loop
# share one thread; the next pass goes on.
MOST = 500
PASS_SECONDS = 1.0

# By profile, and in each by runner_session_kept. A hold keeps a session out.
_DUE = """
SELECT s.organization_id, s.id FROM runner_profile p CROSS JOIN LATERAL (
       SELECT k.organization_id, k.id, k.ended_at FROM runner_session k
        WHERE k.profile_id = p.id AND k.ended_at IS NOT NULL AND k.evidence_expired_at IS NULL
          AND k.ended_at < clock_timestamp() - make_interval(days => p.retention_days)
          AND NOT EXISTS (SELECT FROM runner_legal_hold h WHERE h.session_id = k.id)
        ORDER BY k.ended_at LIMIT %(most)s) s
 WHERE p.retention_days IS NOT NULL
 LIMIT %(most)s
"""
_DROP = "SELECT kt_drop_expired_event_partitions()"


def run_once() -> Counter[str]:
    """Expire what is due and drop what has become empty of content; counts of both."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_DUE, {"most": MOST})
        due = cursor.fetchall()
    counts: Counter[str] = Counter()
    until = time.monotonic() + PASS_SECONDS
    for organization_id, session_id in due:
        if time.monotonic() > until:
            break
        counts[_expire(organization_id, session_id)] += 1
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_DROP)
        counts["partitions_dropped"] += cursor.fetchone()[0]
    return counts


def _expire(organization_id: UUID, session_id: UUID) -> str:
    by = principal.system(organization_id)
    try:
        with organization_scope(organization_id):
            session = transitions.lock(session_id, by=by)
            if session.evidence_expired_at is not None:
                return "expired_meanwhile"
            custody.expire(session, by=by)
    except Exception:
        # One session's failure is logged and left to the next pass.
        log.exception("retention.failed", session=ids.encode("sess", session_id))
        return "failed"
    return "sessions_expired"
