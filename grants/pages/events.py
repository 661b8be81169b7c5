"""/runners/sessions/{id}/events: the ledger in windows, and one record."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse

from grants import queries, windows
from grants.models import Level
from grants.queries import ERRORS
from grants.windows import Window
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.console.access import Page, page
from keeptrusts_runners.console.navigation import Link
from keeptrusts_runners.console.responses import is_fragment
from keeptrusts_runners.errors import NotFound
from sessions import queries as session_queries
from sessions.models import RunnerSession
from sessions.pages.frame import frame

_PLACES = ("after", "before", "at")
_SEQ = re.compile(r"[0-9]{1,15}")
_LEVELS = {
    "": (),
    "warning": (Level.WARNING.value, *ERRORS),
    "error": ERRORS,
}


@page()
def events(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/events`: a window by number, `?after=`, `?before=`, `?at=` or
    `?tail=1`, at a level or above (`?level=`)."""
    session = session_queries.detail(session_id, by=request.principal)
    check_parameters(request, {*_PLACES, "tail", "level"})
    level = request.GET.get("level", "")
    if level not in _LEVELS:
        raise invalid("level", "is one of warning, error.")
    window, place = _window(request, session, _LEVELS[level])
    context = {
        **frame(session, "Events"),
        "window": window,
        "level": level,
        "facets": _facets(session, level),
        "refresh": _refresh(session, window, level, place),
    }
    name = "_events" if is_fragment(request) else "events"
    return render(request, f"runners/events/{name}.html", context)


def _window(request: Page, session: RunnerSession, levels: Any) -> tuple[Window, str]:
    """The window that is asked for, and what asked for it."""
    for place in _PLACES:
        if place not in request.GET:
            continue
        text = request.GET[place]
        if not _SEQ.fullmatch(text):
            raise invalid(place, "must be the number of an event.")
        read = {"after": windows.after, "before": windows.before, "at": windows.around}[place]
        return read(session, int(text), levels), place
    if "tail" in request.GET or not session.is_final:
        # Half a window, so that as many rows again may come before it is full.
        return windows.before(session, levels=levels, limit=windows.ROWS // 2), "tail"
    if session.ledger_head.errors and not levels and (seq := windows.first_error(session)):
        return windows.around(session, seq), "at"
    return windows.after(session, 0, levels), "after"


def _refresh(session: RunnerSession, window: Window, level: str, place: str) -> str:
    """Where the rows are fetched again while they may grow: from the same first row, so that
    nothing moves; empty when nothing will come."""
    if session.is_final or place not in ("tail", "after") or len(window.rows) >= windows.ROWS:
        return ""
    start = max(window.first - 1, 0)
    suffix = f"&level={level}" if level else ""
    return f"{reverse('session_events', args=[session.id])}?after={start}{suffix}"


def _facets(session: RunnerSession, level: str) -> list[Link]:
    """Exact, for the counters are kept at ingest."""
    here, head = reverse("session_events", args=[session.id]), session.ledger_head
    counted = (
        ("", "All", head.events),
        ("warning", "Warnings and errors", head.warnings + head.errors),
        ("error", "Errors", head.errors),
    )
    return [
        Link(label, f"{here}?level={word}" if word else here, word == level, f"{count:,}")
        for word, label, count in counted
    ]


@page()
def event(request: Page, session_id: UUID, seq: int) -> HttpResponse:
    """`GET /runners/sessions/{id}/events/{seq}`: one record, whole."""
    session = session_queries.detail(session_id, by=request.principal)
    found = queries.events(session).filter(seq=seq).first() if seq < 2**63 else None
    if found is None:
        raise NotFound
    context = {**frame(session, "Event"), "event": found}
    return render(request, "runners/events/event.html", context)
