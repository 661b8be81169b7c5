"""/runners/profiles/{id}: one profile, how it stands, and what stops it."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import queries as grant_queries
from keeptrusts_runners import ids
from keeptrusts_runners.console import panels
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import is_fragment, see_other
from keeptrusts_runners.identity.queries import actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from profiles import catalog, queries
from profiles.models import RunnerProfile
from profiles.pages.fleet import Row, sessions_address
from profiles.pages.frame import frame
from sessions import fleet as reads
from sessions import queries as session_queries
from sessions.fleet import FRONT, PINNED_CAP

REVISIONS_SHOWN = 5


@page()
def profile(request: Page, profile_id: UUID) -> HttpResponse:
    """`GET /runners/profiles/{id}`."""
    found = catalog.profile(profile_id, by=request.principal)
    by, now = request.principal, request.now
    newest = reads.with_pinned(queries.revisions(profile_id, by=by))
    revisions = list(newest[: REVISIONS_SHOWN + 1])
    known = actors({revision.published_by for revision in revisions})
    figures = panels.load(lambda: _figures(found, request))
    front = panels.load(lambda: list(reads.front_of_queue(found, by=by, now=now)))
    context = {
        **frame(found, request, "Overview"),
        "figures": figures,
        "front": front,
        "blocked": any(each.waiting.blocked for each in front.value or ()),
        "front_size": FRONT,
        "revisions": [(each, spoken(each.published_by, known)) for each in revisions],
        "revisions_shown": REVISIONS_SHOWN,
        "pinned_cap": PINNED_CAP,
        "links": _links(found),
        "usage": grant_queries.profile_usage(found, by=by),
    }
    name = "_standing" if is_fragment(request) else "profile"
    return render(request, f"runners/fleet/{name}.html", context)


def _figures(found: RunnerProfile, request: Page) -> Row | None:
    figures = reads.figures(by=request.principal, now=request.now, profile_id=found.id)
    return Row(figures[0]) if figures else None


def _links(found: RunnerProfile) -> dict[str, str]:
    text = ids.encode("prof", found.id)
    views = ("queue", "active", "completed")
    return {view: sessions_address(profile_id=text, view=view) for view in views}


# --- what stops it ---------------------------------------------------------------------------


@page(Scope.WRITE, methods=("GET", "POST"))
def pause(request: Page, profile_id: UUID) -> HttpResponse:
    """`GET, POST /runners/profiles/{id}/pause`: say what it means, then do it."""
    if request.method != "POST":
        return _ask(request, profile_id, "Pause")
    found = catalog.pause_profile(profile_id, by=request.principal)
    return _done(request, found, f"{found.name} is paused: nothing of it is handed out.")


@page(Scope.WRITE, methods=("POST",))
def unpause(request: Page, profile_id: UUID) -> HttpResponse:
    """`POST /runners/profiles/{id}/unpause`."""
    found = catalog.unpause_profile(profile_id, by=request.principal)
    return _done(request, found, f"{found.name} is active: what waited is handed out again.")


@page(Scope.WRITE, methods=("GET", "POST"))
def archive(request: Page, profile_id: UUID) -> HttpResponse:
    """`GET, POST /runners/profiles/{id}/archive`: say what it means, then do it."""
    if request.method != "POST":
        return _ask(request, profile_id, "Archive")
    found = catalog.for_update(profile_id, by=request.principal)
    catalog.archive_profile(found, by=request.principal)
    return _done(request, found, f"{found.name} is archived.")


def _ask(request: Page, profile_id: UUID, verb: str) -> HttpResponse:
    found = catalog.profile(profile_id, by=request.principal)
    context = frame(found, request, verb)
    context["open"] = session_queries.open_counts_of_profile(profile_id)
    return render(request, f"runners/fleet/{verb.lower()}.html", context)


def _done(request: Page, found: RunnerProfile, flash: str) -> HttpResponse:
    return see_other(reverse("profile", args=[found.id]), request=request, flash=flash)
