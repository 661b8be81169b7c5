"""Composed reads of profiles and harness revisions, for the pages."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from keeptrusts_runners.identity.principal import Principal
from profiles.models import HarnessRevision


def recent_revisions(*, by: Principal) -> QuerySet[HarnessRevision]:
    """Of all profiles, newest first."""
    return (
        HarnessRevision.objects.filter(organization_id=by.organization_id)
        .select_related("profile")
        .order_by("-id")
    )


def revisions(profile_id: UUID, *, by: Principal) -> QuerySet[HarnessRevision]:
    """Of one profile, newest first."""
    return HarnessRevision.objects.of_profile(by.organization_id, profile_id).order_by("-id")
