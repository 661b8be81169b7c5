"""/runners/authority: who could do what at an instant, and on whose decision."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect, render

from grants import authority, queries
from keeptrusts_runners.api.fields import parse_instant
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.identity.queries import actors, spoken
from keeptrusts_runners.identity.scopes import Scope


@page(Scope.AUDIT)
def at(request: Page) -> HttpResponse:
    """`GET /runners/authority?at=`: the grants that were in force then; left out, now."""
    if request.GET.get("at") == "":
        return redirect(request.path)
    check_parameters(request, {"at", "cursor"})
    text = request.GET.get("at", "").strip().replace(" ", "T")
    try:
        instant = parse_instant(text) if text else request.now
    except ValueError:
        raise invalid("at", "must be an instant such as 2026-05-01T09:30:00Z.") from None
    if instant > request.now:
        raise invalid("at", "is yet to come.")
    found = authority.at(request.principal.organization_id, instant)
    with_session = found.select_related("session__profile").defer("session__input")
    rows, older = keyset(with_session, request, order=authority.ORDER)
    known = actors(queries.actors_of(rows) | {row.holder for row in rows if row.holder})
    standings = queries.standings(rows, by=request.principal, now=request.now, known=known)
    context = {
        "at": instant,
        "asked": text,
        "rows": [
            (standing, spoken(row.holder or "", known))
            for standing, row in zip(standings, rows, strict=True)
        ],
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
    }
    return render(request, "runners/approvals/authority.html", context)
