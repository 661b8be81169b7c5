"""What streams carry: the events of one session, hints of what goes on in an organization, and
signals for pages."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from grants import following
from grants.following import Position, Stretch
from grants.models import Event
from grants.serializers import EventOut
from keeptrusts_runners import ids
from keeptrusts_runners.api import event_stream
from keeptrusts_runners.api.event_stream import Stream

# What one stream holds in memory of a ledger, but for a last event that goes beyond it.
MAX_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """What comes next in a stream of events: what to send, and where that leads. `ends` says that
    nothing follows: the session is final and its ledger was read to its end."""

    content: bytes
    reaches: int
    has_more: bool
    ends: bool


@dataclass(frozen=True, slots=True)
class SessionStream(Stream):
    """The events of one session behind `after`, narrowed by filters. `key` is the same where the
    same events are read."""

    session_id: UUID
    found: QuerySet[Event]
    key: Hashable
    after: int

    def read(self, after: int) -> Batch:
        """What is behind `after`, in a scope of its own."""
        found = following.stretch_of(self.organization_id, self.found, self.session_id, after)
        return batch(found, after)


@dataclass(frozen=True, slots=True)
class OrganizationStream(Stream):
    """Hints: which sessions of the organization have changed, and where they stand."""


@dataclass(frozen=True, slots=True)
class PageStream(Stream):
    """Signals to one page: that what it shows of these topics has changed, and how far the ledgers
    of these sessions go, which were at these numbers. `since` is the moment, in milliseconds, up
    to which it knows everything; None for one that knows nothing."""

    user: str
    topics: frozenset[str]
    heads: Mapping[UUID, int]
    since: int | None

    @property
    def owner(self) -> str:
        return self.user


def batch(found: Stretch, after: int) -> Batch:
    """As much of a stretch as one batch may hold."""
    parts: list[bytes] = []
    size, last = 0, after
    for event in found.rows:
        if size > MAX_BYTES:
            return Batch(b"".join(parts), last, has_more=True, ends=False)
        parts.append(event_stream.message("event", EventOut.render(event), event.seq))
        size, last = size + len(parts[-1]), event.seq
    if found.reaches > last:
        # What a filter left out is not looked at again, nor after a reconnection.
        parts.append(event_stream.place(found.reaches))
    at_head = found.reaches >= found.head
    return Batch(
        b"".join(parts), found.reaches, has_more=not at_head, ends=at_head and found.is_final
    )


def end(seq: int) -> bytes:
    """The last word on a final session: its ledger was sent up to this number."""
    return event_stream.message("end", {"seq": seq})


def hints(positions: Iterable[Position]) -> dict[UUID, bytes]:
    """Each session's hint."""
    return {each.session_id: _hint(each) for each in positions}


def _hint(position: Position) -> bytes:
    return event_stream.message(
        "hint",
        {
            "session_id": ids.encode("sess", position.session_id),
            "seq": position.seq,
            "state": position.state,
        },
    )


def signal(topic: str, version: int) -> bytes:
    """What the page shows of this topic may have changed."""
    return event_stream.message("signal", {"topic": topic, "version": version}, version)


def growth(session_id: UUID, seq: int, version: int) -> bytes:
    """The session's ledger goes up to this number."""
    session = ids.encode("sess", session_id)
    data = {"topic": f"session:{session}", "session": session, "last_seq": seq}
    return event_stream.message("signal", data, version)
