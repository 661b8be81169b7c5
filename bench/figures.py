"""What a benchmark finds: figures, their ratios to a reference, and the targets for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.stage import Stage


@dataclass(frozen=True)
class Size:
    """How much a run does. `seconds` is the length of one side's turn in one round."""

    rounds: int = 5
    seconds: float = 2.0
    connections: int = 4
    few: int = 10_000
    many: int = 100_000
    waiting: int = 500
    streams: int = 1000
    idle_seconds: float = 10.0
    cycle_seconds: float = 30.0
    wakes: int = 40
    # Of one session's ledger.
    few_events: int = 10_000
    many_events: int = 1_000_000
    upload_bytes: int = 64 << 20
    large_upload_bytes: int = 512 << 20
    # An artifact that is downloaded.
    artifact_mib: int = 256


NORMAL = Size()
FULL = replace(
    NORMAL,
    many=1_000_000,
    many_events=10_000_000,
    large_upload_bytes=4 << 30,
    artifact_mib=4096,
)
QUICK = Size(
    rounds=2,
    seconds=0.3,
    connections=2,
    few=300,
    many=600,
    waiting=20,
    streams=20,
    idle_seconds=1,
    cycle_seconds=1,
    wakes=5,
    few_events=300,
    many_events=3_000,
    upload_bytes=1 << 20,
    large_upload_bytes=2 << 20,
    artifact_mib=4,
)


@dataclass(frozen=True)
class Target:
    """At least or at most this, of the figure itself or of its ratio to the reference."""

    least: float | None = None
    most: float | None = None
    of_ratio: bool = True

    def __str__(self) -> str:
        sign, bound = ("≥", self.least) if self.least is not None else ("≤", self.most)
        return f"{sign} {bound:g}{'×' if self.of_ratio else ''}"

    def is_met_by(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )


@dataclass(frozen=True)
class Spread:
    """One value for each round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.values)

    def as_json(self) -> dict[str, Any]:
        rounded = [float(f"{value:.4g}") for value in self.values]
        return {
            "median": float(f"{self.median:.4g}"),
            "min": min(rounded),
            "max": max(rounded),
            "values": rounded,
        }


@dataclass(frozen=True)
class Figure:
    """One row of the result. The ratio is taken within each round, and only then its median."""

    name: str
    unit: str
    values: Spread
    reference: Spread | None = None
    against: str = ""
    target: Target | None = None

    @property
    def ratio(self) -> Spread | None:
        if self.reference is None:
            return None
        pairs = zip(self.values.values, self.reference.values, strict=True)
        return Spread(tuple(ours / theirs for ours, theirs in pairs))

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        judged = self.ratio if self.target.of_ratio else self.values
        return judged is not None and self.target.is_met_by(judged.median)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "unit": self.unit,
            **self.values.as_json(),
            "against": self.against or None,
            "reference": self.reference.as_json() if self.reference else None,
            "ratio": self.ratio.as_json() if self.ratio else None,
            "target": str(self.target) if self.target else None,
            "met": self.met,
        }


def figure(
    name: str,
    unit: str,
    values: Sequence[float],
    reference: Sequence[float] | None = None,
    against: str = "R",
    target: Target | None = None,
) -> Figure:
    """`against` says what the reference is; R is the same SQL work by psycopg."""
    spread = None if reference is None else Spread(tuple(reference))
    return Figure(name, unit, Spread(tuple(values)), spread, against if spread else "", target)


@dataclass(frozen=True)
class Benchmark:
    """`about` is one sentence for those who read the result."""

    name: str
    about: str
    measure: Callable[[Stage, Size], list[Figure]]
