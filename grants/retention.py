"""Retention: what a profile keeps for so many days is redacted after them, then dropped.

The content of artifacts may have a time of its own, and goes with the evidence at the latest.

A session's time runs from its end. Its records' bodies are destroyed first; the month that they
stand in is dropped whole once every session of it is over, unheld and expired. The head with its
count and hash stays, as do the session, its transitions and its place in the organization's log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import structlog
from django.db import connections

from grants import custody, removals
from keeptrusts_runners import ids
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import transitions
from sessions.models import RunnerSession

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
# By profile, in the order of dispatch, sessions that have content. None that was dispatched later
# than its time ago can have ended before.
_DUE_CONTENT = """
SELECT u.organization_id, u.owner_id FROM runner_profile p CROSS JOIN LATERAL (
       SELECT k.organization_id, k.owner_id FROM runner_storage_usage k
         JOIN runner_session s ON s.id = k.owner_id
        WHERE k.profile_id = p.id AND k.kind = 'session' AND k.artifacts > 0
          AND k.owner_id < kt_uuid7_floor(
                clock_timestamp() - make_interval(days => p.artifact_retention_days))
          AND s.ended_at < clock_timestamp() - make_interval(days => p.artifact_retention_days)
          AND NOT EXISTS (SELECT FROM runner_legal_hold h WHERE h.session_id = k.owner_id)
          AND EXISTS (SELECT FROM runner_artifact a WHERE a.session_id = k.owner_id
                         AND a.status <> 'removed' AND a.retention = 'standard')
        ORDER BY k.owner_id LIMIT %(most)s) u
 WHERE p.artifact_retention_days IS NOT NULL
 LIMIT %(most)s
"""
_DROP = "SELECT kt_drop_expired_event_partitions()"


def run_once() -> Counter[str]:
    """Expire what is due and drop what has become empty of content; counts of both."""
    counts: Counter[str] = Counter()
    until = time.monotonic() + PASS_SECONDS
    for due, expire in ((_DUE, _expire_evidence), (_DUE_CONTENT, _expire_content)):
        for organization_id, session_id in _due(due):
            if time.monotonic() > until:
                break
            counts[_expire(organization_id, session_id, expire)] += 1
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_DROP)
        counts["partitions_dropped"] += cursor.fetchone()[0]
    return counts


def _due(query: str) -> list[tuple[UUID, UUID]]:
    with connections["maintain"].cursor() as cursor:
        cursor.execute(query, {"most": MOST})
        return list(cursor.fetchall())


def _expire(
    organization_id: UUID, session_id: UUID, expire: Callable[[RunnerSession, Principal], str]
) -> str:
    by = principal.system(organization_id)
    try:
        with organization_scope(organization_id):
            return expire(transitions.lock(session_id, by=by), by)
    except Exception:
        # One session's failure is logged and left to the next pass.
        log.exception("retention.failed", session=ids.encode("sess", session_id))
        return "failed"


def _expire_evidence(session: RunnerSession, by: Principal) -> str:
    if session.evidence_expired_at is not None:
        return "expired_meanwhile"
    custody.expire(session, by=by)
    return "sessions_expired"


def _expire_content(session: RunnerSession, by: Principal) -> str:
    removed = removals.expire(session, by=by, evidence=False)
    return "artifacts_expired" if removed else "expired_meanwhile"
