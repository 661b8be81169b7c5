"""What stands around every page of a session, and what more than one page says of it.

A page of a session gives its template `**frame(session, "Events")` and includes
`runners/sessions/_frame.html`: the header with the state and what may be done, then the tabs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse

from grants import queries as grant_queries
from keeptrusts_runners import ids
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.identity.scopes import Scope
from sessions import diagnosis, queries
from sessions.diagnosis import Waiting
from sessions.executors import Asking
from sessions.limits import Uses
from sessions.models import RunnerSession
from sessions.pages import offers
from sessions.states import State

Counts = Mapping[str, int]


def _nothing(session: RunnerSession, counts: Counts) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab: the name of its page, which need not be there, and what its label counts."""

    label: str
    page: str
    count: Callable[[RunnerSession, Counts], str | None] = _nothing
    scope: Scope = Scope.READ


def _active(session: RunnerSession, counts: Counts) -> str | None:
    return f"{counts['active_grants']} active" if counts["active_grants"] else None


TABS = (
    Tab("Overview", "session"),
    Tab("Events", "session_events", lambda session, _: f"{session.ledger_head.seq:,}"),
    Tab("Artifacts", "session_artifacts", lambda _, counts: f"{counts['artifacts']:,}"),
    Tab("Grants", "session_grants", _active),
    Tab(
        "Checkpoints",
        "session_checkpoints",
        lambda session, _: f"{session.checkpoints_recorded:,}",
    ),
    Tab("Input", "session_input"),
    Tab("Audit", "audit", scope=Scope.AUDIT),
    Tab("Evidence", "session_evidence_page"),
)


def frame(session: RunnerSession, current: str) -> dict[str, Any]:
    """For the template of each page of a session: its crumbs, and what the header and the tabs
    are drawn from. `current` is the tab's label, or what the page is called beside them."""
    text = ids.encode("sess", session.id)
    crumbs = [Link("Sessions", reverse("sessions"))]
    here = reverse("session", args=[session.id])
    if current == "Overview":
        crumbs.append(Link(text, here, current=True))
    else:
        crumbs += [Link(text, here), Link(current, "", current=True)]
    return {
        "session": session,
        "id": text,
        "crumbs": crumbs,
        "current_tab": current,
        "counts": grant_queries.counts(session),
    }


def head(request: Page, session: RunnerSession, current: str, counts: Counts) -> dict[str, Any]:
    """What `_frame.html` shows, of this person: the tabs, the heartbeat and what may be done."""
    return {
        "tabs": _tabs(session, current, counts, request),
        "offer": offers.of(session, request.principal),
        "may_note": request.principal.has(Scope.WRITE) and session.evidence_expired_at is None,
        "refresh": "" if current == "Overview" else _address(session, current),
    }


def _address(session: RunnerSession, current: str) -> str:
    return f"{reverse('session_head', args=[session.id])}?{urlencode({'tab': current})}"


def _tabs(session: RunnerSession, current: str, counts: Counts, request: Page) -> list[Link]:
    return [
        Link(tab.label, url, tab.label == current, tab.count(session, counts))
        for tab in TABS
        if request.principal.has(tab.scope) and (url := _url(tab, session))
    ]


def _url(tab: Tab, session: RunnerSession) -> str | None:
    """None where there is no such page."""
    try:
        if tab.page == "audit":
            return f"{reverse('audit')}?{urlencode({'object': ids.encode('sess', session.id)})}"
        return reverse(tab.page, args=[session.id])
    except NoReverseMatch:
        return None


@page()
def fragment(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/head?tab=`: the header and the tabs alone, to be refreshed."""
    session = queries.detail(session_id, by=request.principal)
    context = frame(session, request.GET.get("tab", ""))
    return render(request, "runners/sessions/_frame.html", context)


def reasons(rows: list[RunnerSession], request: Page) -> dict[UUID, Waiting]:
    """Why those of them wait that do: at most three queries, whatever their number."""
    pending = [row for row in rows if row.state == State.PENDING]
    if not pending:
        return {}
    uses, asking = Uses(pending), Asking(request.principal.organization_id)
    return {each.id: diagnosis.waiting(each, uses, asking, request.now) for each in pending}


def percentage(session: RunnerSession) -> float | None:
    """Only where the runner says of how much."""
    progress = session.progress or {}
    current, total = progress.get("current"), progress.get("total")
    if not total or current is None:
        return None
    return round(min(100.0, 100 * float(current) / float(total)), 1)


def message(session: RunnerSession) -> str:
    return str((session.progress or {}).get("message") or "")
