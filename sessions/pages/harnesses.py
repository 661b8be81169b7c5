"""/runners/profiles/{id}/harnesses/{id}: a revision, the sessions that are pinned to it, and its
recall. Below profiles in the address, above them in the code, since it tells of sessions."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners import ids
from keeptrusts_runners.console import typed
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.identity.queries import actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from profiles import queries as profile_queries
from profiles.models import HarnessRevision, HarnessStatus
from sessions import harness_recalls, queries
from sessions.forms import RecallForm
from sessions.harness_recalls import MAX_SESSIONS, Recall


@page()
def detail(request: Page, profile_id: UUID, harness_id: UUID) -> HttpResponse:
    """`GET /runners/profiles/{id}/harnesses/{id}`."""
    revision = profile_queries.revision(profile_id, harness_id, by=request.principal)
    newest = queries.of_harness(harness_id, by=request.principal)
    known = actors({revision.published_by, revision.status_changed_by})
    rows = list(newest[: MAX_SESSIONS + 1])
    context = {
        **_frame(revision, request),
        "rows": rows[:MAX_SESSIONS],
        "more": len(rows) > MAX_SESSIONS,
        "published_by": spoken(revision.published_by, known),
        "changed_by": spoken(revision.status_changed_by, known),
        "list_url": _list(harness_id),
    }
    return render(request, "runners/fleet/harness.html", context)


def _frame(revision: HarnessRevision, request: Page, verb: str = "") -> dict[str, Any]:
    profile, here = revision.profile, reverse("harness", args=[revision.profile_id, revision.id])
    crumbs = [
        Link("Fleet", reverse("fleet")),
        Link(profile.name, reverse("profile", args=[profile.id])),
        Link("Revisions", reverse("revisions", args=[profile.id])),
        Link(revision.version, here, current=not verb),
    ]
    if verb:
        crumbs.append(Link(verb, "", current=True))
    return {
        "revision": revision,
        "profile": profile,
        "crumbs": crumbs,
        "open": queries.open_of_harness(revision, by=request.principal),
        "may_write": request.principal.has(Scope.WRITE),
    }


def _list(harness_id: UUID) -> str:
    return f"{reverse('sessions')}?{urlencode({'harness_id': ids.encode('harn', harness_id)})}"


@page(Scope.WRITE, methods=("GET", "POST"))
def recall(request: Page, profile_id: UUID, harness_id: UUID) -> HttpResponse:
    """`GET, POST /runners/profiles/{id}/harnesses/{id}/recall`: say what it will touch, then do
    it. Recalled already it can still cancel what is open."""
    revision = profile_queries.revision(profile_id, harness_id, by=request.principal)
    given = request.POST if request.method == "POST" else None
    form = RecallForm(given, initial=typed.over(request, _said(revision)))
    if form.is_valid():
        done = harness_recalls.recall(
            profile_id, harness_id, by=request.principal, **form.cleaned_data
        )
        to = reverse("harness", args=[profile_id, harness_id])
        level = messages.WARNING if done.open_left else messages.SUCCESS
        return see_other(to, request=request, flash=_told(done), level=level)
    context = {
        **_frame(revision, request, "Recall"),
        "form": form,
        "next": profile_queries.newest_without(revision),
        "most": MAX_SESSIONS,
    }
    status = 422 if form.errors else 200
    return render(request, "runners/fleet/recall.html", context, status=status)


def _said(revision: HarnessRevision) -> dict[str, Any]:
    """Recalled once, the first reason stands; what is left to do is to cancel."""
    recalled = revision.status == HarnessStatus.RECALLED
    return {"reason": revision.status_reason if recalled else "", "cancel_sessions": recalled}


def _told(done: Recall) -> str:
    touched = f"{len(done.sessions):,}{'+' if done.truncated else ''}"
    text = f"{done.harness.version} is recalled; {touched} sessions were pinned to it."
    if done.cancelled:
        text += f" {done.cancelled:,} of them cancelled."
    if done.open_left:
        text += " More are open: recall it again to cancel the next."
    return text
