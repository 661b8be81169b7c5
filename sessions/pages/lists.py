"""/runners/sessions: five lists behind one search box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import queries as grant_queries
from grants.queries import Badge
from keeptrusts_runners import ids
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.console import panels
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.panels import Panel
from keeptrusts_runners.console.responses import is_fragment, see_other
from keeptrusts_runners.errors import Malformed
from keeptrusts_runners.identity.scopes import Scope
from sessions import attention, filters, listing, queries, states
from sessions.diagnosis import Waiting
from sessions.filters import UNINDEXED, SessionFilters
from sessions.listing import ALL, TABS, Tab
from sessions.models import RunnerSession, View
from sessions.pages import causes, frame, searching
from sessions.pages.searching import BOX, Asked
from sessions.queries import OpenCounts
from sessions.search import FIELDS
from sessions.states import State

SIZES = (25, 50, 100, 200)
# What ended of late, for a click instead of a word.
RECENT = ("1h", "24h", "7d")


@dataclass(frozen=True, slots=True)
class Row:
    """A session with what its row says beside its columns."""

    session: RunnerSession
    waiting: Waiting | None
    grants: int
    position: int | None
    badge: Badge | None

    @property
    def queued_until(self) -> datetime | None:
        return listing.queued_until(self.session)

    @property
    def waiting_since(self) -> datetime:
        return listing.waiting_since(self.session)

    @property
    def progress(self) -> str:
        """As a percentage where there is one, else in the runner's words."""
        share = frame.percentage(self.session)
        return f"{share} %" if share is not None else frame.message(self.session)


@page()
def index(request: Page) -> HttpResponse:
    """`GET /runners/sessions`: five lists behind one search box."""
    if cleaned := _without_empty(request):
        return see_other(cleaned)
    asked = searching.asked(request)
    if only := _the_one(asked):
        return see_other(reverse("session", args=[only]))
    counts = queries.open_counts(by=request.principal)
    context = _list_frame(request, counts, asked)
    if not asked.problems:
        try:
            context |= _list(request, context["tab"], asked, counts)
        except Malformed as error:
            context |= {"error": error}
    context["chips"] = searching.chips(request, asked, _names(context.get("rows", [])))
    name = "_list" if is_fragment(request) else "list"
    status = 400 if asked.problems or "error" in context else 200
    return render(request, f"runners/sessions/{name}.html", context, status=status)


def _without_empty(request: Page) -> str | None:
    """Where to go instead of `?state=&task_id=`, which is what a form with empty fields sends."""
    pairs = [(name, value) for name, values in request.GET.lists() for value in values]
    kept = [(name, value) for name, value in pairs if value]
    return None if kept == pairs else f"{request.path}?{urlencode(kept)}"


def _the_one(asked: Asked) -> UUID | None:
    """The session whose id is all that was typed."""
    if len(asked.terms) != 1 or asked.problems or asked.filters.keys() != {"session_id"}:
        return None
    return ids.decode("sess", asked.filters.getlist("session_id")[0])


def _names(rows: list[Row]) -> dict[str, str]:
    """What the ids of a filter are called, as far as the rows say it."""
    names = {}
    for row in rows:
        session = row.session
        names[ids.encode("prof", session.profile_id)] = session.profile.name
        if session.harness is not None:
            names[ids.encode("harn", session.harness.id)] = session.harness.version
        if session.executor_id is not None:
            executor = ids.encode("exec", session.executor_id)
            names[executor] = session.lease_executor.get("name") or executor
    return names


# --- around the rows -------------------------------------------------------------------------


def _list_frame(request: Page, counts: OpenCounts, asked: Asked) -> dict[str, Any]:
    """What stands around the rows, whatever becomes of them."""
    tab = TABS.get(request.GET.get("view", ALL), TABS[ALL])
    return {
        "tab": tab,
        "tabs": _tabs(request, tab, counts),
        "asked": asked,
        "hidden": _hidden(request),
        "fields": {name: each.allowed for name, each in FIELDS.items()},
        "clear": _address(tab),
        "everywhere": _kept(request, TABS[ALL]),
        "recent": _recent(request, asked) if tab.view not in (View.QUEUE, View.ACTIVE) else [],
        "curl": searching.curl(request, asked.parameters),
        "may_act": request.principal.has(Scope.WRITE),
    }


def _hidden(request: Page) -> list[tuple[str, str]]:
    """What the address says beside the box, which searching keeps."""
    return [
        (name, value)
        for name, values in request.GET.lists()
        for value in values
        if name not in (BOX, "cursor")
    ]


def _tabs(request: Page, current: Tab, counts: OpenCounts) -> list[Link]:
    numbers = {
        View.QUEUE.value: counts.of(State.PENDING),
        View.ACTIVE.value: counts.of(*states.LEASED, State.PAUSED),
    }
    return [
        Link(tab.label, _kept(request, tab), tab is current, numbers.get(tab.view))
        for tab in TABS.values()
    ]


