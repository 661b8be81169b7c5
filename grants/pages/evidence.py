"""/runners/sessions/{id}/evidence: what proves a session, how far it is checked, and its holds."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import badges, bundle, custody, queries, verification
from grants.api.evidence import export
from grants.custody_models import Verdict
from grants.forms import ReasonForm
from keeptrusts_runners.console import panels
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.errors import NotAnchored
from keeptrusts_runners.identity.queries import actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries
from sessions.models import RunnerSession
from sessions.pages.frame import frame


@page()
def tab(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/evidence`."""
    return _tab(request, session_id)


def _tab(request: Page, session_id: UUID, refused: ReasonForm | None = None) -> HttpResponse:
    session = session_queries.detail(session_id, by=request.principal)
    hold, tombstones = queries.hold_of(session), queries.tombstones(session)
    badge = badges.badge(session)
    asked_by = badge.run.requested_by if badge.run else ""
    placed_by = hold.placed_by if hold else ""
    known = actors({asked_by, placed_by, *(each.actor for each in tombstones)} - {""})
    context = {
        **frame(session, "Evidence"),
        "badge": badge,
        "asked_by": spoken(asked_by, known),
        "in_background": verification.MOST_RECORDS,
        "anchor": panels.load(lambda: _anchor(session)),
        "completeness": panels.load(lambda: queries.completeness(session)),
        "tombstones": [(each, spoken(each.actor, known)) for each in tombstones],
        "hold": hold,
        "held_by": spoken(placed_by, known),
        "is_auditor": request.principal.has(Scope.AUDIT),
        "form": refused or ReasonForm(auto_id="hold-%s"),
    }
    status = 200 if refused is None else 422
    return render(request, "runners/evidence/tab.html", context, status=status)


def _anchor(session: RunnerSession) -> dict[str, Any] | None:
    """Where the organization's log has it; None while it has nothing of it."""
    try:
        return bundle.anchored(session)
    except NotAnchored:
        return None


@page(Scope.AUDIT)
def download(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/evidence/bundle`: the signed bundle. It is read while it is
    sent, after this page's transaction and in one of its own."""
    session_queries.detail(session_id, by=request.principal)
    return cast(HttpResponse, export(session_id, by=request.principal))


@page(Scope.AUDIT, methods=("POST",), atomic=False)
def verify(request: Page, session_id: UUID) -> HttpResponse:
    """`POST …/evidence/verify`: recompute the chain, now or in the background, and keep what comes
    of it."""
    found = verification.verify(session_id, by=request.principal)
    if found.running is not None:
        flash = "Being checked in the background."
        return see_other(_here(session_id), request=request, flash=flash)
    good = found.verdict == Verdict.VERIFIED
    flash = (
        f"Verified: {found.records:,} records."
        if good
        else f"Not verified: {found.reason or found.verdict}."
    )
    level = messages.SUCCESS if good else messages.ERROR
    return see_other(_here(session_id), request=request, flash=flash, level=level)


@page(Scope.AUDIT, methods=("POST",))
def hold(request: Page, session_id: UUID) -> HttpResponse:
    """`POST …/evidence/hold`: nothing of it is redacted or expires from now on."""
    form = ReasonForm(request.POST, auto_id="hold-%s")
    if not form.is_valid():
        return _tab(request, session_id, form)
    custody.place_hold(session_id, form.cleaned_data["reason"], by=request.principal)
    return see_other(_here(session_id), request=request, flash="Legal hold placed.")


@page(Scope.AUDIT, methods=("POST",))
def lift(request: Page, session_id: UUID) -> HttpResponse:
    """`POST …/evidence/lift`: what retention has waited for may then happen at once."""
    form = ReasonForm(request.POST, auto_id="hold-%s")
    if not form.is_valid():
        return _tab(request, session_id, form)
    custody.lift_hold(session_id, by=request.principal, reason=form.cleaned_data["reason"])
    return see_other(_here(session_id), request=request, flash="Legal hold lifted.")


def _here(session_id: UUID) -> str:
    return reverse("session_evidence_page", args=[session_id])
