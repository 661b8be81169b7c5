"""Executors: whatever claims, known from its claims alone, and who of them asks for work now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, Exists, Max, OuterRef, Q, QuerySet

from keeptrusts_runners import clock, ids
from keeptrusts_runners.clock import DatabaseNow
from keeptrusts_runners.errors import ExecutorDraining, NotFound
from keeptrusts_runners.identity.principal import Principal
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession

# How long after its last question an executor counts as one that asks: two of the longest waits.
POLLING_WITHIN = timedelta(seconds=60)
SEEN_EVERY = timedelta(seconds=10)
DRAINING_RETRY_SECONDS = 30
# Among how many who ask an answer is looked for.
MAX_ASKING = 1000


# --- known from claims -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Introduction:
    """What an executor says of itself when it claims. Without `profile_ids` it takes any; `polls`:
    it asks for the next session, and not for one by its id."""

    name: str = ""
    version: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    profile_ids: tuple[UUID, ...] = ()
    polls: bool = False


# Whether what is known of it is old, or not what it says now.
_STALE = """
       last_seen_at <= clock_timestamp() - %(every)s OR version <> %(version)s
    OR (%(polls)s AND (polled_at IS NULL OR polled_at <= clock_timestamp() - %(every)s
                       OR labels <> %(labels)s::jsonb
                       OR profile_ids IS DISTINCT FROM %(profiles)s::uuid[]))
"""
# Served by runner_executor_once.
_SHARE = f"""
SELECT id, draining_at, draining_reason, {_STALE} FROM runner_executor
 WHERE organization_id = %(organization)s AND account = %(account)s AND name = %(name)s
   FOR KEY SHARE
"""
# SKIP LOCKED: of many claims at once one notes it, and none waits for another.
_NOTE = f"""
UPDATE runner_executor
   SET version = %(version)s, last_seen_at = clock_timestamp(),
       labels = CASE WHEN %(polls)s THEN %(labels)s::jsonb ELSE labels END,
       profile_ids = CASE WHEN %(polls)s THEN %(profiles)s::uuid[] ELSE profile_ids END,
       polled_at = CASE WHEN %(polls)s THEN clock_timestamp() ELSE polled_at END
 WHERE id = (SELECT id FROM runner_executor WHERE id = %(id)s AND ({_STALE})
                FOR NO KEY UPDATE SKIP LOCKED)
