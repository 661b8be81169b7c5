"""Load: processes that do one thing again and again, each with a connection of its own.

Processes and not threads, so that neither side is held up by one interpreter's lock. They live
through all rounds and take the sides in turn; a turn ends with its time or its number.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Self

START_SECONDS = 60
# What is longer than its turn by this much does not come to an end.
SILENCE_SECONDS = 120

Operation = Callable[[], None]


@dataclass(frozen=True)
class Side:
    """One of those that are compared. `open` is called once in each process, with what is `given`
    and the number of the process, and answers the operation that is timed."""

    name: str
    open: Callable[[Mapping[str, Any], int], Operation]
    given: Mapping[str, Any]
    # How often at most in one turn, by all processes together.
    most: int | None = None
    # Before each turn, in the process of the benchmark.
    before: Callable[[], None] = field(default=lambda: None)


@dataclass(frozen=True)
class Turn:
    """What one side did in one round; latencies in seconds."""

    done: int
    seconds: float
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        return self.done / self.seconds

    @property
    def median(self) -> float:
        return statistics.median(self.latencies)


class LoadFailed(Exception):
    """A process of the load could not do what it was to do."""


class Team:
    """The processes, from the beginning to the end of the block."""

    def __init__(self, number: int, sides: Sequence[Side]) -> None:
        self._sides = {side.name: side for side in sides}
        opens = {side.name: (side.open, side.given) for side in sides}
        spawn = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for index in range(number):
            ours, theirs = spawn.Pipe()
            self._pipes.append(ours)
            process = spawn.Process(target=_work, args=(theirs, opens, index), daemon=True)
            self._processes.append(process)

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        for pipe in self._pipes:
            _answer(pipe, START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            process.kill()

    def turn(self, name: str, seconds: float) -> Turn:
        """Raises LoadFailed."""
        side = self._sides[name]
        side.before()
        most = None if side.most is None else max(1, side.most // len(self._pipes))
        for pipe in self._pipes:
            pipe.send((name, seconds, most))
        done = [_answer(pipe, seconds + SILENCE_SECONDS) for pipe in self._pipes]
        latencies = tuple(latency for each, _ in done for latency in each)
        return Turn(len(latencies), max(seconds for _, seconds in done), latencies)


def interleave(
    number: int, sides: Sequence[Side], rounds: int, seconds: float
) -> dict[str, list[Turn]]:
    """The turns of each side. One turn of each that does not count comes first, then the sides
    follow each other in every round, in turned order every other time."""
    turns: dict[str, list[Turn]] = {side.name: [] for side in sides}
    with Team(number, sides) as team:
        for side in sides:
            team.turn(side.name, seconds / 4)
        for count in range(rounds):
            for side in sides if count % 2 == 0 else reversed(sides):
                turns[side.name].append(team.turn(side.name, seconds))
    return turns


def _answer(pipe: Connection, seconds: float) -> Any:
    try:
        answer = pipe.recv() if pipe.poll(seconds) else "no answer came"
    except EOFError:
        answer = "a process of the load has ended"
    if isinstance(answer, str):
        raise LoadFailed(answer)
    return answer


# --- in the processes ------------------------------------------------------------------------


def _work(pipe: Connection, opens: Mapping[str, Any], number: int) -> None:
    operations: dict[str, Operation] = {}
    pipe.send(())
    while True:
        try:
            name, seconds, most = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            if name not in operations:
                open_side, given = opens[name]
                operations[name] = open_side(given, number)
            pipe.send(_repeat(operations[name], seconds, most))
        except Exception:
            pipe.send(traceback.format_exc())


def _repeat(operation: Operation, seconds: float, most: int | None) -> tuple[list[float], float]:
    latencies: list[float] = []
    start = now = time.perf_counter()
    while now < start + seconds and (most is None or len(latencies) < most):
        operation()
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    return latencies, now - start
