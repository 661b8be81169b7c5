"""Where the id of a profile leads."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse

from keeptrusts_runners.identity.principal import Principal
from profiles.models import RunnerProfile


def profile(profile_id: UUID, by: Principal) -> str | None:
    found = RunnerProfile.objects.in_organization(by.organization_id).filter(id=profile_id)
    return reverse("profile", args=[profile_id]) if found.exists() else None
