"""Composed reads of events, artifacts and grants, for the API and the pages."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from grants.completeness import completeness as completeness
from grants.models import Artifact, Event, LedgerHead, PermissionGrant
from sessions.models import RunnerSession


def counts(session: RunnerSession) -> dict[str, int]:
    """What the session has gathered, from counters kept at ingest."""
    head = LedgerHead.objects.filter(session_id=session.id).first()
    return {
        "events": head.events if head else 0,
        "warnings": head.warnings if head else 0,
        "errors": head.errors if head else 0,
        "artifacts": Artifact.objects.filter(session_id=session.id).count(),
        "active_grants": PermissionGrant.objects.usable().filter(session_id=session.id).count(),
    }


def events(session: RunnerSession) -> QuerySet[Event]:
    """The session's records, unordered."""
    return Event.objects.of_session(session.organization_id, session.id)


def artifacts(session_id: UUID) -> QuerySet[Artifact]:
    return Artifact.objects.filter(session_id=session_id)


def grants(session_id: UUID) -> QuerySet[PermissionGrant]:
    return PermissionGrant.objects.filter(session_id=session_id).prefetch_related("decisions")


def grants_of_organization(organization_id: UUID) -> QuerySet[PermissionGrant]:
    return PermissionGrant.objects.filter(organization_id=organization_id).prefetch_related(
        "decisions"
    )
