"""The session list as data: its tabs, what each shows, and a page of it by keyset both ways."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q, QuerySet

from keeptrusts_runners import ids
from keeptrusts_runners.errors import InvalidCursor
from sessions.models import RunnerSession, View
from sessions.states import FINAL, LEASED, State

PAGE_ROWS = 50
ALL = "all"


@dataclass(frozen=True, slots=True)
class Tab:
    """One list. `states` are those that it can hold, `columns` what it shows beside the id."""

    view: str
    label: str
    caption: str
    empty: str
    states: tuple[str, ...]
    columns: frozenset[str]


def _ordered(*states: State) -> tuple[str, ...]:
    """In the order of the lifecycle."""
    return tuple(state.value for state in State if state in states)


_NAMES = "profile harness task"
_COUNTERS = "attempt trouble events"

TABS = {
    tab.view: tab
    for tab in (
        Tab(
            View.QUEUE.value,
            "Queue",
            "Waiting sessions, in the order of claims",
            "Nothing is waiting. New sessions appear here until an executor claims them.",
            (State.PENDING.value,),
            frozenset(f"{_NAMES} position priority waiting why attempt".split()),
        ),
        Tab(
            View.ACTIVE.value,
            "Active",
            "Claimed and paused sessions, newest first",
            "Nothing is running or paused.",
            _ordered(*LEASED, State.PAUSED),
            frozenset(f"{_NAMES} {_COUNTERS} state health heartbeat progress ran grants".split()),
        ),
        Tab(
            View.ATTENTION.value,
            "Attention",
            "Lost, cancelling and retried sessions, newest first",
            "Nothing needs attention.",
            _ordered(State.PENDING, State.CANCELLING, State.LOST),
            frozenset(f"{_NAMES} {_COUNTERS} state health reason created heartbeat".split()),
        ),
        Tab(
            View.COMPLETED.value,
            "Completed",
            "Ended sessions, newest first",
            "Nothing has ended yet.",
            _ordered(*FINAL),
            frozenset(f"{_NAMES} {_COUNTERS} state reason queued ran ended".split()),
        ),
        Tab(
            ALL,
            "All",
            "All sessions, newest first",
            "No sessions yet. Dispatch one with POST /v1/runners/sessions.",
            _ordered(*State),
            frozenset(f"{_NAMES} {_COUNTERS} state created queued ran grants".split()),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the list's order, and the cursors of its neighbours."""

    rows: list[RunnerSession]
    older: str | None
    newer: str | None


# Which way, the priority in the queue's order alone, and the row that the page begins beside.
_CURSOR = re.compile(r"(older|newer)(?:\.(-?[0-9]{1,5}))?\.(sess_[0-9a-z]{26})")


def page(found: QuerySet[RunnerSession], cursor: str | None, *, queue: bool) -> Page:
    """One page of the list behind or before the cursor's row. Raises InvalidCursor.

    Served by runner_session_queue in the queue's order, else by runner_session_newest.
    """
    if cursor is None:
        return _down(found, None, queue)
    match = _CURSOR.fullmatch(cursor)
    if match is None or (match[2] is not None) != queue:
        raise InvalidCursor
    try:
        session_id = ids.decode("sess", match[3])
    except ValueError:
        raise InvalidCursor from None
    if queue:
        priority = int(match[2])
        lower = Q(priority__lt=priority) | Q(priority=priority, id__gt=session_id)
        upper = Q(priority__gt=priority) | Q(priority=priority, id__lt=session_id)
    else:
        lower, upper = Q(id__lt=session_id), Q(id__gt=session_id)
    return _down(found, lower, queue) if match[1] == "older" else _up(found, upper, queue)


def _down(found: QuerySet[RunnerSession], behind: Q | None, queue: bool) -> Page:
    order = ("-priority", "id") if queue else ("-id",)
    reached = found if behind is None else found.filter(behind)
    rows = list(reached.order_by(*order)[: PAGE_ROWS + 1])
    more, rows = len(rows) > PAGE_ROWS, rows[:PAGE_ROWS]
    newer = None if behind is None else _cursor("newer", rows[0], queue) if rows else ""
    return Page(rows, _cursor("older", rows[-1], queue) if more else None, newer)


def _up(found: QuerySet[RunnerSession], before: Q, queue: bool) -> Page:
    order = ("priority", "-id") if queue else ("id",)
    rows = list(found.filter(before).order_by(*order)[: PAGE_ROWS + 1])
    more, rows = len(rows) > PAGE_ROWS, rows[:PAGE_ROWS][::-1]
    if not rows:
        return Page([], "", None)
    newer = _cursor("newer", rows[0], queue) if more else None
    return Page(rows, _cursor("older", rows[-1], queue), newer)


def _cursor(way: str, row: RunnerSession, queue: bool) -> str:
    priority = f".{row.priority}" if queue else ""
    return f"{way}{priority}.{ids.encode('sess', row.id)}"


def queued_until(session: RunnerSession) -> datetime | None:
    """When the first wait for an executor was over; None while it lasts."""
    return session.started_at or session.dispatched_at or session.ended_at


def waiting_since(session: RunnerSession) -> datetime:
    """Since when it has been in the queue this time."""
    return session.updated_at if session.lease_epoch else session.created_at
