"""/runners/sessions/{id}: one session whole."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import queries as grant_queries
from keeptrusts_runners import ids
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.responses import is_fragment
from keeptrusts_runners.identity.queries import Actor, actors, spoken
from keeptrusts_runners.identity.scopes import Scope
from sessions import diagnosis, insight, listing, queries, timeline
from sessions.models import Checkpoint, RunnerSession
from sessions.pages import frame
from sessions.queries import COUNT_CAP
from sessions.states import State, Verb

EVENTS_SHOWN, ERRORS_SHOWN, ARTIFACTS_SHOWN, CHECKPOINTS_SHOWN = 50, 5, 5, 3


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
        {session.dispatched_by, session.lease_account, session.disposition_by}
        | {step.actor for step in steps}
        | grant_queries.actors_of(grants)
    )
    standings = grant_queries.standings(grants, by=request.principal, now=request.now, known=known)
    around = frame.frame(session, "Overview")
    checkpoints = _checkpoints(session)
    events = grant_queries.last_events(session, EVENTS_SHOWN)
    return {
        **around,
        "late_at": diagnosis.late_after(session),
        "dispatched_by": spoken(session.dispatched_by, known),
        "decided_by": spoken(session.disposition_by, known),
        "holder": spoken(session.lease_account, known),
        "executor_sessions": _of_executor(session.executor_id) if session.executor_id else "",
        "steps": [(step, spoken(step.actor, known)) for step in steps],
        "bars": _bars(steps, _marks(session, checkpoints, standings)),
        "ended_badly": diagnosis.ended_badly(session),
        "cause": diagnosis.cause(session),
        "before_end": steps[-1].seq - 1 if session.is_final and steps else None,
        "cancelled_by": _canceller(steps, known),
        "queue": _queue(session, request) if session.state == State.PENDING else None,
        "progress": frame.percentage(session),
        "waiting_grants": [each for each in standings if each.is_decidable],
        "grants": standings,
        "checkpoints": checkpoints,
        "artifacts": _artifacts(session) if around["counts"]["artifacts"] else [],
        "badge": grant_queries.badge(session),
        "events": events,
        "errors": _errors(session, events),
        "may_write": request.principal.has(Scope.WRITE),
    }


def _checkpoints(session: RunnerSession) -> list[Checkpoint]:
    """A waiting session says only which one it goes on from, and reads none."""
    if not session.checkpoints_recorded or session.state == State.PENDING:
        return []
    return list(queries.checkpoints(session.id).defer("data")[:CHECKPOINTS_SHOWN])


def _artifacts(session: RunnerSession) -> list[Any]:
    if session.state == State.PENDING:
        return []
    return list(grant_queries.artifacts(session.id).order_by("-id")[:ARTIFACTS_SHOWN])


def _errors(session: RunnerSession, events: list[Any]) -> list[Any]:
    """The last of them, read apart only where they are not among the last events."""
    among = [event for event in events if event.level in grant_queries.ERRORS]
    if len(among) >= min(session.ledger_head.errors, ERRORS_SHOWN):
        return among[-ERRORS_SHOWN:]
    if session.state == State.PENDING:
        return among
    return grant_queries.last_errors(session, ERRORS_SHOWN)


def _marks(
    session: RunnerSession, checkpoints: list[Checkpoint], standings: list[Any]
) -> list[timeline.Mark]:
    """Checkpoints and grants on the bars."""
    below = reverse("session", args=[session.id])
    marks = [
        timeline.Mark(f"Checkpoint {each.number}", each.created_at, f"{below}#checkpoints")
        for each in checkpoints
    ]
    for each in standings:
        for word, at in (
            ("requested", each.grant.requested_at),
            ("active", each.grant.activated_at),
        ):
            if at is not None:
                url = f"{below}#grants"
                marks.append(timeline.Mark(f"Grant {word}: {each.grant.operation}", at, url))
    return marks


def _bars(
    steps: list[timeline.Step], marks: list[timeline.Mark]
) -> list[tuple[timeline.Bar, list[tuple[float, timeline.Mark]]]]:
    return [(bar, bar.placed(marks)) for bar in timeline.bars(steps)]


def _of_executor(executor_id: UUID) -> str:
    """The address of the list of all that it has had."""
    return f"{reverse('sessions')}?{urlencode({'executor_id': ids.encode('exec', executor_id)})}"


def _canceller(
    steps: list[timeline.Step], known: Mapping[str, Actor]
) -> tuple[str, datetime] | None:
    """Who asked for the cancellation, and when."""
    for step in reversed(steps):
        if step.verb == Verb.CANCEL:
            return spoken(step.actor, known), step.at
    return None


def _queue(session: RunnerSession, request: Page) -> dict[str, Any]:
    told = insight.explanation(session, request.now, whole=False)
    capped = told.position_capped
    return {
        "told": told,
        "waiting": told.waiting,
        "position": f"{COUNT_CAP:,}+" if capped else f"{told.position:,}",
        "since": listing.waiting_since(session),
    }
