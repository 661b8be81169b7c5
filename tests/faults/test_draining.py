"""A queue drained by many runners, of which some vanish, fail, repeat themselves or are late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import randrange
from typing import Any
from uuid import UUID

import pytest

from sessions import claims, limits, outcomes
from sessions.limits import Use
from sessions.models import RunnerSession
from sessions.states import LEASED
from tests.faults.drain import Drain
from tests.people import Org
from tests.recording import Figures


def drained(length: int, seed: int, figures: Figures, **how: Any) -> None:
    drain = Drain(Org(), length, seed, **how)
    try:
        drain.run()
        drain.assert_sound()
    except AssertionError as error:
        error.add_note(f"schedule {seed}")
        raise
    figures.count("schedules")
    figures.count("sessions", length)
    figures.count("claims", len(drain.given))
    for what, number in sorted(drain.counts.items()):
        figures.count(what, number)
    figures.tell()


@pytest.mark.proves(
    "claim.no-double",
    "claim.epoch-plus-one",
    "claim.id-repeats",
    "fence.every-write",
    "life.outcome-once",
    "stuck.two-loops",
    "stuck.nothing-overdue",
)
def test_nothing_is_doubled_or_stuck_whatever_runners_do(figures: Figures) -> None:
    drained(200, randrange(1 << 32), figures)


@pytest.mark.proves("limit.held", "limit.no-leak")
def test_no_slot_leaks_whatever_runners_do(figures: Figures) -> None:
    drained(40, randrange(1 << 32), figures, runners=20, limit=8)


@pytest.mark.nightly
@pytest.mark.proves(
    "claim.no-double",
    "claim.epoch-plus-one",
    "claim.id-repeats",
    "fence.every-write",
    "life.outcome-once",
    "stuck.two-loops",
    "stuck.nothing-overdue",
)
def test_nothing_is_doubled_or_stuck_in_twenty_thousand_sessions(
    figures: Figures, length: Callable[..., int]
) -> None:
    drained(length(20_000), randrange(1 << 32), figures)


@pytest.mark.nightly
@pytest.mark.proves(
    "claim.no-double",
    "claim.epoch-plus-one",
    "claim.id-repeats",
    "fence.every-write",
    "life.outcome-once",
    "stuck.two-loops",
    "stuck.nothing-overdue",
)
def test_nothing_is_doubled_or_stuck_under_many_schedules(
    figures: Figures, length: Callable[..., int]
) -> None:
    for _ in range(length(50)):
        seed = randrange(1 << 32)
        limit = 5 + seed % 20 if seed % 3 else None
        drained(400, seed, figures, limit=limit)


# --- the controls ----------------------------------------------------------------------------


def counted_slots(patch: pytest.MonkeyPatch) -> None:
    """A counter instead of the live leases: up with each claim, down with each outcome. What is
    lost for silence is forgotten."""
    taken: Counter[UUID] = Counter()
    step, end = claims._claim_step, outcomes.end

    def counting_step(session: RunnerSession, *more: Any) -> Any:
        taken[session.profile_id] += 1
        return step(session, *more)

    def counting_end(session_id: UUID, *what: Any, **how: Any) -> RunnerSession:
        was_leased = RunnerSession.objects.filter(id=session_id, state__in=LEASED).exists()
        ended = end(session_id, *what, **how)
        taken[ended.profile_id] -= was_leased
        return ended

    patch.setattr(claims, "_claim_step", counting_step)
    patch.setattr(outcomes, "end", counting_end)
    patch.setattr(
        limits, "_uses", lambda named, *_: ({each: Use(taken[each]) for each in named}, {})
    )


@pytest.mark.proves("tests.controls")
def test_a_limit_that_is_counted_leaks_and_is_caught_here(
    figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted_slots(monkeypatch)
    with pytest.raises(AssertionError, match="stuck"):
        drained(80, 1, figures, runners=20, limit=4)
