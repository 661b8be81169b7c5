"""Composed reads of profiles and harness revisions, for the pages."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from keeptrusts_runners.errors import NotFound
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


def revision(profile_id: UUID, harness_id: UUID, *, by: Principal) -> HarnessRevision:
    """One revision of one profile, with both. Raises NotFound."""
    found = revisions(profile_id, by=by).select_related("profile").filter(id=harness_id).first()
    if found is None:
        raise NotFound
    return found


def newest_without(revision: HarnessRevision) -> HarnessRevision | None:
    """What a dispatch would pin if this one were out of use."""
    others = HarnessRevision.objects.of_profile(revision.organization_id, revision.profile_id)
    return others.exclude(id=revision.id).newest_usable()
