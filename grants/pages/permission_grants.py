"""/runners/approvals and the page of each grant: what is asked, and the decision."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import access, approvals, queries
from grants.forms import DecisionForm, RevokeForm
from grants.models import PermissionGrant
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import is_fragment, local_path, see_other
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries
from sessions.pages.frame import frame

APPROVALS_SHOWN = 50


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
