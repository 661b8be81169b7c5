"""How each session ends, when it began and how much is said in it: decided before anything is
made, so that the figures come out exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

# How often each course is taken, of a thousand.
COURSES = {
    "completed": 640,
    "completed after a failure": 50,
    "completed after a lost lease": 20,
    "completed after a pause": 20,
    "failed": 90,
    "cancelled while waiting": 25,
    "cancelled while running": 35,
    "timed out": 20,
    "expired": 20,
    "lost": 10,
    "pending": 30,
    "running": 30,
    "paused": 10,
}
SILENT = frozenset({"cancelled while waiting", "expired", "pending"})
OPEN = frozenset({"pending", "running", "paused"})


@dataclass(frozen=True, slots=True)
class Plan:
    """One session to be: the number of events is of what its runner says."""

    number: int
    course: str
    created_at: datetime
    seconds: float
    events: int


def plans(
    rng: Random,
    sessions: int,
    events: int,
    now: datetime,
    months: int,
    course: str | None = None,
) -> Iterator[Plan]:
    """In the order of their creation, all of one course or of each now and then. If only one is
    wanted, it is one that was completed."""
    if course or sessions == 1:
        chosen = [course or "completed"] * sessions
    else:
        chosen = rng.choices(list(COURSES), list(COURSES.values()), k=sessions)
    if events and SILENT.issuperset(chosen):
        chosen[0] = "completed"
    shares = [0.0 if each in SILENT else rng.lognormvariate(0, 1) for each in chosen]
    begun = [_created_at(rng, each, now, months) for each in chosen]
    whole, told, so_far = sum(shares) or 1.0, 0, 0.0
    in_order = sorted(zip(begun, chosen, shares, strict=True), key=lambda each: each[0])
    for number, (created_at, taken, share) in enumerate(in_order):
        so_far += share
        # Rounding what has been reached, and not each share, leaves nothing over at the end.
        here = round(events * so_far / whole) - told
        told += here
        yield Plan(number, taken, created_at, _seconds(rng, here), here)


def _created_at(rng: Random, course: str, now: datetime, months: int) -> datetime:
    if course in OPEN:
        return now - timedelta(minutes=rng.uniform(90, 360))
    return now - timedelta(days=rng.uniform(2, 30 * months))


def _seconds(rng: Random, events: int) -> float:
    """How long it ran: from half a minute to some hours, the longer the more there is to say."""
    return min(20 * 3600, 30 + rng.lognormvariate(4, 1) + events * 0.02)
