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
    """A stretch of a bar; `x` and `width` are percentages of it."""

    state: str
    x: float
    width: float
    lasted: timedelta

    @property
    def tone(self) -> str:
        return looks.of(self.state).tone

    @property
    def text(self) -> str:
        return f"{looks.spoken(self.state)} {formats.duration(self.lasted)}"


@dataclass(frozen=True, slots=True)
class Bar:
    """Queue and run are bars of their own: minutes of waiting would dwarf seconds of running."""

    name: str
    total: timedelta
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        return f"{self.name}: {', '.join(segment.text for segment in self.segments)}"


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
    lasting = [(step.state, step.lasted) for step in found if step.lasted]
    queue = [part for part in lasting if part[0] == State.PENDING]
    run = [part for part in lasting if part[0] != State.PENDING]
    return [_bar(name, parts) for name, parts in (("Queue", queue), ("Run", run)) if parts]


# A sliver would otherwise be too thin to see.
_LEAST = 0.5


def _bar(name: str, parts: Sequence[tuple[str, timedelta]]) -> Bar:
    total = sum((lasted for _, lasted in parts), timedelta())
    widths = [max(100 * (lasted / total), _LEAST) for _, lasted in parts]
    scale = 100 / sum(widths)
    segments: list[Segment] = []
    x = 0.0
    for (state, lasted), width in zip(parts, widths, strict=True):
        segments.append(Segment(state, round(x, 2), round(width * scale, 2), lasted))
        x += width * scale
    return Bar(name, total, tuple(segments))
