"""Who watches: one open stream each, and what it is yet to be sent.

Pure but for the event that wakes a viewer: what has happened and what time it is, is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from grants import streams
from grants.streams import OrganizationStream, PageStream, SessionStream
from keeptrusts_runners.api import event_stream
from keeptrusts_runners.api.event_stream import Bearer, Stream
from keeptrusts_runners.errors import DatabaseUnavailable, DomainError, InvalidToken
from keeptrusts_runners.identity.principal import Principal

STOPPING: Final = "stopping"
# For how long a bearer's access is taken on trust.
TRUST_SECONDS = 30.0
# Hints that one slow viewer may owe; beyond it is told that anything may have changed.
MOST_HINTS = 500


@dataclass(eq=False, slots=True)
class Viewer:
    """One open stream. `over` says why it ends, `gone` that nobody is there to be told."""

    stream: Stream
    checked_at: float = 0.0
    over: str = ""
    gone: bool = False
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def leaves(self) -> bool:
        return self.gone or bool(self.over)

    @property
    def has_news(self) -> bool:
        raise NotImplementedError

    def leave(self) -> None:
        """Its client has gone."""
        self.gone = True
        self.stirred.set()

    def dismiss(self, reason: str) -> None:
        self.over = self.over or reason
        self.stirred.set()

    def judge(self, bearers: Mapping[Bearer, Principal | None], now: float) -> None:
        """Send it away if a request of its bearer would be refused, and for the same reason."""
        principal = bearers[self.stream.bearer]
        try:
            if principal is None:
                raise InvalidToken
            self.stream.authorize(principal)
            self.checked_at = now
        except DomainError as refusal:
            self.dismiss(refusal.code)

    def distrust(self, now: float) -> None:
        """Send it away if its access could not be looked at for too long."""
        if now - self.checked_at > TRUST_SECONDS:
            self.dismiss(DatabaseUnavailable.code)


@dataclass(eq=False, slots=True)
class SessionViewer(Viewer):
    """It has been sent its session's events up to `after`."""

    stream: SessionStream
    after: int = 0
    behind: bool = True

    @property
    def has_news(self) -> bool:
        return self.behind

    def tell(self, seq: int) -> None:
        if seq > self.after:
            self.stir()

    def stir(self) -> None:
        self.behind = True
        self.stirred.set()


@dataclass(eq=False, slots=True)
class OrganizationViewer(Viewer):
    """It owes its client these hints, each the newest of its session."""

    stream: OrganizationStream
    hints: dict[UUID, bytes] = field(default_factory=dict)
    dropped: bool = False

    @property
    def has_news(self) -> bool:
        return self.dropped or bool(self.hints)

    def tell(self, hints: Mapping[UUID, bytes]) -> None:
        self.hints |= hints
        if len(self.hints) > MOST_HINTS:
            self.reset()
        self.stirred.set()

    def reset(self) -> None:
        """Anything may have changed."""
        self.hints, self.dropped = {}, True
        self.stirred.set()

    def take(self) -> bytes:
        """What is to be sent now."""
        start = event_stream.RESET if self.dropped else b""
        content = start + b"".join(self.hints.values())
        self.hints, self.dropped = {}, False
        return content


@dataclass(eq=False, slots=True)
class PageViewer(Viewer):
    """A page, which is yet to be told that these topics have changed and these ledgers grown."""

    stream: PageStream
    changed: set[str] = field(default_factory=set)
    grown: dict[UUID, int] = field(default_factory=dict)
    told: dict[UUID, int] = field(default_factory=dict)

    @property
    def has_news(self) -> bool:
        return bool(self.changed or self.grown)

    def tell(self, topics: Iterable[str]) -> None:
        self.changed |= self.stream.topics.intersection(topics)
        self.stirred.set()

    def grow(self, session_id: UUID, seq: int) -> None:
        if session_id in self.stream.heads and seq > self.told.get(session_id, 0):
            self.grown[session_id] = max(seq, self.grown.get(session_id, 0))
            self.stirred.set()

    def take(self, version: int) -> bytes:
        """What is to be sent now, as of this moment in milliseconds."""
        parts = [streams.signal(topic, version) for topic in sorted(self.changed)]
        parts += [streams.growth(session, seq, version) for session, seq in self.grown.items()]
        self.told |= self.grown
        self.changed, self.grown = set(), {}
        return b"".join(parts)


def viewer_of(stream: Stream) -> Viewer:
    if isinstance(stream, SessionStream):
        return SessionViewer(stream, after=stream.after)
    if isinstance(stream, PageStream):
        return PageViewer(stream, grown=dict(stream.heads))
    assert isinstance(stream, OrganizationStream), stream
    return OrganizationViewer(stream)
