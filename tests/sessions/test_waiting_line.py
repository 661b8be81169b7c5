"""Who is offered what: first come, first served, and nobody kept from what they alone can take."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from sessions.queue import Offer
from sessions.waiting_line import HANGS_AFTER_SECONDS, MOST_BARREN, Line, Look, Waiter

ORGANIZATION, PROFILE, OTHER = uuid4(), uuid4(), uuid4()
NOW = 1000.0


def offer(profile: UUID = PROFILE, **labels: str) -> Offer:
    wanted = frozenset(labels.items())
    return Offer(hash((profile, wanted)), profile, wanted)


def waiter(*profiles: UUID, most: int = 1, **labels: str) -> Waiter:
    return Waiter(ORGANIZATION, frozenset(profiles), frozenset(labels.items()), most)


def line_of(*waiters: Waiter) -> Line:
    """All of them have asked, in vain, before the news that is now being looked into."""
    line = Line()
    for each in waiters:
        line.enter(each)
        each.asked_in = line.round
    line.begin_round()
    return line


def look(line: Line, *offers: Offer) -> Look:
    made = Look(line, NOW)
    made.make(offers)
    return made


@pytest.mark.proves("claim.first-come")
def test_the_first_to_come_is_the_first_to_be_offered_something() -> None:
    first, second, third = waiter(), waiter(), waiter()
    look(line_of(first, second, third), offer(), offer())
    assert [first.offers, second.offers, third.offers] == [1, 1, 0]
    assert first.stirred.is_set()
    assert not third.stirred.is_set()


def test_an_offer_goes_past_those_who_cannot_take_it_and_they_keep_their_place() -> None:
    elsewhere, plain, able = waiter(OTHER), waiter(), waiter(gpu="a100", zone="b")
    line = line_of(elsewhere, plain, able)
    look(line, offer(gpu="a100"))
    assert [elsewhere.offers, plain.offers, able.offers] == [0, 0, 1]
    look(line, offer(gpu="a100"), offer(OTHER), offer())
    assert [elsewhere.offers, plain.offers, able.offers] == [1, 1, 1]


def test_who_would_take_several_is_offered_as_many_before_the_next() -> None:
    many, one = waiter(most=3), waiter()
    line = line_of(many, one)
    look(line, *[offer()] * 3)
    assert (many.offers, one.offers) == (3, 0)
    look(line, *[offer()] * 4)
    assert (many.offers, one.offers) == (3, 1)


def test_who_has_asked_since_the_news_is_passed_over_until_there_is_more() -> None:
    first, second = waiter(), waiter()
    line = line_of(first, second)
    first.asked_in = line.round
    look(line, offer())
    assert (first.offers, second.offers) == (0, 1)
    second.offers = 0
    line.begin_round()
    look(line, offer())
    assert (first.offers, second.offers) == (1, 0)


def test_who_is_asking_already_takes_the_offer_instead_of_the_next() -> None:
    asking, idle = waiter(), waiter()
    asking.asking_since = NOW
    look(line_of(asking, idle), offer())
    assert (asking.offers, idle.offers) == (1, 0)


def test_an_ask_that_hangs_holds_up_nobody() -> None:
    hanging, idle = waiter(), waiter()
    hanging.asking_since = NOW - HANGS_AFTER_SECONDS
    look(line_of(hanging, idle), offer())
    assert (hanging.offers, idle.offers) == (0, 1)


def test_what_nobody_here_could_take_is_remembered_until_somebody_could() -> None:
    line = line_of(waiter())
    look(line, offer(gpu="a100"), offer(), offer(gpu="a100"))
    assert line.barren == {offer(gpu="a100")}
    assert Look(line, NOW).closed == {offer(gpu="a100").lane}
    line.enter(waiter(zone="b"))
    assert line.barren == {offer(gpu="a100")}
    line.enter(waiter(gpu="a100", zone="b"))
    assert line.barren == set()


def test_a_lane_is_closed_once_nobody_is_left_for_it_and_the_next_look_begins_anew() -> None:
    line = line_of(waiter())
    made = Look(line, NOW)
    assert not made.make([offer()])
    assert made.make([offer()])
    assert made.closed == {offer().lane}
    assert line.barren == set()
    assert Look(line, NOW).closed == set()


def test_what_is_remembered_has_a_bound() -> None:
    line = line_of(waiter())
    look(line, *[offer(number=str(n)) for n in range(MOST_BARREN + 10)])
    assert len(line.barren) == MOST_BARREN


def test_who_was_offered_something_in_this_look_has_no_room_for_more() -> None:
    first, second = waiter(), waiter(OTHER)
    made = Look(line_of(first, second), NOW)
    made.make([offer()])
    made.make([offer(OTHER)])
    assert [first.offers, second.offers] == [1, 1]


def test_who_has_left_between_two_steps_of_a_look_is_offered_nothing() -> None:
    first, second = waiter(), waiter()
    line = line_of(first, second)
    made = Look(line, NOW)
    del line.waiters[first]
    made.make([offer()])
    assert [first.offers, second.offers] == [0, 1]


def test_no_more_are_woken_than_a_profile_or_a_key_lets_run() -> None:
    waiters = [waiter() for _ in range(6)]
    two_at_once = offer()._replace(profile_limit=2)
    other_labels = offer(zone="b")._replace(profile_limit=2)
    keyed = offer(OTHER)._replace(key="customer-7", key_limit=1)
    line = line_of(*waiters, waiter(zone="b"))
    made = Look(line, NOW)
    assert made.make([two_at_once, other_labels, two_at_once, keyed, keyed])
    assert sum(each.offers for each in line.waiters) == 3
    assert made.closed == {two_at_once.lane}


@pytest.mark.parametrize("labels", [{}, {"gpu": "a100"}])
def test_five_hundred_alike_are_compared_once_with_each_waiter(labels: dict[str, str]) -> None:
    compared: list[Any] = []

    class Counting(Waiter):
        def could_take(self, offer: Offer) -> bool:
            compared.append(offer)
            return super().could_take(offer)

    waiters = [Counting(ORGANIZATION, labels=frozenset(labels.items())) for _ in range(500)]
    line = line_of(*waiters)
    look(line, *[offer(**labels)] * 500)
    assert len(compared) == 500
    assert all(each.offers == 1 for each in waiters)
