"""The load's own processes: they take turns, stop in time, and tell what went wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytest

from bench.load import LoadFailed, Operation, Side, Team, interleave


def counting(given: Mapping[str, Any], number: int) -> Operation:
    return lambda: time.sleep(given["seconds"])


def failing(given: Mapping[str, Any], number: int) -> Operation:
    def fail() -> None:
        raise ValueError(f"process {number} cannot")

    return fail


def test_every_side_has_a_turn_in_every_round() -> None:
    prepared: list[str] = []
    sides = [
        Side(name, counting, {"seconds": 0.001}, most=10, before=lambda n=name: prepared.append(n))
        for name in ("a", "b")
    ]
    turns = interleave(2, sides, rounds=2, seconds=5)
    assert prepared == ["a", "b", "a", "b", "b", "a"]
    assert [turn.done for turn in turns["a"]] == [10, 10]
    assert all(turn.rate > 0 and turn.median >= 0.001 for turn in turns["b"])


def test_a_turn_ends_with_its_time() -> None:
    with Team(1, [Side("slow", counting, {"seconds": 0.05})]) as team:
        turn = team.turn("slow", 0.2)
    assert turn.seconds >= 0.2
    assert 1 <= turn.done <= 5


def test_what_fails_in_a_process_ends_the_benchmark_and_says_why() -> None:
    with (
        Team(1, [Side("broken", failing, {})]) as team,
        pytest.raises(LoadFailed, match="process 0 cannot"),
    ):
        team.turn("broken", 0.1)
