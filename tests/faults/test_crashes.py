"""kill -9 under load, of whatever there is to kill; the clients keep a journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from django.db import connections

from tests.commands.product import Product, eventually, new_data_dir, remove_data_dir
from tests.faults import oracle
from tests.faults.crash_house import CrashHouse, pointed_at
from tests.faults.load import Load
from tests.recording import Figures

WRITES_BETWEEN = 20
Length = Callable[..., int]


@pytest.fixture(scope="module")
def house(django_db_setup: None) -> Iterator[CrashHouse]:
    data_dir = new_data_dir()
    product = Product(data_dir)
    try:
        with pointed_at(data_dir):
            yield CrashHouse(product)
    finally:
        product.close()
    product.wait_until_gone()
    remove_data_dir(data_dir)


def kills(house: CrashHouse, **numbers: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """So many of each, by the name under which they are counted; each time in the next way."""
    ways: dict[str, list[Callable[[], None]]] = {
        "postgresql": [house.kill_postmaster, house.kill_backend],
        "worker": [
            house.kill_worker,
            partial(house.kill_at, "worker.before-commit"),
            partial(house.kill_at, "worker.after-commit"),
        ],
        "loop": [house.kill_loop, partial(house.kill_at, "loop.before-commit")],
    }
    for number in range(max(numbers.values())):
        for name, ways_of in ways.items():
            if number < numbers[name]:
                yield f"kills of {name}", ways_of[number % len(ways_of)]


def under_fire(
    house: CrashHouse, directory: Path, figures: Figures, events: int = 20, **numbers: int
) -> None:
    org, target = house.new_target()
    with Load(target, directory, events) as load:
        for name, kill in kills(house, **numbers):
            figures.count(name)
            figures.most(
                "ms at most until the next claim", round(house.recovered_after(kill, load))
            )
            more = load.acknowledged + WRITES_BETWEEN
            eventually(lambda more=more: load.acknowledged > more, "work goes on")
            figures.tell()
    connections.close_all()
    load.assert_well()
    oracle.assert_nothing_is_stuck(org, house.product)
    for what, number in oracle.assert_kept(org, load.journals).items():
        figures.count(what, number)


@pytest.mark.proves(
    "crash.acknowledged",
    "crash.all-or-nothing",
    "crash.retry-once",
    "crash.ledger-whole",
    "crash.503",
    "crash.back",
    "crash.kept-alive",
    "stuck.nothing-overdue",
)
def test_nothing_that_was_acknowledged_is_lost_or_doubled(
    house: CrashHouse, tmp_path: Path, figures: Figures
) -> None:
    under_fire(house, tmp_path, figures, postgresql=3, worker=3, loop=3)


@pytest.mark.nightly
@pytest.mark.proves(
    "crash.acknowledged",
    "crash.all-or-nothing",
    "crash.retry-once",
    "crash.ledger-whole",
    "crash.503",
    "crash.back",
    "crash.kept-alive",
    "stuck.nothing-overdue",
)
def test_nothing_that_was_acknowledged_is_lost_or_doubled_in_hundreds_of_crashes(
    house: CrashHouse, tmp_path: Path, figures: Figures, length: Length
) -> None:
    numbers = {"postgresql": length(200), "worker": length(300), "loop": length(100)}
    under_fire(house, tmp_path, figures, events=200, **numbers)


@pytest.mark.proves("tests.controls")
def test_an_answer_before_the_commit_is_safe_is_caught_here(
    house: CrashHouse, tmp_path: Path
) -> None:
    """Within three kills: what is lost are the answers of the last tenths of a second."""
    org, target = house.new_target()
    with house.answering_too_soon(), Load(target, tmp_path) as load:
        for _ in range(3):
            house.recovered_after(house.kill_postmaster, load)
    connections.close_all()
    oracle.assert_nothing_is_stuck(org, house.product)
    with pytest.raises(AssertionError):
        oracle.assert_kept(org, load.journals)
