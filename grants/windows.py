"""Events by the windowful: reading a ledger of any length costs the same at its start and end.

What a filter leaves of a ledger is read within bounds, so a window says which records were looked
at; whoever wants more goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import QuerySet

from grants import filters, queries, reading
from grants.models import Event
from grants.queries import ERRORS
from grants.reading import Bounds, Span
from sessions.models import RunnerSession

ROWS = 500
# What a row shows: proofs and writers' numbers of five hundred would be a third of reading them.
SHOWN = ("seq", "kind", "level", "step", "recorded_at", "body")
# A person waits for it, and may go on: more than a request of the API looks at.
BOUNDS = Bounds(records=100_000, bytes=128 * 1024 * 1024, seconds=1.2)


@dataclass(frozen=True, slots=True)
class Window:
    """Some events of a session in order; `looked` is which records were looked at for them, of
    `newest`. `hidden` is the one that is there although the filter would hide it."""

    rows: list[Event]
    looked: Span
    newest: int
    hidden: int | None = None

    @property
    def first(self) -> int:
        """The first record that was looked at."""
        return self.looked.after + 1

    @property
    def last(self) -> int:
        return self.looked.before - 1

    @property
    def older(self) -> bool:
        return self.looked.after > 0

    @property
    def newer(self) -> bool:
        return self.last < self.newest


@dataclass(frozen=True, slots=True)
class Ledger:
    """A session's records as a query with these filters leaves them; `found` is already narrowed
    by them."""

    session: RunnerSession
    query: Mapping[str, str]
    found: QuerySet[Event]

    @property
    def newest(self) -> int:
        return self.session.ledger_head.seq

    def after(self, seq: int, limit: int | None = None) -> Window:
        """The first rows behind `seq`. The cost does not depend on how far that is."""
        read = self._find(Span(min(seq, self.newest), self.newest + 1), limit)
        return Window(read.rows, read.looked, self.newest)

    def before(self, seq: int | None = None, limit: int | None = None) -> Window:
        """The last rows before `seq`, or the very last."""
        end = self.newest + 1 if seq is None else max(1, min(seq, self.newest + 1))
        read = self._find(Span(0, end, backwards=True), limit)
        return Window(read.rows[::-1], read.looked, self.newest)

    def around(self, seq: int) -> Window:
        """The window in whose middle `seq` stands, which is there whatever the filter says."""
        window = self.after(max(0, seq - ROWS // 2))
        if not self.query or any(row.seq == seq for row in window.rows):
            return window
        itself = queries.events(self.session).only(*SHOWN).filter(seq=seq).first()
        if itself is None:
            return window
        rows = sorted([*window.rows, itself], key=lambda row: row.seq)
        return Window(rows, window.looked, self.newest, hidden=seq)

    def _find(self, span: Span, limit: int | None) -> reading.Found:
        shown = self.found.only(*SHOWN)
        return filters.find(self.query, shown, span, limit or ROWS, BOUNDS)


def first_error(session: RunnerSession, *, after: int = 0) -> int | None:
    """The number of the first error behind `after`. Served by runner_event_level."""
    return _error(session, Span(after, reading.END))


def last_error(session: RunnerSession, *, before: int) -> int | None:
    return _error(session, Span(0, before, backwards=True))


def _error(session: RunnerSession, span: Span) -> int | None:
    found = reading.by_index(queries.events(session), span, 1, ERRORS)
    return found.rows[0].seq if found.rows else None
