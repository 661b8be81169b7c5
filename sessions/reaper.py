"""Time's verbs: what happens to a session when nobody does anything.

One pass is `run_once`. It looks across organizations as the maintenance role, then settles each
overdue session in a transaction of its own within its organization, repeating the condition under
the row's lock. Two loops at once therefore do nothing twice, and one session that cannot be
settled holds up no other.
"""

from __future__ import annotations

from collections import Counter
from uuid import UUID

import structlog
from django.db import connections

from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import outcomes, transitions
from sessions.models import RunnerSession
from sessions.states import State, Verb

log = structlog.get_logger(__name__)

BATCH = 500

# Served by runner_session_open, which holds the open sessions only.
_OVERDUE = """
SELECT organization_id, id FROM runner_session
 WHERE state IN ('pending', 'dispatched', 'running', 'paused', 'cancelling')
   AND (lease_expires_at <= clock_timestamp() OR deadline_at <= clock_timestamp())
 ORDER BY least(lease_expires_at, deadline_at) LIMIT %s
"""


def run_once(batch: int = BATCH) -> Counter[str]:
    """Settle what is overdue, at most `batch` sessions; counts by the state they came to."""
    counts: Counter[str] = Counter()
    for organization_id, session_id in _overdue(batch):
        try:
            with organization_scope(organization_id):
                settled = settle(session_id, by=principal.system(organization_id))
        except Exception:
            # A poison row is logged and left to the next pass; the others are settled.
            log.exception("reaper.failed", session=ids.encode("sess", session_id))
            counts["failed_to_settle"] += 1
            continue
        if settled is not None:
            counts[settled.state] += 1
            log.info(
                "reaper.settled",
                session=ids.encode("sess", session_id),
                epoch=settled.lease_epoch,
                state=str(settled.state),
                reason=settled.reason,
            )
    return counts


def _overdue(batch: int) -> list[tuple[UUID, UUID]]:
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_OVERDUE, [batch])
        rows: list[tuple[UUID, UUID]] = cursor.fetchall()
        return rows


def settle(session_id: UUID, *, by: Principal) -> RunnerSession | None:
    """Do what time demands of this session now; None when, on a second look, that is nothing."""
    session = transitions.lock(session_id, by=by)
    now = clock.now()
    if session.is_final:
        return None
    # A deadline is about the work and ends it for good; a lost lease may only cost an attempt.
    if session.deadline_at is not None and session.deadline_at <= now:
        return _past_deadline(session, by)
    if session.lease_expires_at is not None and session.lease_expires_at <= now:
        return outcomes.lose(session, by=by, now=now)
    return None


def _past_deadline(session: RunnerSession, by: Principal) -> RunnerSession:
    now = clock.now()
    verb, target, reason = Verb.TIME_OUT, State.TIMED_OUT, "timeout"
    if session.state == State.CANCELLING:
        verb, target, reason = Verb.FORCE, State.CANCELLED, "cancel_forced"
    elif session.state == State.PENDING and session.lease_epoch == 0:
        verb, target, reason = Verb.EXPIRE, State.EXPIRED, "queue_timeout"
    elif session.state == State.PENDING and session.deadline_at != session.run_deadline_at:
        reason = "queue_timeout"
    elif session.state == State.PAUSED:
        reason = "pause_timeout"
    return transitions.transition(session, verb, target, by=by, now=now, reason=reason)