"""


class _Known(NamedTuple):
    id: UUID
    draining_at: datetime | None
    draining_reason: str
    stale: bool


def greet(introduction: Introduction, *, by: Principal) -> UUID:
    """The id of the executor that claims, which is recorded. Raises ExecutorDraining."""
    given = _given(introduction, by)
    known = _shared(given) or _met(given)
    if known.draining_at is not None:
        raise ExecutorDraining(
            retry_after=DRAINING_RETRY_SECONDS,
            executor_id=ids.encode("exec", known.id),
            reason=known.draining_reason or None,
        )
    if known.stale:
        with connection.cursor() as cursor:
            cursor.execute(_NOTE, given | {"id": known.id})
    return known.id


def _given(introduction: Introduction, by: Principal) -> dict[str, Any]:
    return {
        "organization": by.organization_id,
        "account": by.account,
        "name": introduction.name,
        "version": introduction.version,
        "labels": json.dumps(dict(introduction.labels)),
        "profiles": list(introduction.profile_ids) or None,
        "polls": introduction.polls,
        "every": SEEN_EVERY,
    }


def _shared(given: Mapping[str, Any]) -> _Known | None:
    with connection.cursor() as cursor:
        cursor.execute(_SHARE, given)
        row = cursor.fetchone()
        return _Known(*row) if row else None


def _met(given: Mapping[str, Any]) -> _Known:
    """Its first claim; another one of the same executor may come first."""
    now = clock.now()
    made = RunnerExecutor(
        organization_id=given["organization"],
        account=given["account"],
        name=given["name"],
        first_seen_at=now,
        last_seen_at=now - SEEN_EVERY,
    )
    RunnerExecutor.objects.bulk_create([made], ignore_conflicts=True)
    known = _shared(given)
    assert known is not None
    return known


# --- who is there ----------------------------------------------------------------------------


def listed(*, by: Principal) -> QuerySet[RunnerExecutor]:
    """Every executor of the organization."""
    return RunnerExecutor.objects.filter(organization_id=by.organization_id)


AVAILABLE, BUSY, OFFLINE = STATUSES = ("available", "busy", "offline")


def that_take(found: QuerySet[RunnerExecutor], profile_id: UUID) -> QuerySet[RunnerExecutor]:
    """Those that ask for work of this profile, or hold some."""
    held = RunnerSession.objects.leased().filter(executor_id=OuterRef("id"), profile_id=profile_id)
    return found.filter(
        Q(profile_ids__isnull=True, polled_at__isnull=False)
        | Q(profile_ids__contains=[profile_id])
        | Exists(held)
    )


def with_status(found: QuerySet[RunnerExecutor], status: str) -> QuerySet[RunnerExecutor]:
    """What `standings` would call so; leases are found by runner_session_held."""
    asking = Q(polled_at__gt=DatabaseNow() - POLLING_WITHIN)
    if status == AVAILABLE:
        return found.filter(asking)
    holds = Exists(RunnerSession.objects.leased().filter(executor_id=OuterRef("id")))
    silent = found.filter(Q(polled_at__isnull=True) | ~asking)
    return silent.filter(holds if status == BUSY else ~holds)


def one(executor_id: UUID, *, by: Principal) -> RunnerExecutor:
    """Raises NotFound."""
    found = listed(by=by).filter(id=executor_id).first()
    if found is None:
        raise NotFound
    return found


@dataclass(frozen=True, slots=True)
class Standing:
    """An executor with what its leases say: how many it holds, and its last heartbeat."""

    executor: RunnerExecutor
    held: int
    seen_at: datetime
    status: str


def standings(found: Iterable[RunnerExecutor], now: datetime | None = None) -> list[Standing]:
    """In the given order. One query for all of them, served by runner_session_held; `now`, where
    it has been read already, spares another."""
    found = list(found)
    leased = RunnerSession.objects.leased().filter(executor_id__in=[each.id for each in found])
    counted = (
        leased.order_by()
        .values_list("executor_id")
        .annotate(count=Count("*"), beat=Max("heartbeat_at"))
    )
    held = {executor_id: (count, beat) for executor_id, count, beat in counted}
    now = now or clock.now()
    return [_standing(each, *held.get(each.id, (0, None)), now) for each in found]


def _standing(
    executor: RunnerExecutor, held: int, beat: datetime | None, now: datetime
) -> Standing:
    status = OFFLINE
    if executor.polled_at is not None and executor.polled_at > now - POLLING_WITHIN:
        status = AVAILABLE
    elif held:
        status = BUSY
    return Standing(
        executor, held, max(executor.last_seen_at, beat or executor.last_seen_at), status
    )


class Asking:
    """Who of an organization asks for work now, and may be handed some. `truncated`: there are
    more than were looked at."""

    def __init__(self, organization_id: UUID) -> None:
        """Asks nothing until it is asked."""
        self._organization_id = organization_id

    @cached_property
    def _found(self) -> list[tuple[list[UUID] | None, dict[str, str]]]:
        """Served by runner_executor_polled."""
        found = RunnerExecutor.objects.filter(
            organization_id=self._organization_id,
            polled_at__gt=DatabaseNow() - POLLING_WITHIN,
            draining_at=None,
        ).order_by("-polled_at")
        return list(found.values_list("profile_ids", "labels")[: MAX_ASKING + 1])

    @property
    def truncated(self) -> bool:
        return len(self._found) > MAX_ASKING

    @property
    def _rows(self) -> list[tuple[list[UUID] | None, dict[str, str]]]:
        return self._found[:MAX_ASKING]

    @property
    def count(self) -> int:
        return len(self._rows)

    def for_profile(self, profile_id: UUID) -> list[dict[str, str]]:
        """The labels of each that takes sessions of this profile."""
        return [labels for only, labels in self._rows if only is None or profile_id in only]

    def offering(self, session: RunnerSession) -> int:
        """How many may be handed this session, as far as profile and labels go."""
        offered = self.for_profile(session.profile_id)
        return sum(session.labels.items() <= labels.items() for labels in offered)

    def lacking(self, session: RunnerSession) -> dict[str, str]:
        """The labels of the session that none of them has; each alone may be there, and yet no
        executor have all of them."""
        offered = self.for_profile(session.profile_id)
        pairs = session.labels.items()
        missing = {k: v for k, v in pairs if all(labels.get(k) != v for labels in offered)}
        return missing or dict(session.labels)
