"""Events by the windowful: reading a ledger of any length costs the same at its start and end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Min, Q, QuerySet

from grants import queries
from grants.models import Event
from grants.queries import ERRORS
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


def after(found: QuerySet[Event], seq: int) -> Window:
    """The first events behind `seq`. The cost does not depend on how far that is."""
    rows = list(found.filter(seq__gt=seq).order_by("seq")[: ROWS + 1])
    return Window(rows[:ROWS], older=seq > 0, newer=len(rows) > ROWS)


def before(found: QuerySet[Event], seq: int | None = None, limit: int | None = None) -> Window:
    """The last events before `seq`, or the very last."""
    limit = limit or ROWS
    reached = found if seq is None else found.filter(seq__lt=seq)
    rows = list(reached.order_by("-seq")[: limit + 1])
    return Window(rows[:limit][::-1], older=len(rows) > limit, newer=seq is not None)


def around(session: RunnerSession, seq: int, levels: Iterable[str] = ()) -> Window:
    """The window in whose middle `seq` stands, which is there whatever its level."""
    found = queries.events(session)
    if levels := list(levels):
        found = found.filter(Q(level__in=levels) | Q(seq=seq))
    return after(found, max(0, seq - ROWS // 2))


def first_error(session: RunnerSession) -> int | None:
    """The number of the first error event. Served by runner_event_level."""
    found = queries.events(session).filter(level__in=ERRORS).aggregate(seq=Min("seq"))
    seq: int | None = found["seq"]
    return seq
