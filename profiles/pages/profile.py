"""/runners/profiles/{id}: one profile, its revisions and its work."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners import ids
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.identity.queries import actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from profiles import catalog, queries
from profiles.models import ProfileStatus
from profiles.pages.fleet import sessions_address
from sessions import queries as session_queries

REVISIONS_SHOWN = 50


@page()
def profile(request: Page, profile_id: UUID) -> HttpResponse:
    """`GET /runners/profiles/{id}`."""
    return _profile(request, profile_id, "runners/fleet/profile.html")


@page(Scope.WRITE, methods=("GET", "POST"))
def archive(request: Page, profile_id: UUID) -> HttpResponse:
    """`GET, POST /runners/profiles/{id}/archive`: say what it means, then do it."""
    if request.method != "POST":
        return _profile(request, profile_id, "runners/fleet/archive.html")
    found = catalog.for_update(profile_id, by=request.principal)
    catalog.archive_profile(found, by=request.principal)
    to = reverse("profile", args=[profile_id])
    return see_other(to, request=request, flash=f"{found.name} is archived.")


def _profile(request: Page, profile_id: UUID, template: str) -> HttpResponse:
    found = catalog.profile(profile_id, by=request.principal)
    revisions = list(queries.revisions(profile_id, by=request.principal)[:REVISIONS_SHOWN])
    counts = session_queries.open_counts_of_profile(profile_id)
    known = actors({revision.published_by for revision in revisions})
    text = ids.encode("prof", found.id)
    context = {
        "profile": found,
        "id": text,
        "crumbs": [Link("Fleet", reverse("fleet")), Link(found.name, "", current=True)],
        "revisions": [(each, spoken(each.published_by, known)) for each in revisions],
        "links": [
            (Link(label, sessions_address(profile_id=text, view=view)), count)
            for label, view, count in (
                ("Queue", "queue", counts.queued),
                ("Active", "active", counts.active),
                ("Completed", "completed", None),
            )
        ],
        "may_archive": request.principal.has(Scope.WRITE)
        and found.status != ProfileStatus.ARCHIVED,
        "open": counts,
    }
    return render(request, template, context)
