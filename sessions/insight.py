"""What operators ask of many sessions at once, or of one that does not move. Reads alone; every
answer is bounded, whatever there is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection

from keeptrusts_runners import clock
from keeptrusts_runners.identity.principal import Principal
from sessions import diagnosis, queries, refusals, states
from sessions.diagnosis import Waiting
from sessions.executors import Asking
from sessions.limits import Uses
from sessions.models import RunnerSession
from sessions.refusal_models import Refusal
from sessions.states import State

MAX_PROFILES, MAX_HOLDERS, LAST_REFUSALS = 1000, 20, 5

# One short walk over runner_session_profile_state for each profile that is in use.
_DEPTHS = """
SELECT p.id, p.name, p.status, o.queued, o.oldest, o.active, o.paused
  FROM runner_profile p
 CROSS JOIN LATERAL (
       SELECT count(*) FILTER (WHERE state = 'pending') AS queued,
              min(created_at) FILTER (WHERE state = 'pending') AS oldest,
              count(*) FILTER (WHERE state NOT IN ('pending', 'paused')) AS active,
              count(*) FILTER (WHERE state = 'paused') AS paused
         FROM runner_session
        WHERE profile_id = p.id
          AND state IN ('cancelling', 'dispatched', 'paused', 'pending', 'running')) o
 WHERE p.organization_id = %s AND (p.status <> 'archived' OR o.queued + o.active + o.paused > 0)
 ORDER BY o.queued + o.active DESC, p.id
"""


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits, since when the oldest does, how much runs and is paused, and how many
    executors ask for it now."""

    queued: int
    oldest_waiting_at: datetime | None
    active: int
    paused: int
    polling: int


@dataclass(frozen=True, slots=True)
class ProfileDepth(Depth):
    profile_id: UUID
    name: str
    status: str


@dataclass(frozen=True, slots=True)
class Stats:
    """`total` is of all profiles; with `truncated` there are more than are listed. Executors are
    counted up to executors.MAX_ASKING."""

    total: Depth
    profiles: list[ProfileDepth]
    truncated: bool


def stats(*, by: Principal) -> Stats:
    """Exact, the busiest profiles first."""
    with connection.cursor() as cursor:
        cursor.execute(_DEPTHS, [by.organization_id])
        rows = cursor.fetchall()
    asking = Asking(by.organization_id)
    found = [_of_profile(row, asking) for row in rows[: MAX_PROFILES + 1]]
    oldest = [row[4] for row in rows if row[4]]
    queued, active, paused = (sum(row[column] for row in rows) for column in (3, 5, 6))
    total = Depth(queued, min(oldest, default=None), active, paused, asking.count)
    return Stats(total, found[:MAX_PROFILES], len(found) > MAX_PROFILES)


def _of_profile(row: tuple[Any, ...], asking: Asking) -> ProfileDepth:
    profile_id, name, status, queued, oldest, active, paused = row
    polling = len(asking.for_profile(profile_id))
    return ProfileDepth(queued, oldest, active, paused, polling, profile_id, name, status)


@dataclass(frozen=True, slots=True)
class Limit:
    """What may run at once, and who holds the slots: at most MAX_HOLDERS of them, the newest."""

    name: str
    most: int
    active: int
    holders: list[UUID]


@dataclass(frozen=True, slots=True)
class Audience:
    """Of the executors that ask for work of the session's profile now: how many, how many offer
    all of its labels, and the labels that none of them offers. With `truncated` there are more."""

    polling: int
    offering: int
    lacking: dict[str, str]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a session is where it is. `position` counts from 1 in the order of claims; with
    `position_capped` there are more before it than are counted. Of what keeps a pending session
    waiting, `waiting` is the first reason."""

    session: RunnerSession
    sentence: str
    allowed_verbs: list[str]
    refusals: list[Refusal]
    waiting: Waiting | None = None
    position: int | None = None
    position_capped: bool = False
    limit: Limit | None = None
    key_limit: Limit | None = None
    executors: Audience | None = None


def explain(session_id: UUID, *, by: Principal) -> Explanation:
    """Raises NotFound."""
    session = queries.session(session_id, by=by)
    return explanation(session, clock.now())


def explanation(session: RunnerSession, now: datetime, *, whole: bool = True) -> Explanation:
    """Of a session that is read already, with its profile and harness. Not `whole`: executors only
    where it waits for one, and the holders of slots only where none is free."""
    verbs = states.allowed_verbs(State(session.state))
    refused = list(refusals.of_session(session.id)[:LAST_REFUSALS])
    if session.state != State.PENDING:
        return Explanation(session, diagnosis.cause(session), verbs, refused)
    uses, asking = Uses([session]), Asking(session.organization_id)
    waiting = diagnosis.waiting(session, uses, asking, now)
    ahead = queries.ahead_of(session)
    capped = ahead > queries.COUNT_CAP
    position = min(ahead, queries.COUNT_CAP) + 1
    of_profile, of_key = _limits(session, uses, always=whole)
    return Explanation(
        session, waiting.sentence, verbs, refused, waiting, position, capped,
        of_profile, of_key,
        _audience(session, asking) if whole or waiting.by_executors else None,
    )  # fmt: skip


def _limits(session: RunnerSession, uses: Uses, *, always: bool) -> list[Limit | None]:
    """That of its profile and that of its key, with the holders of each in one query."""
    key, organization_id = session.concurrency_key, session.organization_id
    limits = (
        (session.profile.name, uses.of_profile(session), {"profile_id": session.profile_id}),
        (key, uses.of_key(session), {"organization_id": organization_id, "concurrency_key": key}),
    )
    wanted = [of for _, use, of in limits if use.is_full or (always and use.limit is not None)]
    held = iter(queries.slot_holders(*wanted, most=MAX_HOLDERS))
    return [
        Limit(name, use.limit, use.live, next(held) if of in wanted else [])
        if use.limit is not None
        else None
        for name, use, of in limits
    ]


def _audience(session: RunnerSession, asking: Asking) -> Audience:
    polling, offering = len(asking.for_profile(session.profile_id)), asking.offering(session)
    lacking = {} if offering else asking.lacking(session)
    return Audience(polling, offering, lacking, asking.truncated)
