"""/runners/sessions: the lists, one session whole, and what operators may do to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
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
from keeptrusts_runners.identity.queries import Actor, actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from profiles.models import RunnerProfile
from sessions import diagnosis, lifecycle, listing, queries, states, timeline, transitions
from sessions.diagnosis import Waiting
from sessions.executors import Asking
from sessions.filters import SessionFilters
from sessions.forms import CancelForm
from sessions.limits import Uses
from sessions.listing import ALL, TABS, Tab
from sessions.models import DesiredState, RunnerSession, View
from sessions.queries import COUNT_CAP, OpenCounts
from sessions.states import State, Verb

EVENTS_SHOWN, ERRORS_SHOWN, ARTIFACTS_SHOWN, CHECKPOINTS_SHOWN = 50, 5, 20, 3

# --- the lists -------------------------------------------------------------------------------


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
        share = _percentage(self.session)
        return f"{share} %" if share is not None else _message(self.session)


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
    shown = listing.page(found, cursor, queue=tab.view == View.QUEUE)
    grants = _grants(shown.rows) if "grants" in tab.columns else {}
    why = _reasons(shown.rows, request) if "why" in tab.columns else {}
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


def _reasons(rows: list[RunnerSession], request: Page) -> dict[UUID, Waiting]:
    """Why those of them wait that do: at most three queries, whatever their number."""
    pending = [row for row in rows if row.state == State.PENDING]
    if not pending:
        return {}
    uses, asking = Uses(pending), Asking(request.principal.organization_id)
    return {each.id: diagnosis.waiting(each, uses, asking, request.now) for each in pending}


# --- one session -----------------------------------------------------------------------------


@page()
def detail(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}`."""
    session = queries.detail(session_id, by=request.principal)
    context = _detail(request, session)
    name = "_detail" if is_fragment(request) else "detail"
    return render(request, f"runners/sessions/{name}.html", context)


def _detail(request: Page, session: RunnerSession) -> dict[str, Any]:
    steps = timeline.steps(list(queries.transitions(session.id)), request.now)
    grants = grant_queries.grants_of(session)
    known = actors(
        {session.dispatched_by, session.lease_account}
        | {step.actor for step in steps}
        | grant_queries.actors_of(grants)
    )
    standings = grant_queries.standings(grants, by=request.principal, now=request.now, known=known)
    head = session.ledger_head
    return {
        **frame(session, "Overview"),
        "actions": actions(session, request),
        "health": diagnosis.health(session, request.now),
        "late_at": diagnosis.late_after(session),
        "dispatched_by": spoken(session.dispatched_by, known),
        "holder": spoken(session.lease_account, known),
        "executor_sessions": _of_executor(session.executor_id) if session.executor_id else "",
        "steps": [(step, spoken(step.actor, known)) for step in steps],
        "bars": timeline.bars(steps),
        "ended_badly": diagnosis.ended_badly(session),
        "cause": diagnosis.cause(session),
        "before_end": steps[-1].seq - 1 if session.is_final and steps else None,
        "cancelled_by": _canceller(steps, known),
        "queue": _queue(session, request) if session.state == State.PENDING else None,
        "progress": _percentage(session),
        "waiting_grants": [each for each in standings if each.state == "requested"],
        "grants": [each for each in standings if each.state != "requested"],
        "checkpoints": queries.checkpoints(session.id)[:CHECKPOINTS_SHOWN],
        "artifacts": grant_queries.artifacts(session.id).order_by("-id")[:ARTIFACTS_SHOWN],
        "events": grant_queries.last_events(session, EVENTS_SHOWN),
        "errors": grant_queries.last_errors(session, ERRORS_SHOWN) if head.errors else [],
        "may_export": request.principal.has(Scope.AUDIT),
    }


def _of_executor(executor_id: UUID) -> str:
    """The address of the list of all that it has had."""
    return f"{reverse('sessions')}?{urlencode({'executor_id': ids.encode('exec', executor_id)})}"


