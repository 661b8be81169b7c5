"""/runners/sessions: five lists behind one set of filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import queries as grant_queries
from keeptrusts_runners import ids
from keeptrusts_runners.api.filters import check_parameters
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import is_fragment, see_other
from keeptrusts_runners.errors import Malformed
from profiles.models import RunnerProfile
from sessions import diagnosis, listing, queries, states
from sessions.diagnosis import Waiting
from sessions.filters import SessionFilters
from sessions.listing import ALL, TABS, Tab
from sessions.models import RunnerSession, View
from sessions.pages import frame
from sessions.queries import OpenCounts
from sessions.states import State


@dataclass(frozen=True, slots=True)
class Row:
    """A session with what its row says beside its columns."""

    session: RunnerSession
    health: str
    waiting: Waiting | None
    grants: int
    position: int | None

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
    """`GET /runners/sessions`: five lists behind one set of filters."""
    if cleaned := _without_empty(request):
        return see_other(cleaned)
    counts = queries.open_counts(by=request.principal)
    context = _list_frame(request, counts)
    try:
        context |= _list(request, context["tab"])
    except Malformed as error:
        context |= {"error": error}
    name = "_list" if is_fragment(request) else "list"
    status = 400 if "error" in context else 200
    return render(request, f"runners/sessions/{name}.html", context, status=status)


def _without_empty(request: Page) -> str | None:
    """Where to go instead of `?state=&task_id=`, which is what a form with empty fields sends."""
    pairs = [(name, value) for name, values in request.GET.lists() for value in values]
    kept = [(name, value) for name, value in pairs if value]
    return None if kept == pairs else f"{request.path}?{urlencode(kept)}"


def _list_frame(request: Page, counts: OpenCounts) -> dict[str, Any]:
    """What stands around the rows, whatever becomes of them."""
    tab = TABS.get(request.GET.get("view", ALL), TABS[ALL])
    profiles = RunnerProfile.objects.in_organization(request.principal.organization_id)
    choices = [(ids.encode("prof", key), name) for key, name in profiles.values_list("id", "name")]
    return {
        "tab": tab,
        "tabs": _tabs(tab, counts),
        "profiles": sorted(choices, key=lambda choice: choice[1].casefold()),
        "chips": _chips(request, dict(choices)),
        "clear": _address(tab),
    }


def _tabs(current: Tab, counts: OpenCounts) -> list[Link]:
    numbers = {
        View.QUEUE: counts.of(State.PENDING),
        View.ACTIVE: counts.of(*states.LEASED, State.PAUSED),
    }
    return [
        Link(tab.label, _address(tab), tab is current, numbers.get(View(tab.view)))
        if tab.view != ALL
        else Link(tab.label, _address(tab), tab is current)
        for tab in TABS.values()
    ]


def _address(tab: Tab) -> str:
    return reverse("sessions") + (f"?view={tab.view}" if tab.view != ALL else "")


_CHIPS = {
    "state": "State",
    "profile_id": "Profile",
    "harness_id": "Harness",
    "executor_id": "Executor",
    "task_id": "Task",
    "reason": "Reason",
    "label": "Label",
    "created_after": "Created after",
    "created_before": "Created before",
    "ended_after": "Ended after",
    "ended_before": "Ended before",
}


def _chips(request: Page, profiles: dict[str, str]) -> list[tuple[str, str, str]]:
    """Label, value and parameter of each filter that is set."""
    found = []
    for parameter, label in _CHIPS.items():
        for value in request.GET.getlist(parameter):
            if parameter == "profile_id":
                value = profiles.get(value, value)
            elif not parameter.endswith("_id"):
                value = value.replace(",", ", ").replace("_", " ")
            found.append((label, value, parameter))
    return found


def _list(request: Page, tab: Tab) -> dict[str, Any]:
    check_parameters(request, {*SessionFilters.base_filters, "cursor"})
    found = SessionFilters.apply(request, queries.rows(by=request.principal))
    cursor = request.GET.get("cursor")
    shown = listing.page(found, cursor, order=listing.order_of(tab.view))
    grants = _grants(shown.rows) if "grants" in tab.columns else {}
    why = frame.reasons(shown.rows, request) if "why" in tab.columns else {}
    whole_queue = cursor is None and set(request.GET) <= {"view"} and tab.view == View.QUEUE
    rows = [
        Row(
            session,
            diagnosis.health(session, request.now),
            why.get(session.id),
            grants.get(session.id, 0),
            place if whole_queue else None,
        )
        for place, session in enumerate(shown.rows, start=1)
    ]
    return {"rows": rows, "older": shown.older, "newer": shown.newer}


def _grants(rows: list[RunnerSession]) -> Mapping[UUID, int]:
    """How many each of those that run has; the others can have none."""
    running = [row.id for row in rows if row.state in states.EXECUTING]
    return grant_queries.active_grants(running) if running else {}
