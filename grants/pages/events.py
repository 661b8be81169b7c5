"""/runners/sessions/{id}/events: the ledger in windows, what comes after them, and as a file."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render

from grants import reading, windows
from grants.api import exports
from grants.pages import event_places
from grants.pages.event_bars import HEIGHT, WIDTH, bars
from grants.pages.event_places import PLACES, Asked, facets
from grants.reading import Span
from grants.windows import Ledger, Window
from keeptrusts_runners.api.filters import invalid
from keeptrusts_runners.console import panels
from keeptrusts_runners.console.access import Page, page
from sessions import queries as session_queries
from sessions.pages.frame import frame


@page()
def events(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/events`: a window by number, `?after=`, `?before=`, `?at=` (one,
    or a range that is marked) or `?tail=1`, of what the filters leave; `?error_after=` and
    `?error_before=` lead to an error."""
    if cleaned := event_places.without_empty(request):
        return redirect(cleaned)
    session = session_queries.detail(session_id, by=request.principal)
    asked, ledger = event_places.read(request, session, *PLACES)
    if (seq := event_places.number(request, "go")) is not None:
        # A form cannot name the row in its address.
        return redirect(asked.place(seq))
    if (elsewhere := _error(request, asked)) is not None:
        return redirect(elsewhere)
    marked = event_places.marked(request) or range(0)
    window = _window(request, ledger, marked)
    context = {
        **frame(session, "Events"),
        **_rows(asked, window, marked),
        "follows": not session.is_final and not window.newer,
        "focus": marked.start or (window.rows[0].seq if window.rows else 0),
        "is_partial": bool(asked.filters) and len(window.rows) < windows.ROWS,
    }
    return render(request, "runners/events/events.html", context | _around(asked))


def _rows(asked: Asked, window: Window, marked: range) -> dict[str, Any]:
    """What the rows themselves are drawn from."""
    return {"asked": asked, "window": window, "rows": window.rows, "marked": marked}


def _around(asked: Asked) -> dict[str, Any]:
    """What stands above the window."""
    kept = reading.histogram(asked.session.ledger_head)
    return {
        "facets": panels.load(lambda: facets(asked)),
        "bars": bars(kept, lambda seq: asked.place(seq)),
        "bar_seconds": kept.width_seconds,
        "drawing": (WIDTH, HEIGHT),
    }


def _error(request: Page, asked: Asked) -> str | None:
    """The address of the next error, or of the one before."""
    if (seq := event_places.number(request, "error_after")) is not None:
        found, side = windows.first_error(asked.session, after=seq), "after"
    elif (seq := event_places.number(request, "error_before")) is not None:
        found, side = windows.last_error(asked.session, before=seq), "before"
    else:
        return None
    if found is not None:
        return asked.place(found)
    messages.info(request, f"There is no error {side} event {seq:,}.")
    return asked.place(max(seq, 1))


def _window(request: Page, ledger: Ledger, marked: range) -> Window:
    if marked:
        return ledger.around(marked.start)
    if (seq := event_places.number(request, "after")) is not None:
        return ledger.after(seq)
    if (seq := event_places.number(request, "before")) is not None:
        return ledger.before(seq)
    session = ledger.session
    if "tail" in request.GET or not session.is_final:
        # Half a window: as many rows again may come before it is full.
        return ledger.before(limit=windows.ROWS // 2)
    if session.ledger_head.errors and not ledger.query and (seq := windows.first_error(session)):
        return ledger.around(seq)
    return ledger.after(0)


@page()
def rows(request: Page, session_id: UUID) -> HttpResponse:
    """`GET /runners/sessions/{id}/events/rows?after=`: the rows behind a number, at most a window
    of them and of what the filters leave, in a list that says how far was looked; 204 where there
    is nothing to look at."""
    session = session_queries.detail(session_id, by=request.principal)
    asked, ledger = event_places.read(request, session, "after")
    seq = event_places.number(request, "after")
    if seq is None:
        raise invalid("after", "must be the number of an event.")
    window = ledger.after(seq)
    if window.last <= seq:
        return HttpResponse(status=204)
    return render(request, "runners/events/_more.html", _rows(asked, window, range(0)))


@page()
def download(request: Page, session_id: UUID, media_type: str) -> HttpResponse:
    """`GET /runners/sessions/{id}/events.txt` and `.ndjson`: all that the filters leave, streamed
    in order, from the first record to the newest of now."""
    session = session_queries.detail(session_id, by=request.principal)
    asked, ledger = event_places.read(request, session)
    whole = Span(0, ledger.newest + 1)
    answer = exports.export(
        session.id, ledger.found, whole, media_type, by=request.principal, needle=asked.needle
    )
    return cast(HttpResponse, answer)
