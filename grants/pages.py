"""Pages of grants, events, artifacts and evidence: /runners/approvals and below a session."""

from __future__ import annotations

import re
from typing import Any, cast
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import access, approvals, artifacts, queries, windows
from grants.api.artifacts import download
from grants.api.evidence import export
from grants.forms import DecisionForm, RevokeForm
from grants.models import Level, PermissionGrant
from grants.queries import ERRORS
from grants.windows import Window
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import is_fragment, local_path, see_other
from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries
from sessions.models import RunnerSession
from sessions.pages import frame

APPROVALS_SHOWN = 50

# --- grants ----------------------------------------------------------------------------------


@page()
def inbox(request: Page) -> HttpResponse:
    """`GET /runners/approvals`: what waits for a decision, and what is in force."""
    waiting = list(queries.requests(by=request.principal)[: APPROVALS_SHOWN + 1])
    active = list(queries.in_force(by=request.principal)[: APPROVALS_SHOWN + 1])
    standings = queries.standings([*waiting, *active], by=request.principal, now=request.now)
    context = {
        "waiting": standings[: len(waiting)][:APPROVALS_SHOWN],
        "active": standings[len(waiting) :][:APPROVALS_SHOWN],
        "more_waiting": len(waiting) > APPROVALS_SHOWN,
        "more_active": len(active) > APPROVALS_SHOWN,
    }
    name = "_approvals" if is_fragment(request) else "approvals"
    return render(request, f"runners/grants/{name}.html", context)


