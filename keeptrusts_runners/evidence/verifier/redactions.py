"""Redacted records, and the tombstones without which none may be."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Redactions:
    """Ranges of records without a body, ascending, and the ranges that tombstones name."""

    redacted: list[tuple[int, int]] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many records have no body."""
        return sum(last - first + 1 for first, last in self.redacted)

    def add(self, seq: int) -> None:
        """The next record without a body."""
        if self.redacted and self.redacted[-1][1] == seq - 1:
            self.redacted[-1] = (self.redacted[-1][0], seq)
        else:
            self.redacted.append((seq, seq))

    def add_tombstone(self, seq: int, data: dict[str, Any] | None) -> None:
        """A record evidence.redacted: data.ranges are pairs of first and last record number, all
        of them before the tombstone itself. Raises ValueError."""
        if data is None:
            raise ValueError("a tombstone is redacted itself")
        ranges = data.get("ranges")
        if not isinstance(ranges, list) or not ranges:
            raise ValueError("the tombstone does not name what was redacted")
        for pair in ranges:
            if not _is_range(pair) or pair[1] >= seq:
                raise ValueError("the tombstone names what cannot have been redacted")
            self.ranges.append((pair[0], pair[1]))

    def first_without_tombstone(self) -> int | None:
        """The first redacted record that no later tombstone names."""
        merged = _merged(self.ranges)
        starts = [first for first, _ in merged]
        for first, last in self.redacted:
            index = bisect_right(starts, first) - 1
            if index < 0 or merged[index][1] < first:
                return first
            if merged[index][1] < last:
                return merged[index][1] + 1
        return None


def _is_range(pair: object) -> bool:
    if not isinstance(pair, list) or [type(number) for number in pair] != [int, int]:
        return False
    return bool(1 <= pair[0] <= pair[1])


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same numbers in ranges that neither overlap nor touch, ascending."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged
