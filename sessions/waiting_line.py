"""The lines of the waiting room: who waits in one organization, and who is offered what.

Pure but for the event that wakes a waiter: what is on offer and what time it is, is told.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from uuid import UUID

from sessions.queue import Offer

# An ask that takes longer hangs, on a lock or on a database that does not answer.
HANGS_AFTER_SECONDS = 2.0
# Lanes remembered as nobody's; what is beyond that is found out with every look.
MOST_BARREN = 1000
# How many may ask in vain for one piece of news, before the rest is left to the next.
MOST_IN_VAIN = 20


@dataclass(eq=False, slots=True)
class Waiter:
    """One waiting claim: what it would take, and how it stands with the room.

    `offers` were made since it last began to ask; `asked_in` is the round of that.
    """

    organization_id: UUID
    profile_ids: frozenset[UUID] = frozenset()
    labels: frozenset[tuple[str, str]] = frozenset()
    most: int = 1
    offers: int = 0
    asked_in: int = -1
    asking_since: float | None = None
    gone: bool = False
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def could_take(self, offer: Offer) -> bool:
        if self.profile_ids and offer.profile_id not in self.profile_ids:
            return False
        return offer.labels <= self.labels

    def offer(self, number: int) -> None:
        self.offers = number
        self.stirred.set()

    def leave(self) -> None:
        """Its client has gone."""
        self.gone = True
        self.stirred.set()


class Line:
    """One organization's waiters, in the order in which they came.

    A round begins with each piece of news. Within it nobody is woken twice, so that what a waiter
    cannot have, whatever the reason, goes on to the next; its place in line it keeps.
    """

    def __init__(self) -> None:
        self.waiters: dict[Waiter, None] = {}  # a set in order
        self.barren: set[Offer] = set()
        self.round = 0
        self.asked_in_vain = 0

    def enter(self, waiter: Waiter) -> None:
        self.waiters[waiter] = None
        self.barren = {offer for offer in self.barren if not waiter.could_take(offer)}

    def begin_round(self) -> None:
        self.round += 1
        self.asked_in_vain = 0

    def may_be_offered(self, waiter: Waiter, now: float) -> bool:
        """One who is asking takes an offer as well, or it would go to somebody who comes too late
        for it; but an ask that hangs holds up nobody else."""
        if waiter.asking_since is not None:
            return now - waiter.asking_since < HANGS_AFTER_SECONDS
        return waiter.offers > 0 or waiter.asked_in < self.round

    def remember_barren(self, offer: Offer) -> None:
        if len(self.barren) < MOST_BARREN and not any(w.could_take(offer) for w in self.waiters):
            self.barren.add(offer)


class Look:
    """What one look at the queue comes to: each session goes to the first who could take it.

    Both sides are in the order in which claims would meet, so this is who would get what if all
    asked one after the other. A lane is `closed` once nobody is left for it: what it has more of
    is not to be looked at, or it would hide what stands behind.
    """

    def __init__(self, line: Line, now: float) -> None:
        self._line = line
        self._room_left = {w: w.most for w in line.waiters if line.may_be_offered(w, now)}
        self._takers: dict[int, Iterator[Waiter]] = {}
        self._running: Counter[UUID | str] = Counter()
        self.closed = {offer.lane for offer in line.barren}

    def make(self, offers: Iterable[Offer]) -> bool:
        """Wake those to whom they go. True if lanes were closed."""
        before = len(self.closed)
        for offer in offers:
            if offer.lane not in self.closed and not self._fills(offer.key, offer.key_limit):
                self._make(offer)
        return len(self.closed) > before

    def _make(self, offer: Offer) -> None:
        if self._fills(offer.profile_id, offer.profile_limit):
            self.closed.add(offer.lane)
        elif taker := next(self._takers_of(offer), None):
            self._room_left[taker] -= 1
            taker.offer(taker.most - self._room_left[taker])
            self._running.update((offer.profile_id, offer.key))
        else:
            self.closed.add(offer.lane)
            self._line.remember_barren(offer)

    def _fills(self, limited: UUID | str, limit: int | None) -> bool:
        """Are as many on offer as may ever run at once? Whoever were woken for more would ask in
        vain. How many do run is the claim's to count, under its locks."""
        return bool(limited) and limit is not None and self._running[limited] >= limit

    def _takers_of(self, offer: Offer) -> Iterator[Waiter]:
        """One for each lane, so that no waiter is compared with it more often than once."""
        if offer.lane not in self._takers:
            self._takers[offer.lane] = self._able(offer)
        return self._takers[offer.lane]

    def _able(self, offer: Offer) -> Iterator[Waiter]:
        for waiter in self._room_left:
            if self._has_room(waiter) and waiter.could_take(offer):
                while self._has_room(waiter):
                    yield waiter

    def _has_room(self, waiter: Waiter) -> bool:
        return self._room_left[waiter] > 0 and waiter in self._line.waiters
