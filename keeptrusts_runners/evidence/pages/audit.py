"""/runners/audit: the organization's audit log, whole or of one actor, verb or object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from keeptrusts_runners import clock, ids
from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.api.pagination import page as keyset
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import is_fragment, see_other, without_empty
from keeptrusts_runners.errors import Malformed
from keeptrusts_runners.evidence import queries
from keeptrusts_runners.evidence.audit_models import AuditRecord, Outcome
from keeptrusts_runners.evidence.filters import AuditFilters
from keeptrusts_runners.identity.queries import Actor, actor_named, actors, spoken
from keeptrusts_runners.identity.scopes import Scope

WINDOWS = (
    ("Last hour", timedelta(hours=1)),
    ("24 h", timedelta(hours=24)),
    ("7 days", timedelta(days=7)),
)
AROUND = timedelta(seconds=60)
# Prefix of an object's id → the name of its page's address.
PAGES = {
    "sess": "session",
    "prof": "profile",
    "exec": "executor",
    "sa": "service_account",
    "user": "member",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A record with its actor's name, and its object's page where it has one."""

    record: AuditRecord
    actor: str
    object_url: str


@page(Scope.AUDIT)
def index(request: Page) -> HttpResponse:
    """`GET /runners/audit?actor=&verb=&object=&outcome=&created_after=…`, newest first. An actor
    may be named by e-mail address or name."""
    if cleaned := without_empty(request) or _actor_by_id(request):
        return cleaned
    context: dict[str, Any] = {"outcomes": Outcome.values, "windows": _windows(request)}
    try:
        context |= _list(request)
    except Malformed as error:
        context |= {"error": error, "chips": _chips(request, {})}
    name = "_list" if is_fragment(request) else "list"
    status = 400 if "error" in context else 200
    return render(request, f"runners/audit/{name}.html", context, status=status)


def _actor_by_id(request: Page) -> HttpResponse | None:
    """The same list with the actor's id in its address, where a name was typed."""
    typed = request.GET.get("actor", "")
    found = actor_named(typed, request.principal.organization_id) if typed else None
    if found is None or found == typed:
        return None
    given = request.GET.copy()
    given["actor"] = found
    return see_other(f"{request.path}?{given.urlencode()}")


def _list(request: Page) -> dict[str, Any]:
    check_parameters(request, {*AuditFilters.base_filters, "cursor"})
    found = AuditFilters.apply(request, queries.records(by=request.principal))
    records, older = keyset(found, request)
    known = actors({record.actor for record in records} | {request.GET.get("actor", "")})
    return {
        "rows": [_row(each, known) for each in records],
        "chips": _chips(request, known),
        "older": older,
        "newer": "" if "cursor" in request.GET else None,
    }


def _row(record: AuditRecord, known: Mapping[str, Actor]) -> Row:
    return Row(record, spoken(record.actor, known), _object_page(record.object))


def _object_page(named: str) -> str:
    """Where the object is shown; "" for routes, and for what has no page."""
    prefix = ids.prefix_of(named)
    if prefix not in PAGES:
        return ""
    try:
        return reverse(PAGES[prefix], args=[ids.decode(prefix, named)])
    except ValueError:
        return ""


_CHIPS = {
    "actor": "Actor",
    "verb": "Verb",
    "object": "Object",
    "outcome": "Outcome",
    "request_id": "Request",
    "created_after": "After",
    "created_before": "Before",
}


def _chips(request: Page, known: Mapping[str, Actor]) -> list[tuple[str, str, str]]:
    """Label, value and parameter of each filter that is set."""
    given = request.GET
    return [
        (label, spoken(given[name], known) if name == "actor" else given[name], name)
        for name, label in _CHIPS.items()
        if name in given
    ]


def _windows(request: Page) -> list[tuple[str, str]]:
    """The same filters over the last hour, day and week; to the minute, so that links stay."""
    minute = request.now.replace(second=0, microsecond=0)
    links = []
    for label, length in WINDOWS:
        given = request.GET.copy()
        given.pop("cursor", None)
        given.pop("created_before", None)
        given["created_after"] = clock.rfc3339(minute - length) or ""
        links.append((label, f"?{given.urlencode()}"))
    return links


@page(Scope.AUDIT)
def detail(request: Page, audit_id: UUID) -> HttpResponse:
    """`GET /runners/audit/{id}`: one record whole, and what else is near it."""
    record = queries.record(audit_id, by=request.principal)
    text = ids.encode("aud", record.id)
    context = {
        "row": _row(record, actors({record.actor})),
        "body": bytes(record.body).decode(),
        "around": _address(
            actor=record.actor,
            created_after=clock.rfc3339(record.at - AROUND) or "",
            created_before=clock.rfc3339(record.at + AROUND) or "",
        ),
        "same_object": _address(object=record.object),
        "same_request": _address(request_id=record.request_id) if record.request_id else "",
        "crumbs": [Link("Audit", reverse("audit")), Link(text, "", current=True)],
    }
    return render(request, "runners/audit/record.html", context)


def _address(**query: str) -> str:
    return f"{reverse('audit')}?{urlencode(query)}"
