"""The histogram of a session's events, as a drawing and as the table behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from grants.histogram import LEVELS, Histogram
from keeptrusts_runners.console.formats import time_of_day

WIDTH, HEIGHT = 600, 48
_FEWEST = 20


class Part(NamedTuple):
    """A piece of a bar, `tone` as in the style sheet."""

    tone: str
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Bar:
    """The events of a bucket of time; `url` leads to the first of them."""

    starts_at: datetime
    ends_at: datetime
    events: int
    warnings: int
    errors: int
    url: str
    x: int
    width: int
    parts: list[Part]

    @property
    def label(self) -> str:
        """In the page's zone, like every time on it."""
        errors = f", {self.errors:,} error{'s'[: self.errors != 1]}" if self.errors else ""
        between = f"{time_of_day(self.starts_at)} to {time_of_day(self.ends_at)}"
        return f"{between}, {self.events:,} event{'s'[: self.events != 1]}{errors}"


def bars(kept: Histogram, address: Callable[[int], str]) -> list[Bar]:
    """The buckets that are not empty. The records of one follow those of the one before, so that
    the figures alone say with which number each begins."""
    buckets = list(kept.buckets())
    totals = [_events(bucket) for bucket in buckets]
    slot = WIDTH / max(len(buckets), _FEWEST)
    width, scale = timedelta(seconds=kept.width_seconds), HEIGHT / max([*totals, 1])
    found, first = [], 1
    for place, (bucket, events) in enumerate(zip(buckets, totals, strict=True)):
        if events:
            found.append(
                Bar(
                    starts_at=bucket["starts_at"],
                    ends_at=bucket["starts_at"] + width,
                    events=events,
                    warnings=bucket["warning"],
                    errors=bucket["error"] + bucket["critical"],
                    url=address(first),
                    x=round(place * slot),
                    width=round((place + 1) * slot) - round(place * slot) - 1,
                    parts=list(_stacked(bucket, events, scale)),
                )
            )
        first += events
    return found


def _events(bucket: dict[str, Any]) -> int:
    return sum(bucket[level] for level in LEVELS)


def _stacked(bucket: dict[str, Any], events: int, scale: float) -> Iterator[Part]:
    """Errors at the bottom, warnings on them, the rest on top; what is there is seen."""
    errors, warnings = bucket["error"] + bucket["critical"], bucket["warning"]
    counted, bottom = 0, HEIGHT
    for tone, number in (
        ("failed", errors),
        ("expired", warnings),
        ("pending", events - errors - warnings),
    ):
        if number:
            counted += number
            top = max(0, min(HEIGHT - round(counted * scale), bottom - 1))
            yield Part(tone, top, bottom - top)
            bottom = top
