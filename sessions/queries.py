"""Composed reads of sessions, for the API and the pages."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.identity.principal import Principal
from sessions.models import Checkpoint, RunnerSession, Transition


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
