"""/runners/approvals: what waits for a decision, what is in force, and what became of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import approvals, inbox, queries
from grants.forms import DenyForm, TargetForm
from grants.models import PermissionGrant
from keeptrusts_runners import ids
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console import navigation
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import is_fragment, see_other
from keeptrusts_runners.identity.scopes import Scope

MINE, WAITING, ACTIVE, DECIDED, LAPSED = "mine", "waiting", "active", "decided", "lapsed"
LABELS = {
    MINE: "Waiting for me",
    WAITING: "Waiting",
    ACTIVE: "Active grants",
    DECIDED: "Decided",
    LAPSED: "Lapsed",
}
MOST_DENIED = 50


class _List(NamedTuple):
    found: QuerySet[Any]
    order: Sequence[str]


@page()
def index(request: Page) -> HttpResponse:
    """`GET /runners/approvals?view=`."""
    return _inbox(request)


def _inbox(request: Page, refused: DenyForm | None = None) -> HttpResponse:
    check_parameters(request, {"view", "cursor"})
    view = request.GET.get("view") or (MINE if request.principal.has(Scope.APPROVE) else WAITING)
    if view not in LABELS:
        raise invalid("view", f"is one of {', '.join(LABELS)}.")
    wanted = _list(view, request)
    rows, older = keyset(wanted.found, request, order=wanted.order)
    context = {
        "view": view,
        "label": LABELS[view],
        "tabs": _tabs(view, request),
        "rows": rows if view == DECIDED else _standings(rows, request),
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
        "may_deny": view in (MINE, WAITING) and request.principal.has(Scope.APPROVE),
        "may_revoke": view == ACTIVE and request.principal.has(Scope.WRITE),
        "may_audit": view == ACTIVE and request.principal.has(Scope.AUDIT),
        "form": refused or DenyForm(),
        "target": TargetForm(by=request.principal) if view == ACTIVE else None,
    }
    name = "_approvals" if is_fragment(request) else "approvals"
    status = 200 if refused is None else 422
    return render(request, f"runners/approvals/{name}.html", context, status=status)


def _list(view: str, request: Page) -> _List:
    by = request.principal
    lists = {
        MINE: lambda: _List(inbox.waiting_for(by), inbox.FIRST_TO_LAPSE),
        WAITING: lambda: _List(inbox.waiting(by=by), inbox.FIRST_TO_LAPSE),
        ACTIVE: lambda: _List(inbox.active(by=by), inbox.FIRST_TO_END),
        DECIDED: lambda: _List(inbox.decisions(by=by), inbox.NEWEST),
        LAPSED: lambda: _List(inbox.lapsed(by=by), inbox.NEWEST),
    }
    return lists[view]()


def _standings(rows: list[PermissionGrant], request: Page) -> Any:
    return queries.standings(rows, by=request.principal, now=request.now)


def _tabs(current: str, request: Page) -> list[Link]:
    """Whoever cannot approve has nothing that waits for them."""
    here, count = reverse("approvals"), queries.attention(by=request.principal).waiting
    shown = [view for view in LABELS if view != MINE or request.principal.has(Scope.APPROVE)]
    return [
        Link(
            LABELS[view],
            f"{here}?view={view}",
            view == current,
            f"{count:,}" if view == WAITING else None,
        )
        for view in shown
    ]


@page()
def count(request: Page) -> HttpResponse:
    """`GET /runners/approvals/count`: the header's figure alone, to be refreshed."""
    own = reverse("approvals")
    counted = {own: queries.waiting_count(by=request.principal)}
    links = navigation.links(request.principal, own, counted)
    (link,) = (each for each in links if each.url == own)
    return render(request, "console/_count.html", {"link": link})


@page(Scope.APPROVE, methods=("POST",))
def deny(request: Page) -> HttpResponse:
    """`POST /runners/approvals/deny`: the requests that are ticked, for one reason."""
    form = DenyForm(request.POST)
    wanted = _ticked(request)
    if not wanted:
        form.add_error(None, "Tick the requests that are to be denied.")
    if not form.is_valid():
        return _inbox(request, form)
    comment = form.cleaned_data["comment"]
    denied, skipped = approvals.deny_each(wanted, by=request.principal, comment=comment)
    flash = f"{len(denied)} denied."
    if skipped:
        flash += f" {len(skipped)} had been decided or had ended meanwhile, and are as they were."
    return see_other(f"{reverse('approvals')}?view={WAITING}", request=request, flash=flash)


def _ticked(request: Page) -> list[tuple[UUID, UUID]]:
    """Session and grant of each; what is no id of this organization's is not among them."""
    named = []
    for text in request.POST.getlist("grant")[:MOST_DENIED]:
        try:
            named.append(ids.decode("grant", text))
        except ValueError:
            continue
    own = PermissionGrant.objects.filter(
        organization_id=request.principal.organization_id, id__in=named
    )
    return list(own.values_list("session_id", "id"))
