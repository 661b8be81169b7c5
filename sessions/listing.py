"""The session list as data: its tabs, what each shows, and a page of it by keyset both ways."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from keeptrusts_runners import ids
from keeptrusts_runners.errors import InvalidCursor
from sessions.models import RunnerSession, View
from sessions.states import FINAL, LEASED, OPEN, State

PAGE_ROWS = 50
ALL = "all"


@dataclass(frozen=True, slots=True)
class Tab:
    """One list. `states` are those that it can hold, `columns` what it shows beside the id, `verbs`
    what may be done to many of it."""

    view: str
    label: str
    caption: str
    empty: str
    states: tuple[str, ...]
    columns: frozenset[str]
    verbs: tuple[str, ...] = ("cancel", "retry")


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
            ("cancel",),
        ),
        Tab(
            View.ACTIVE.value,
            "Active",
            "Claimed and paused sessions, newest first",
            "Nothing is running or paused.",
            _ordered(*LEASED, State.PAUSED),
            frozenset(f"{_NAMES} {_COUNTERS} state health heartbeat progress ran grants".split()),
            ("cancel",),
        ),
        Tab(
            View.ATTENTION.value,
            "Attention",
            "Sessions that need somebody, newest first",
            "Nothing needs attention.",
            _ordered(*OPEN, State.LOST),
            frozenset(
                f"{_NAMES} {_COUNTERS} state attention reason created heartbeat evidence".split()
            ),
        ),
        Tab(
            View.COMPLETED.value,
            "Completed",
            "Ended sessions, newest first",
            "Nothing has ended yet.",
            _ordered(*FINAL),
            frozenset(f"{_NAMES} {_COUNTERS} state reason queued ran ended evidence".split()),
            ("retry",),
        ),
        Tab(
            ALL,
            "All",
            "All sessions, newest first",
            "No sessions yet. Dispatch one, or POST /v1/runners/sessions.",
            _ordered(*State),
            frozenset(f"{_NAMES} {_COUNTERS} state created queued ran grants".split()),
        ),
    )
}


# --- a page of it, by keyset -----------------------------------------------------------------

NEWEST, CLAIMS = ("-id",), ("-priority", "id")
Order = tuple[str, ...]
Key = Sequence[Any]

# How many rows a list looks at for one page of what no index serves: a fraction of a second.
REACH = 100_000


def order_of(view: str | None) -> Order:
    """The queue in the order of claims, served by runner_session_queue; else newest first, by
    runner_session_newest."""
    return CLAIMS if view == View.QUEUE else NEWEST


def _names(order: Order) -> list[str]:
    return [name.removeprefix("-") for name in order]


def _turned(order: Order) -> Order:
    return tuple(name[1:] if name.startswith("-") else f"-{name}" for name in order)


def behind(order: Order, key: Key) -> Q:
    """The rows that come after the one with this key."""
    condition, equal = Q(), Q()
    for name, value in zip(order, key, strict=True):
        column = name.removeprefix("-")
        operator = "lt" if name.startswith("-") else "gt"
        condition |= equal & Q((f"{column}__{operator}", value))
        equal &= Q((column, value))
    return condition


def up_to(order: Order, key: Key) -> Q:
    """The rows that come before the one with this key, and itself; its first column alone bounds
    the walk, since no index is entered by an "or"."""
    name, first = order[0].removeprefix("-"), key[0]
    bound = Q((f"{name}__{'gte' if order[0].startswith('-') else 'lte'}", first))
    if len(order) == 1:
        return bound
    equal = Q(*zip(_names(order), key, strict=True))
    return bound & (behind(_turned(order), key) | equal)


def horizon(walked: QuerySet[RunnerSession], order: Order) -> Key | None:
    """The key of the last row that a page may look at; None where the list ends before it.
    `walked` is narrowed only by what an index serves, so that this is a walk over it."""
    keys = walked.order_by(*order).values_list(*_names(order))
    return keys[REACH - 1 : REACH].first()


@dataclass(frozen=True, slots=True)
class Page:
    """Rows in the list's order, and the cursors of its neighbours. With `reached` no more was
    looked at than REACH rows, down to that session."""

    rows: list[RunnerSession]
    older: str | None
    newer: str | None
    reached: UUID | None = None


# Which way, the priority in the queue's order alone, and the row that the page begins beside.
_CURSOR = re.compile(r"(older|newer)(?:\.(-?[0-9]{1,5}))?\.(sess_[0-9a-z]{26})")


def page(
    found: QuerySet[RunnerSession],
    cursor: str | None,
    *,
    order: Order = NEWEST,
    rows: int | None = None,
    walked: QuerySet[RunnerSession] | None = None,
) -> Page:
    """One page of the list behind or before the cursor's row; with `walked` it looks no further
    than its horizon. Raises InvalidCursor."""
    rows = rows or PAGE_ROWS
    if cursor is None:
        shown, more, reached = _some(found, walked, order, None, rows)
        return Page(shown, _next("older", shown, more, reached, order), None, _last(reached))
    way, key = _read(cursor, order)
    if way == "older":
        shown, more, reached = _some(found, walked, order, key, rows)
        newer = _cursor("newer", _key(shown[0], order)) if shown else ""
        return Page(shown, _next("older", shown, more, reached, order), newer, _last(reached))
    shown, more, reached = _some(found, walked, _turned(order), key, rows)
    newer_still = _next("newer", shown, more, reached, order)
    older = _cursor("older", _key(shown[0], order)) if shown else ""
    return Page(shown[::-1], older, newer_still, _last(reached))


def _some(
    found: QuerySet[RunnerSession],
    walked: QuerySet[RunnerSession] | None,
    order: Order,
    key: Key | None,
    most: int,
) -> tuple[list[RunnerSession], bool, Key | None]:
    """Rows in this order behind the key, whether there are more of them, and where looking ended
    before the list did."""
    if key is not None:
        found = found.filter(behind(order, key))
        walked = walked.filter(behind(order, key)) if walked is not None else None
    end = horizon(walked, order) if walked is not None else None
    if end is not None:
        found = found.filter(up_to(order, end))
    rows = list(found.order_by(*order)[: most + 1])
    more = len(rows) > most
    return rows[:most], more, None if more else end


def _next(
    way: str, rows: list[RunnerSession], more: bool, reached: Key | None, order: Order
) -> str | None:
    if more:
        return _cursor(way, _key(rows[-1], order))
    return _cursor(way, reached) if reached is not None else None


def _last(reached: Key | None) -> UUID | None:
    return reached[-1] if reached is not None else None


def _key(row: RunnerSession, order: Order) -> Key:
    return [getattr(row, name) for name in _names(order)]


def _cursor(way: str, key: Key) -> str:
    *priority, session_id = key
    return ".".join([way, *map(str, priority), ids.encode("sess", session_id)])


def _read(cursor: str, order: Order) -> tuple[str, Key]:
    match = _CURSOR.fullmatch(cursor)
    if match is None or (match[2] is not None) != (order == CLAIMS):
        raise InvalidCursor
    try:
        session_id = ids.decode("sess", match[3])
    except ValueError:
        raise InvalidCursor from None
    return match[1], [int(match[2]), session_id] if match[2] else [session_id]


def queued_until(session: RunnerSession) -> datetime | None:
    """When the first wait for an executor was over; None while it lasts."""
    return session.started_at or session.dispatched_at or session.ended_at


def waiting_since(session: RunnerSession) -> datetime:
    """Since when it has been in the queue this time."""
    return session.updated_at if session.lease_epoch else session.created_at
