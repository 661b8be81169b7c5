"""Events by the windowful: reading a ledger of any length costs the same at its start and end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grants import queries, reading
from grants.models import Event
from grants.queries import ERRORS
from grants.reading import END, Span
from sessions.models import RunnerSession

ROWS = 200


@dataclass(frozen=True, slots=True)
class Window:
    """Some events of a session in order, and whether there are more on either side."""

    rows: list[Event]
    older: bool
    newer: bool

    @property
    def first(self) -> int:
        return self.rows[0].seq if self.rows else 0

    @property
    def last(self) -> int:
        return self.rows[-1].seq if self.rows else 0


def after(session: RunnerSession, seq: int, levels: Sequence[str] = ()) -> Window:
    """The first events behind `seq`, of these levels (from warning up) where some are named. The
    cost does not depend on how far that is."""
    found = reading.by_index(queries.events(session), Span(seq, END), ROWS, levels)
    return Window(found.rows, older=seq > 0, newer=not found.left.is_empty)


def before(
    session: RunnerSession,
    seq: int | None = None,
    levels: Sequence[str] = (),
    limit: int | None = None,
) -> Window:
    """The last events before `seq`, or the very last."""
    span = Span(0, END if seq is None else seq, backwards=True)
    found = reading.by_index(queries.events(session), span, limit or ROWS, levels)
    return Window(found.rows[::-1], older=not found.left.is_empty, newer=seq is not None)


def around(session: RunnerSession, seq: int, levels: Sequence[str] = ()) -> Window:
    """The window in whose middle `seq` stands, which is there whatever its level."""
    window = after(session, max(0, seq - ROWS // 2), levels)
    itself = queries.events(session).filter(seq=seq).first() if levels else None
    if itself is None or any(row.seq == seq for row in window.rows):
        return window
    rows = sorted([*window.rows, itself], key=lambda row: row.seq)
    return Window(rows[:ROWS], window.older, window.newer or len(rows) > ROWS)


def first_error(session: RunnerSession) -> int | None:
    """The number of the first error event. Served by runner_event_level."""
    found = reading.by_index(queries.events(session), Span(0, END), 1, ERRORS)
    return found.rows[0].seq if found.rows else None