def frame(session: RunnerSession, current: str) -> dict[str, Any]:
    """The session's crumbs and tabs, on each of its pages."""
    text = ids.encode("sess", session.id)
    here = reverse("session", args=[session.id])
    tabs = [
        Link("Overview", here, current == "Overview"),
        Link(
            "Events",
            reverse("session_events", args=[session.id]),
            current == "Events",
            f"{session.ledger_head.seq:,}",
        ),
    ]
    crumbs = [Link("Sessions", reverse("sessions"))]
    if current == "Overview":
        crumbs.append(Link(text, here, current=True))
    else:
        crumbs += [Link(text, here), Link(current, "", current=True)]
    return {"session": session, "id": text, "tabs": tabs, "crumbs": crumbs}


def actions(session: RunnerSession, request: Page) -> frozenset[str]:
    """The operator's verbs that would do something now."""
    if not request.principal.has(Scope.WRITE):
        return frozenset()
    allowed = {Verb.CANCEL, Verb.PAUSE, Verb.RESUME} & set(
        states.allowed_verbs(State(session.state))
    )
    if session.is_leased:
        # While leased a pause is only wished for: it can be wished or withdrawn, not both.
        wished = session.desired_state == DesiredState.PAUSED
        allowed.discard(Verb.PAUSE if wished else Verb.RESUME)
    return frozenset(str(verb) for verb in allowed)


def _canceller(
    steps: list[timeline.Step], known: Mapping[str, Actor]
) -> tuple[str, datetime] | None:
    """Who asked for the cancellation, and when."""
    for step in reversed(steps):
        if step.verb == Verb.CANCEL:
            return spoken(step.actor, known), step.at
    return None


def _queue(session: RunnerSession, request: Page) -> dict[str, Any]:
    ahead = queries.ahead_of(session)
    return {
        "waiting": _reasons([session], request)[session.id],
        "position": f"{COUNT_CAP:,}+" if ahead >= COUNT_CAP else f"{ahead + 1:,}",
        "since": listing.waiting_since(session),
    }


def _percentage(session: RunnerSession) -> float | None:
    """Only where the runner says of how much."""
    progress = session.progress or {}
    current, total = progress.get("current"), progress.get("total")
    if not total or current is None:
        return None
    return round(min(100.0, 100 * float(current) / float(total)), 1)


def _message(session: RunnerSession) -> str:
    return str((session.progress or {}).get("message") or "")


# --- what operators do -----------------------------------------------------------------------


@page(Scope.WRITE, methods=("GET", "POST"))
def cancel(request: Page, session_id: UUID) -> HttpResponse:
    """`GET, POST /runners/sessions/{id}/cancel`: say why, then do it."""
    form = CancelForm(request.POST if request.method == "POST" else None)
    if form.is_valid():
        reason = form.cleaned_data["reason"]
        session = lifecycle.cancel(session_id, by=request.principal, reason=reason)
        done = session.state == State.CANCELLED
        flash = "Session cancelled." if done else "Cancellation requested; the executor is told."
        return _back(request, session_id, flash)
    session = queries.detail(session_id, by=request.principal)
    transitions.require(session, Verb.CANCEL)
    context = {
        **frame(session, "Cancel"),
        "form": form,
        "active_grants": grant_queries.active_grants([session.id]).get(session.id, 0),
    }
    status = 422 if form.errors else 200
    return render(request, "runners/sessions/cancel.html", context, status=status)


@page(Scope.WRITE, methods=("POST",))
def pause(request: Page, session_id: UUID) -> HttpResponse:
    """`POST /runners/sessions/{id}/pause`."""
    session = lifecycle.pause(session_id, by=request.principal)
    done = session.state == State.PAUSED
    flash = "Session paused." if done else "Pause requested; the executor is told."
    return _back(request, session_id, flash)


@page(Scope.WRITE, methods=("POST",))
def resume(request: Page, session_id: UUID) -> HttpResponse:
    """`POST /runners/sessions/{id}/resume`: back into the queue, or no pause after all."""
    session = lifecycle.resume(session_id, by=request.principal)
    queued = session.state == State.PENDING
    return _back(request, session_id, "Session queued again." if queued else "Pause withdrawn.")


def _back(request: Page, session_id: UUID, flash: str) -> HttpResponse:
    to = reverse("session", args=[session_id])
    return see_other(to, request=request, flash=flash, level=messages.SUCCESS)
