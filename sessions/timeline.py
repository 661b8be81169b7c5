"""A session's way through its lifecycle, as a list to read and as bars to see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from keeptrusts_runners.console import formats, looks
from sessions.models import Transition
from sessions.states import FINAL, State


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the list: a state that was reached, or one that was only wished for
    (`changed` is False). `until` is when the state was left; None in a final one."""

    seq: int
    state: str
    verb: str
    reason: str
    actor: str
    lease_epoch: int
    executor: str
    at: datetime
    until: datetime | None
    changed: bool

    @property
    def lasted(self) -> timedelta | None:
        return self.until - self.at if self.until else None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a bar; `x` and `width` are percentages of it. `seq` is the record that began
    it, `attempt` is 0 before the first."""

    state: str
    x: float
    width: float
    lasted: timedelta
    seq: int
    attempt: int
    at: datetime

    @property
    def tone(self) -> str:
        return looks.of(self.state).tone

    @property
    def text(self) -> str:
        attempt = f", attempt {self.attempt}" if self.attempt else ""
        return f"{looks.spoken(self.state)}{attempt}, {formats.duration(self.lasted)}"

    def place(self, at: datetime) -> float | None:
        """Where on the bar this instant is; None where it is not in this stretch."""
        if not self.at <= at <= self.at + self.lasted:
            return None
        return round(self.x + self.width * ((at - self.at) / self.lasted), 2)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at an instant, and where it is told."""

    text: str
    at: datetime
    url: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Queue and run are bars of their own: minutes of waiting would dwarf seconds of running."""

    name: str
    total: timedelta
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        return f"{self.name}: {'; '.join(segment.text for segment in self.segments)}"

    def placed(self, marks: Iterable[Mark]) -> list[tuple[float, Mark]]:
        """Those of the marks that lie on this bar, with their places."""
        found = []
        for mark in marks:
            places = (segment.place(mark.at) for segment in self.segments)
            place = next((each for each in places if each is not None), None)
            if place is not None:
                found.append((place, mark))
        return found


def steps(transitions: Sequence[Transition], now: datetime) -> list[Step]:
    """In order; the last state of an unfinished session lasts until now."""
    found: list[Step] = []
    left_at: datetime | None = now
    for row in reversed(transitions):
        changed = row.source != row.target
        found.append(
            Step(
                seq=row.seq,
                state=row.target,
                verb=row.verb,
                reason=row.reason,
                actor=row.actor,
                lease_epoch=row.lease_epoch,
                executor=str(row.executor.get("name", "")),
                at=row.at,
                until=left_at if changed and row.target not in FINAL else None,
                changed=changed,
            )
        )
        left_at = row.at if changed else left_at
    return found[::-1]


def bars(found: Iterable[Step]) -> list[Bar]:
    """What has lasted at all, in the two bars."""
    lasting = [step for step in found if step.lasted]
    queue = [step for step in lasting if step.state == State.PENDING]
    run = [step for step in lasting if step.state != State.PENDING]
    return [_bar(name, parts) for name, parts in (("Queue", queue), ("Run", run)) if parts]


# A sliver would otherwise be too thin to see.
_LEAST = 0.5


def _bar(name: str, parts: Sequence[Step]) -> Bar:
    lengths = [step.lasted or timedelta() for step in parts]
    total = sum(lengths, timedelta())
    widths = [max(100 * (lasted / total), _LEAST) for lasted in lengths]
    scale = 100 / sum(widths)
    segments: list[Segment] = []
    x = 0.0
    for step, lasted, width in zip(parts, lengths, widths, strict=True):
        stretch = (round(x, 2), round(width * scale, 2), lasted)
        segments.append(Segment(step.state, *stretch, step.seq, step.lease_epoch, step.at))
        x += width * scale
    return Bar(name, total, tuple(segments))
