"""/runners/approvals/revoke: all grants of an operation, a profile or an executor end at once."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import inbox, queries, revocations
from grants.forms import RevokeAllForm, TargetForm
from grants.revocations import MAX_REVOKED
from keeptrusts_runners import clock
from keeptrusts_runners.api.fields import parse_instant
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import see_other
from keeptrusts_runners.identity.scopes import Scope


@page(Scope.WRITE, methods=("GET", "POST"))
def revoke(request: Page) -> HttpResponse:
    """`GET, POST /runners/approvals/revoke?operation=&profile=&executor=`: what would end, and
    why; then it does."""
    target = TargetForm(request.GET, by=request.principal)
    form = RevokeAllForm(request.POST if request.method == "POST" else None)
    if not target.is_valid():
        return _ask(request, target, form, [])
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        ended, more = revocations.revoke_all(by=request.principal, reason=reason, **target.given)
        if not ended:
            to = f"{reverse('approvals')}?view=active"
            return see_other(to, request=request, flash="Nothing was left to revoke.")
        at = {"at": clock.rfc3339(ended[0].ended_at)} | ({"more": "1"} if more else {})
        return see_other(f"{reverse('approvals_revoked')}?{urlencode(at | target.query)}")
    found = revocations.wanted(by=request.principal, **target.given)
    return _ask(request, target, form, found)


def _ask(request: Page, target: TargetForm, form: RevokeAllForm, found: list[Any]) -> HttpResponse:
    context = {
        "target": target,
        "form": form,
        "rows": queries.standings(found[:MAX_REVOKED], by=request.principal, now=request.now),
        "more": len(found) > MAX_REVOKED,
        "most": MAX_REVOKED,
    }
    status = 422 if form.errors or (request.GET and target.errors) else 200
    return render(request, "runners/approvals/revoke.html", context, status=status)


@page()
def revoked(request: Page) -> HttpResponse:
    """`GET /runners/approvals/revoked?at=`: what one revocation has ended; its address lasts."""
    check_parameters(request, {"at", "more", "operation", "profile", "executor"})
    try:
        instant = parse_instant(request.GET.get("at", ""))
    except ValueError:
        raise invalid("at", "must be an instant such as 2026-05-01T09:30:00Z.") from None
    found = list(inbox.revoked_at(instant, by=request.principal).order_by("id")[:MAX_REVOKED])
    target = {name: request.GET[name] for name in TargetForm.base_fields if name in request.GET}
    context = {
        "at": instant,
        "rows": queries.standings(found, by=request.principal, now=request.now),
        "rest": f"{reverse('approvals_revoke')}?{urlencode(target)}"
        if "more" in request.GET
        else "",
    }
    return render(request, "runners/approvals/revoked.html", context)
