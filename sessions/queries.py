"""Composed reads of sessions, for the API and the pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.identity.principal import Principal
from sessions.models import Checkpoint, RunnerSession, Transition
from sessions.states import LEASED, State, Verb


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