@page()
def grant(request: Page, session_id: UUID, grant_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/grants/{id}`: one request, whole."""
    return _grant_page(request, session_id, grant_id)


def _grant_page(
    request: Page, session_id: UUID, grant_id: UUID, refused: Any = None
) -> HttpResponse:
    """With `refused`, a form that was sent and not accepted, what was typed is still there."""
    found = queries.grant(session_id, grant_id, by=request.principal)
    (standing,) = queries.standings([found], by=request.principal, now=request.now)
    session = session_queries.detail(session_id, by=request.principal)
    context = {**frame(session, "Grant"), "standing": standing, "refused": refused}
    status = 200 if refused is None else 422
    return render(request, "runners/grants/grant.html", context, status=status)


@page(Scope.APPROVE, methods=("POST",))
def approve(request: Page, session_id: UUID, grant_id: UUID) -> HttpResponse:
    """`POST …/grants/{id}/approve`, with the digest of what was shown."""
    found = queries.grant(session_id, grant_id, by=request.principal)
    form = DecisionForm(found, request.POST, comment_required=_is_risky(found))
    if not form.is_valid():
        return _grant_page(request, session_id, grant_id, form)
    decided = approvals.approve(session_id, grant_id, by=request.principal, **form.given)
    if decided.state == "requested":
        return _done(request, session_id, "Your approval is recorded; another one is needed.")
    return _done(request, session_id, f"{decided.operation} approved.")


def _is_risky(found: PermissionGrant) -> bool:
    return (found.rule or {}).get("risk") in ("high", "critical")


@page(Scope.APPROVE, methods=("POST",))
def deny(request: Page, session_id: UUID, grant_id: UUID) -> HttpResponse:
    """`POST …/grants/{id}/deny`, with the reason."""
    found = queries.grant(session_id, grant_id, by=request.principal)
    form = DecisionForm(found, request.POST, comment_required=True)
    if not form.is_valid():
        return _grant_page(request, session_id, grant_id, form)
    comment = form.cleaned_data["comment"]
    approvals.deny(session_id, grant_id, by=request.principal, comment=comment)
    return _done(request, session_id, f"{found.operation} denied.")


@page(Scope.WRITE, methods=("POST",))
def revoke(request: Page, session_id: UUID, grant_id: UUID) -> HttpResponse:
    """`POST …/grants/{id}/revoke`."""
    found = queries.grant(session_id, grant_id, by=request.principal)
    form = RevokeForm(found, request.POST)
    if not form.is_valid():
        return _grant_page(request, session_id, grant_id, form)
    reason = form.cleaned_data["reason"]
    access.revoke(session_id, grant_id, by=request.principal, reason=reason)
    return _done(request, session_id, f"{found.operation} revoked.")


def _done(request: Page, session_id: UUID, flash: str) -> HttpResponse:
    back = local_path(request, request.POST.get("next"))
    return see_other(back or reverse("session", args=[session_id]), request=request, flash=flash)


# --- events ----------------------------------------------------------------------------------

_PLACES = ("after", "before", "at")
_SEQ = re.compile(r"[0-9]{1,15}")
_LEVELS = {
    "": (),
    "warning": (Level.WARNING.value, *ERRORS),
    "error": ERRORS,
}


@page()
def events(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/events`: a window by number, `?after=`, `?before=`, `?at=` or
    `?tail=1`, at a level or above (`?level=`)."""
    session = session_queries.detail(session_id, by=request.principal)
    check_parameters(request, {*_PLACES, "tail", "level"})
    level = request.GET.get("level", "")
    if level not in _LEVELS:
        raise invalid("level", "is one of warning, error.")
    window, place = _window(request, session, _LEVELS[level])
    context = {
        **frame(session, "Events"),
        "window": window,
        "level": level,
        "facets": _facets(session, level),
        "refresh": _refresh(session, window, level, place),
    }
    name = "_events" if is_fragment(request) else "events"
    return render(request, f"runners/events/{name}.html", context)


def _window(request: Page, session: RunnerSession, levels: Any) -> tuple[Window, str]:
    """The window that is asked for, and what asked for it."""
    for place in _PLACES:
        if place not in request.GET:
            continue
        text = request.GET[place]
        if not _SEQ.fullmatch(text):
            raise invalid(place, "must be the number of an event.")
        read = {"after": windows.after, "before": windows.before, "at": windows.around}[place]
        return read(session, int(text), levels), place
    if "tail" in request.GET or not session.is_final:
        # Half a window, so that as many rows again may come before it is full.
        return windows.before(session, levels=levels, limit=windows.ROWS // 2), "tail"
    if session.ledger_head.errors and not levels and (seq := windows.first_error(session)):
        return windows.around(session, seq), "at"
    return windows.after(session, 0, levels), "after"


def _refresh(session: RunnerSession, window: Window, level: str, place: str) -> str:
    """Where the rows are fetched again while they may grow: from the same first row, so that
    nothing moves; empty when nothing will come."""
    if session.is_final or place not in ("tail", "after") or len(window.rows) >= windows.ROWS:
        return ""
    start = max(window.first - 1, 0)
    suffix = f"&level={level}" if level else ""
    return f"{reverse('session_events', args=[session.id])}?after={start}{suffix}"


def _facets(session: RunnerSession, level: str) -> list[Link]:
    """Exact, for the counters are kept at ingest."""
    here, head = reverse("session_events", args=[session.id]), session.ledger_head
    counted = (
        ("", "All", head.events),
        ("warning", "Warnings and errors", head.warnings + head.errors),
        ("error", "Errors", head.errors),
    )
    return [
        Link(label, f"{here}?level={word}" if word else here, word == level, f"{count:,}")
        for word, label, count in counted
    ]


@page()
def event(request: Page, session_id: UUID, seq: int) -> HttpResponse:
    """`GET /runners/sessions/{id}/events/{seq}`: one record, whole."""
    session = session_queries.detail(session_id, by=request.principal)
    found = queries.events(session).filter(seq=seq).first() if seq < 2**63 else None
    if found is None:
        raise NotFound
    context = {**frame(session, "Event"), "event": found}
    return render(request, "runners/events/event.html", context)


# --- files -----------------------------------------------------------------------------------


@page()
def artifact(request: Page, session_id: UUID, artifact_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/artifacts/{id}`: the bytes, as a download."""
    session_queries.detail(session_id, by=request.principal)
    return cast(HttpResponse, download(artifacts.artifact(session_id, artifact_id), request))


@page(Scope.AUDIT)
def evidence(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/evidence`: the signed bundle. It is read while it is sent,
    after this page's transaction and in one of its own."""
    session_queries.detail(session_id, by=request.principal)
    return cast(HttpResponse, export(session_id, by=request.principal))
