"""Time's verbs: what happens to a session when nobody does anything.

One pass is `run_once`. It looks across organizations as the maintenance role, then settles each
overdue session in a transaction of its own within its organization, repeating the condition under
the row's lock. Two loops at once therefore do nothing twice, and one session that cannot be
settled holds up no other. What a brake holds back (sessions.brake) is left for a later pass.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from uuid import UUID

import structlog
from django.db import connections

from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import brake, outcomes, transitions
from sessions.brake import Look
from sessions.models import RunnerSession
from sessions.states import State, Verb

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0
BATCH, MAX_REMEMBERED = 500, 10_000

# What this process could not settle when it last tried.
_poison: set[UUID] = set()

# kt_sessions_due says which indexes serve it. The longest overdue first; but what could not be
# settled before comes last, or a batch of it would hold up all others.
_OVERDUE = """
SELECT organization_id, session_id FROM kt_sessions_due(%(now)s)
 WHERE held_until IS NULL OR held_until <= %(now)s
 ORDER BY session_id = ANY(%(poison)s::uuid[]), due_at LIMIT %(batch)s
"""
_HELD_BACK = """
SELECT session_id, lease_epoch, held_until, min(due_at), count(*) OVER ()
  FROM kt_sessions_due(%(now)s) WHERE held_until > %(now)s
 GROUP BY session_id, lease_epoch, held_until ORDER BY min(due_at) DESC LIMIT %(batch)s
"""
_ADD_UP = """
INSERT INTO runner_reaper_total AS t SELECT * FROM unnest(%s::text[], %s::bigint[])
    ON CONFLICT (outcome) DO UPDATE SET total = t.total + excluded.total
"""


def run_once(batch: int = BATCH) -> Counter[str]:
    """Settle what is overdue, at most `batch` sessions; counts by the state they came to.

    Besides `failed_to_settle`, and while a brake is in force `held_back`: how many are.
    """
    seen, braking = brake.beat()
    counts: Counter[str] = Counter()
    for organization_id, session_id in _overdue(seen.now, batch):
        counts += _settle_apart(organization_id, session_id)
    _add_up(counts)
    if braking and (held := _held_back(seen, batch)):
        counts["held_back"] = held
    return counts


def _overdue(now: datetime, batch: int) -> list[tuple[UUID, UUID]]:
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_OVERDUE, {"now": now, "batch": batch, "poison": list(_poison)})
        # Both its lease and its deadline may be over.
        return list(dict.fromkeys(cursor.fetchall()))


def _settle_apart(organization_id: UUID, session_id: UUID) -> Counter[str]:
    try:
        with organization_scope(organization_id):
            settled = settle(session_id, by=principal.system(organization_id))
    except Exception:
        # A poison row is logged and left to a later pass; the others are settled.
        log.exception("reaper.failed", session=ids.encode("sess", session_id))
        _remember(session_id)
        return Counter(failed_to_settle=1)
    _poison.discard(session_id)
    return Counter() if settled is None else Counter({str(settled.state): 1})


def _remember(session_id: UUID) -> None:
    if len(_poison) >= MAX_REMEMBERED:
        # Others may have been settled meanwhile by another loop, and are still in it.
        _poison.clear()
    _poison.add(session_id)


def _held_back(seen: Look, most: int) -> int:
    """How many the brake holds back. Each is told once: when its time came, or the brake's."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_HELD_BACK, {"now": seen.now, "batch": most})
        held = cursor.fetchall()
    for session_id, epoch, until, due_at, _ in held:
        if due_at > seen.pulse_at or not seen.braking:
            log.info(
                "reaper.held_back",
                session=ids.encode("sess", session_id),
                epoch=epoch,
                reason="brake",
                until=clock.rfc3339(until),
            )
    return held[0][-1] if held else 0


def _add_up(counts: Counter[str]) -> None:
    """What the passes of all loops have done since the installation, for the metrics."""
    if counts:
        with connections["maintain"].cursor() as cursor:
            cursor.execute(_ADD_UP, [list(counts), list(counts.values())])


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
