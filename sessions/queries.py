"""Composed reads of sessions, for the API and the pages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Value

from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.identity.principal import Principal
from profiles.models import HarnessRevision, RunnerProfile
from sessions import attention
from sessions.models import Checkpoint, RunnerSession, Transition
from sessions.states import LEASED, OPEN, State, Verb


def session(session_id: UUID, *, by: Principal) -> RunnerSession:
    """One session with its profile and harness. Raises NotFound."""
    found = (
        RunnerSession.objects.in_organization(by.organization_id)
        .filter(id=session_id)
        .select_related("profile", "harness")
        .first()
    )
    if found is None:
        raise NotFound
    by.require_session(session_id)
    return found


def sessions(*, by: Principal) -> QuerySet[RunnerSession]:
    """Every session of the organization, without what only the detail shows."""
    return RunnerSession.objects.in_organization(by.organization_id).defer("input", "grant_policy")


def of_harness(harness_id: UUID, *, by: Principal) -> QuerySet[RunnerSession]:
    """Every session that is pinned to this revision, newest first. Served by
    runner_session_of_harness."""
    return sessions(by=by).filter(harness_id=harness_id).order_by("-id")


def open_of_harness(revision: HarnessRevision, *, by: Principal) -> Mapping[str, int]:
    """How many are open of those pinned to this revision, by state; of at most COUNT_CAP. Served
    by runner_session_profile_state."""
    opened = RunnerSession.objects.in_organization(by.organization_id).filter(
        profile_id=revision.profile_id, harness_id=revision.id, state__in=sorted(OPEN)
    )
    return dict(Counter(opened.order_by().values_list("state", flat=True)[:COUNT_CAP]))


def newest_retry(session_id: UUID, *, by: Principal) -> UUID | None:
    """The last session that was dispatched to run this one's task again."""
    found = sessions(by=by).filter(retry_of_id=session_id).order_by("-id")
    return found.values_list("id", flat=True).first()


def to_cancel_of_harness(harness_id: UUID, *, by: Principal) -> QuerySet[RunnerSession, UUID]:
    """The ids of those that are open and not yet asked to end."""
    wanted = of_harness(harness_id, by=by).filter(state__in=sorted(OPEN - {State.CANCELLING}))
    return wanted.values_list("id", flat=True)


def transitions(session_id: UUID) -> QuerySet[Transition]:
    """The session's way through its lifecycle, in order."""
    return Transition.objects.filter(session_id=session_id).order_by("seq")


def checkpoints(session_id: UUID) -> QuerySet[Checkpoint]:
    """Newest first."""
    return Checkpoint.objects.filter(session_id=session_id).order_by("-number")


@dataclass(slots=True)
class Attempt:
    """One lease from claim to end, as the transitions tell it. An end of None is a live lease."""

    number: int
    holder: str
    executor: dict[str, Any]
    claimed_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    ended_by: str = ""
    end_state: str = ""
    end_reason: str = ""


def claims(session_id: UUID) -> QuerySet[Transition]:
    """The steps that began the session's attempts."""
    return Transition.objects.filter(session_id=session_id, verb=Verb.CLAIM)


def attempts(claimed: list[Transition]) -> list[Attempt]:
    """The attempts that these claims of one session began, in their order."""
    if not claimed:
        return []
    epochs = [step.lease_epoch for step in claimed]
    found = {
        step.lease_epoch: Attempt(step.lease_epoch, step.actor, step.executor, step.at)
        for step in claimed
    }
    for step in transitions(claimed[0].session_id).filter(lease_epoch__in=epochs):
        attempt = found[step.lease_epoch]
        if step.source == State.DISPATCHED and step.verb == Verb.HEARTBEAT:
            attempt.started_at = step.at
        elif step.source in LEASED and step.target not in LEASED:
            attempt.ended_at, attempt.ended_by = step.at, step.actor
            attempt.end_state, attempt.end_reason = step.target, step.reason
    return list(found.values())


