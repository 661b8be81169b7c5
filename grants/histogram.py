"""Sixty buckets of time by level for each session, kept in its ledger head at ingest.

A bucket is at first one second wide. When a record falls behind the sixtieth, pairs of buckets
become one of twice the width, as often as it takes: sixty buckets hold a session of any length,
and the cost of a record does not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from grants.models import Level

BUCKETS = 60
LEVELS = tuple(level.value for level in Level)
_PLACE = {level: place for place, level in enumerate(LEVELS)}
_SECOND = timedelta(seconds=1)


@dataclass(slots=True)
class Histogram:
    """`counts` holds a figure of each level for the first bucket, then for the second, up to the
    last that is not empty. `began_at` is the time of the session's first record."""

    began_at: datetime | None = None
    width_seconds: int = 1
    counts: list[int] = field(default_factory=list)

    def add(self, at: datetime, levels: Mapping[str, int]) -> None:
        """Count so many records of each level, all recorded at one instant."""
        if self.began_at is None:
            self.began_at = at
        # A database clock that was set back does not go behind the beginning.
        second = max(0, (at - self.began_at) // _SECOND)
        while second >= BUCKETS * self.width_seconds:
            self._halve()
        bucket = second // self.width_seconds * len(LEVELS)
        if (lacking := bucket + len(LEVELS) - len(self.counts)) > 0:
            self.counts += [0] * lacking
        for level, number in levels.items():
            self.counts[bucket + _PLACE[level]] += number

    def _halve(self) -> None:
        """Make one bucket of every two."""
        old, size = [*self.counts, *[0] * len(LEVELS)], len(LEVELS)
        self.counts = [
            old[start + place] + old[start + size + place]
            for start in range(0, len(self.counts), 2 * size)
            for place in range(size)
        ]
        self.width_seconds *= 2

    def by_level(self) -> dict[str, int]:
        """How many records of each level there are."""
        return {level: sum(self.counts[place :: len(LEVELS)]) for level, place in _PLACE.items()}

    def buckets(self) -> Iterator[dict[str, Any]]:
        """Each bucket up to the last that is not empty: `starts_at`, and a figure of each level."""
        size = len(LEVELS)
        for number in range(len(self.counts) // size):
            assert self.began_at is not None
            starts_at = self.began_at + timedelta(seconds=number * self.width_seconds)
            row = self.counts[number * size : (number + 1) * size]
            yield {"starts_at": starts_at, **dict(zip(LEVELS, row, strict=True))}
