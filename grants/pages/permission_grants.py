"""The grants of a session, and the page of each: what is asked, the decision, and its end."""

from __future__ import annotations

from uuid import UUID

from django import forms
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import access, approvals, queries, renewals
from grants.forms import DecisionForm, RenewForm, RequestForm, RevokeForm, refuse
from grants.models import GrantState, PermissionGrant
from grants.serializers import GrantIn
from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console import panels
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.formats import duration
from keeptrusts_runners.console.responses import is_fragment, local_path, see_other
from keeptrusts_runners.errors import AlreadyDecided, Invalid, RequestChanged
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries
from sessions.pages.frame import frame
from sessions.states import State

AROUND = 5


@page()
def of_session(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/grants`: what waits, to be decided, and all that there was."""
    session = session_queries.detail(session_id, by=request.principal)
    check_parameters(request, {"cursor"})
    found, older = keyset(queries.grants(session.id), request)
    for each in found:
        each.session = session
    standings = queries.standings(found, by=request.principal, now=request.now)
    context = {
        **frame(session, "Grants"),
        "waiting": [each for each in standings if each.state == GrantState.REQUESTED],
        "standings": [each for each in standings if each.state != GrantState.REQUESTED],
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
        "may_request": request.principal.has(Scope.WRITE)
        and not session.is_final
        and session.state != State.CANCELLING,
    }
    name = "_session" if is_fragment(request) else "session"
    return render(request, f"runners/grants/{name}.html", context)


@page(Scope.WRITE, methods=("GET", "POST"))
def ask(request: Page, session_id: UUID) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/grants/new`: issue a grant, or ask for its approvals."""
    session = session_queries.detail(session_id, by=request.principal)
    form = RequestForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        try:
            fields = GrantIn.read(form.cleaned_data)
            made = access.request(session_id, fields, by=request.principal)
        except Invalid as error:
            refuse(form, error)
        else:
            waits = made.state == GrantState.REQUESTED
            said = "is requested; it waits for its approvals" if waits else "is granted"
            to = reverse("session_grants", args=[session_id])
            return see_other(to, request=request, flash=f"{made.operation} {said}.")
    context = {**frame(session, "Add a grant"), "form": form}
    status = 422 if form.errors else 200
    return render(request, "runners/grants/request.html", context, status=status)


@page()
def grant(request: Page, session_id: UUID, grant_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/grants/{id}`: one request, whole; `?next=` is where its forms
    lead."""
    return _grant_page(request, session_id, grant_id)


def _grant_page(
    request: Page,
    session_id: UUID,
    grant_id: UUID,
    refused: forms.Form | None = None,
    meanwhile: str = "",
) -> HttpResponse:
    """With `refused`, a form that was sent and not accepted, what was typed is still there;
    `meanwhile` says why nothing came of one."""
    found = queries.grant(session_id, grant_id, by=request.principal)
    earlier = queries.earlier(found)
    standing, *before = queries.standings([found, *earlier], by=request.principal, now=request.now)
    session = session_queries.detail(session_id, by=request.principal)
    context = {
        **frame(session, "Grant"),
        "standing": standing,
        "earlier": before,
        "around": panels.load(lambda: queries.around_request(found, AROUND)),
        "back": local_path(request, request.POST.get("next") or request.GET.get("next")) or "",
        "refused": refused,
        "meanwhile": meanwhile,
    }
    status = 422 if refused is not None else 409 if meanwhile else 200
    return render(request, "runners/grants/grant.html", context, status=status)


@page(Scope.APPROVE, methods=("POST",))
def approve(request: Page, session_id: UUID, grant_id: UUID) -> HttpResponse:
    """`POST …/grants/{id}/approve`, with the digest of what was shown."""
    found = queries.grant(session_id, grant_id, by=request.principal)
    form = DecisionForm(found, request.POST, comment_required=_is_risky(found))
    if not form.is_valid():
        return _grant_page(request, session_id, grant_id, form)
    try:
        decided = approvals.approve(session_id, grant_id, by=request.principal, **form.given)
    except (AlreadyDecided, RequestChanged) as error:
        return _grant_page(request, session_id, grant_id, meanwhile=error.detail)
    if decided.state == GrantState.REQUESTED:
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
    try:
        approvals.deny(session_id, grant_id, by=request.principal, comment=comment)
    except AlreadyDecided as error:
        return _grant_page(request, session_id, grant_id, meanwhile=error.detail)
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


@page(Scope.WRITE, methods=("POST",))
def renew(request: Page, session_id: UUID, grant_id: UUID) -> HttpResponse:
    """`POST …/grants/{id}/renew`, under the lease that was shown."""
    found = queries.grant(session_id, grant_id, by=request.principal)
    form = RenewForm(found, found.session.lease_epoch, request.POST)
    if not form.is_valid():
        return _grant_page(request, session_id, grant_id, form)
    try:
        made = renewals.renew(session_id, grant_id, by=request.principal, **form.cleaned_data)
    except Invalid as error:
        refuse(form, error)
        return _grant_page(request, session_id, grant_id, form)
    if made.id != found.id:
        return _done(request, session_id, "The renewal is requested; it waits for its approvals.")
    assert made.expires_at is not None
    left = duration(made.expires_at - request.now)
    return _done(request, session_id, f"{made.operation} lasts for another {left}.")


def _done(request: Page, session_id: UUID, flash: str) -> HttpResponse:
    back = local_path(request, request.POST.get("next"))
    return see_other(back or reverse("session", args=[session_id]), request=request, flash=flash)