# --- for the pages ---------------------------------------------------------------------------

# Beyond this a count is said to be "10,000+".
COUNT_CAP = 10_000


def detail(session_id: UUID, *, by: Principal) -> RunnerSession:
    """One session with all that its page shows of it in one row, and its `health`. Raises
    NotFound."""
    found = (
        RunnerSession.objects.in_organization(by.organization_id)
        .filter(id=session_id)
        .select_related("profile", "harness", "ledger_head", "verification", "verification_run")
    )
    one = attention.with_health(found).first()
    if one is None:
        raise NotFound
    return one


def rows(*, by: Principal) -> QuerySet[RunnerSession]:
    """Sessions as lists show them: without what people send in, with names and counters."""
    return (
        RunnerSession.objects.in_organization(by.organization_id)
        .select_related("profile", "harness", "ledger_head")
        .defer("input", "metadata", "result", "grant_policy")
    )


def counted(found: QuerySet[RunnerSession]) -> int:
    """How many these are, up to COUNT_CAP + 1."""
    return found.order_by()[: COUNT_CAP + 1].count()


def held_by(executor_id: UUID, *, by: Principal) -> QuerySet[RunnerSession]:
    """What this executor holds now, newest first. Served by runner_session_held."""
    return rows(by=by).filter(executor_id=executor_id, state__in=sorted(LEASED)).order_by("-id")


@dataclass(frozen=True, slots=True)
class OpenCounts:
    """How many sessions are open, by profile and state. Exact: served by
    runner_session_profile_state."""

    by_profile: Mapping[UUID, Mapping[str, int]]

    def of(self, *states: State) -> int:
        return sum(found.get(state, 0) for found in self.by_profile.values() for state in states)


def open_counts(*, by: Principal) -> OpenCounts:
    profiles = RunnerProfile.objects.in_organization(by.organization_id).values("id")
    found = (
        RunnerSession.objects.filter(profile_id__in=profiles, state__in=sorted(OPEN))
        .order_by()
        .values_list("profile_id", "state")
        .annotate(count=Count("*"))
    )
    by_profile: dict[UUID, dict[str, int]] = defaultdict(dict)
    for profile_id, state, count in found:
        by_profile[profile_id][state] = count
    return OpenCounts(by_profile)


class OpenOfProfile(NamedTuple):
    queued: int
    active: int


def open_counts_of_profile(profile_id: UUID) -> OpenOfProfile:
    """Exact: served by runner_session_profile_state."""
    found = RunnerSession.objects.filter(profile_id=profile_id, state__in=sorted(OPEN)).aggregate(
        queued=Count("id", filter=Q(state=State.PENDING)),
        active=Count("id", filter=~Q(state=State.PENDING)),
    )
    return OpenOfProfile(**found)


def ahead_of(session: RunnerSession) -> int:
    """How many pending sessions a claim would look at first, by priority, then age; at most
    COUNT_CAP + 1. Served by runner_session_queue."""
    before = Q(priority__gt=session.priority) | Q(priority=session.priority, id__lt=session.id)
    pending = RunnerSession.objects.in_organization(session.organization_id).filter(
        state=State.PENDING
    )
    return pending.filter(before)[: COUNT_CAP + 1].count()


def slot_holders(*groups: Mapping[str, Any], most: int) -> list[list[UUID]]:
    """Of each group (a profile, or a key of an organization) the sessions that hold a lease now,
    the newest `most`. One query for all of them."""
    found = [
        RunnerSession.objects.leased()
        .filter(**of)
        .order_by("-id")
        .annotate(of=Value(number))
        .values_list("of", "id")[:most]
        for number, of in enumerate(groups)
    ]
    holders: list[list[UUID]] = [[] for _ in groups]
    for number, session_id in found[0].union(*found[1:], all=True) if found else ():
        holders[number].append(session_id)
    return [sorted(each, reverse=True) for each in holders]
