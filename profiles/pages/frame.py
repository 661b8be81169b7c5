"""What stands around every page of a profile."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from keeptrusts_runners import ids
from keeptrusts_runners.console.access import Page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.identity.scopes import Scope
from profiles.models import ProfileStatus, RunnerProfile


def frame(profile: RunnerProfile, request: Page, current: str) -> dict[str, Any]:
    """The profile's crumbs, tabs and actions. The tabs beside the first two are the lists of the
    whole organization, filtered."""
    here, text = reverse("profile", args=[profile.id]), ids.encode("prof", profile.id)
    revisions = reverse("revisions", args=[profile.id])
    tabs = [
        Link("Overview", here, current == "Overview"),
        Link("Revisions", revisions, current == "Revisions"),
        Link("Sessions", _filtered("sessions", profile_id=text)),
        Link("Executors", _filtered("executors", profile_id=text)),
    ]
    if request.principal.has(Scope.AUDIT):
        tabs.append(Link("Audit", _filtered("audit", object=text)))
    may_write = request.principal.has(Scope.WRITE)
    archived = profile.status == ProfileStatus.ARCHIVED
    return {
        "profile": profile,
        "tabs": tabs,
        "crumbs": _crumbs(profile, here, current),
        "may_change": may_write and not archived,
        "may_dispatch": request.principal.has(Scope.DISPATCH) and not archived,
        "may_write": may_write,
        "dispatch_url": f"{reverse('dispatch')}?{urlencode({'profile_id': text})}",
    }


def _filtered(name: str, **query: str) -> str:
    return f"{reverse(name)}?{urlencode(query)}"


def _crumbs(profile: RunnerProfile, here: str, current: str) -> list[Link]:
    fleet = Link("Fleet", reverse("fleet"))
    if current == "Overview":
        return [fleet, Link(profile.name, here, current=True)]
    return [fleet, Link(profile.name, here), Link(current, "", current=True)]