def _kept(request: Page, tab: Tab) -> str:
    """Another tab with the same filter."""
    if tab.view == ALL:
        return reverse("sessions") + searching.without(request, "view").removesuffix("?")
    return reverse("sessions") + searching.without(request, view=tab.view)


def _address(tab: Tab) -> str:
    return reverse("sessions") + (f"?view={tab.view}" if tab.view != ALL else "")


def _recent(request: Page, asked: Asked) -> list[Link]:
    """Of the same search, what ended within the last hour, day or week."""
    others = [str(term) for term in asked.terms if term.field != "ended"]
    chosen = [term.values[0] for term in asked.terms if term.field == "ended" and term.sign == "<"]
    links = []
    for age in RECENT:
        box = " ".join([*others, f"ended:<{age}"])
        url = searching.without(request, "ended_after", "ended_before", **{BOX: box})
        links.append(Link(f"last {age}", url, current=[age] == chosen))
    return links


# --- the rows --------------------------------------------------------------------------------


def _list(request: Page, tab: Tab, asked: Asked, counts: OpenCounts) -> dict[str, Any]:
    check_parameters(request, {*SessionFilters.base_filters, *searching.AROUND})
    size = _size(request)
    every = queries.rows(by=request.principal)
    found = SessionFilters.narrow(asked.parameters, every)
    unindexed = filters.is_unbounded(asked.parameters)
    walked = filters.indexed(asked.parameters, every) if unindexed else None
    cursor = request.GET.get("cursor")
    order = listing.order_of(tab.view)
    shown = listing.page(_told(found, tab), cursor, order=order, rows=size, walked=walked)
    rows = _rows(request, tab, shown.rows, numbered=cursor is None and not asked.filters)
    alone = cursor is None and shown.older is None
    return {
        "rows": rows,
        "older": shown.older,
        "newer": shown.newer,
        "reached": shown.reached,
        "count": Panel(len(rows)) if alone else _count(found, tab, asked, counts),
        "sizes": [Link(str(n), searching.without(request, limit=str(n)), n == size) for n in SIZES],
        "outside": None if rows or unindexed or not asked.filters else _outside(every, tab, counts),
        "causes": causes.of(request, tab, asked) if cursor is None else None,
        "everything": searching.without(request, "limit"),
        "size": size,
    }


def _told(found: QuerySet[RunnerSession], tab: Tab) -> QuerySet[RunnerSession]:
    return attention.told(found) if "attention" in tab.columns else attention.with_health(found)


def _size(request: Page) -> int:
    given = request.GET.get("limit", str(listing.PAGE_ROWS))
    if given not in map(str, (*SIZES, listing.PAGE_ROWS)):
        raise invalid("limit", f"is one of {', '.join(map(str, SIZES))}.")
    return int(given)


def _rows(request: Page, tab: Tab, found: list[RunnerSession], *, numbered: bool) -> list[Row]:
    grants = _grants(found) if "grants" in tab.columns else {}
    why = frame.reasons(found, request) if "why" in tab.columns else {}
    badges = grant_queries.badges(found) if "evidence" in tab.columns else {}
    return [
        Row(
            session,
            why.get(session.id),
            grants.get(session.id, 0),
            place if numbered and tab.view == View.QUEUE else None,
            badges.get(session.id),
        )
        for place, session in enumerate(found, start=1)
    ]


def _grants(rows: list[RunnerSession]) -> Mapping[UUID, int]:
    """How many each of those that run has; the others can have none."""
    running = [row.id for row in rows if row.state in states.EXECUTING]
    return grant_queries.active_grants(running) if running else {}


def _count(
    found: QuerySet[RunnerSession], tab: Tab, asked: Asked, counts: OpenCounts
) -> Panel[int] | None:
    """Up to COUNT_CAP; None where counting would cost more than the list."""
    if UNINDEXED & asked.parameters.keys():
        return None
    if not asked.filters and (exact := _open(tab, counts)) is not None:
        return Panel(exact)
    return panels.load(lambda: queries.counted(found))


def _open(tab: Tab, counts: OpenCounts) -> int | None:
    if tab.view == View.QUEUE:
        return counts.of(State.PENDING)
    if tab.view == View.ACTIVE:
        return counts.of(*states.LEASED, State.PAUSED)
    return None


def _outside(every: QuerySet[RunnerSession], tab: Tab, counts: OpenCounts) -> Panel[int]:
    """How many the tab holds without the filter."""
    if (exact := _open(tab, counts)) is not None:
        return Panel(exact)
    within = every if tab.view == ALL else SessionFilters({"view": tab.view}, every).qs
    return panels.load(lambda: queries.counted(within))
