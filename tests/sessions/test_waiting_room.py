"""The waiting room on the real queue: what is on offer is always with somebody who can take it.

Each test is its own clock: a room looks where and when the test says, unless it is opened, when it
listens and looks by itself. What a waiter's ask brings is the test's to say; asking for real is
tested over HTTP in tests/live_claims.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections, transaction

from keeptrusts_runners import clock
from profiles.models import RunnerProfile
from sessions import listening, queue, waiting_room, wakeups
from sessions.listening import Listener, for_ever
from sessions.models import RunnerSession
from sessions.waiting_line import MOST_IN_VAIN, Waiter
from sessions.waiting_room import Outcome, WaitingRoom
from tests import factories
from tests.people import Org

TAKEN, EMPTY, REFUSED = Outcome.TAKEN, Outcome.EMPTY, Outcome.REFUSED
LONG = 60.0


class Client:
    """One who waits. Its answers come in the order given; the last of them again and again."""

    def __init__(
        self, room: WaitingRoom, org: Org, *answers: Outcome | Exception, **wish: Any
    ) -> None:
        self.room, self.answers, self.asked = room, list(answers), 0
        self.waiter = Waiter(org.id, **wish)

    async def ask(self) -> Outcome:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, seconds: float = LONG) -> asyncio.Task[None]:
        self.served = asyncio.create_task(self.room.serve(self.waiter, self.ask, seconds))
        return self.served

    def has_asked(self, times: int) -> bool:
        return self.asked == times and self.waiter.asking_since is None


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


async def parked(*clients: Client) -> None:
    for client in clients:
        client.wait()
        await until(lambda client=client: client.has_asked(1))  # type: ignore[misc]


def run(scenario: Callable[[WaitingRoom], Awaitable[None]]) -> None:
    """Play a scenario in a room that attends to what it is told, and does nothing by itself."""

    async def play() -> None:
        room = WaitingRoom(turns=2)
        attending = asyncio.create_task(room.attend())
        try:
            async with asyncio.timeout(20):
                await scenario(room)
        finally:
            attending.cancel()
            await leave(room)

    asyncio.run(play())


async def leave(room: WaitingRoom) -> None:
    await asyncio.get_running_loop().run_in_executor(room._looker, connections.close_all)
    await room.close()


def pending(org: Org, number: int = 1, on: RunnerProfile | None = None, **fields: Any) -> None:
    on = on or factories.profile(org)
    for _ in range(number):
        factories.pending(org, on, **fields)


# --- passing on ------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [EMPTY, REFUSED])
def test_who_gets_nothing_passes_the_offer_on_to_the_next_at_once(answer: Outcome) -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        first, second = Client(room, org, EMPTY, answer), Client(room, org, EMPTY, TAKEN)
        third = Client(room, org, EMPTY, TAKEN)
        await parked(first, second, third)
        await asyncio.to_thread(pending, org)
        room.look_at([org.id], news=True)
        await second.served
        assert (first.asked, second.asked, third.asked) == (2, 2, 1)

    run(scenario)


def test_an_ask_that_fails_passes_its_offer_on() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        first = Client(room, org, EMPTY, ConnectionError())
        second = Client(room, org, EMPTY, TAKEN)
        await parked(first, second)
        await asyncio.to_thread(pending, org)
        room.look_at([org.id], news=True)
        with pytest.raises(ConnectionError):
            await first.served
        await second.served

    run(scenario)


def test_who_has_gone_takes_no_offer_along() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        first, second = Client(room, org, EMPTY, TAKEN), Client(room, org, EMPTY, TAKEN)
        await parked(first, second)
        await asyncio.to_thread(pending, org)
        await room.offer(org.id, news=True)
        first.waiter.leave()  # before its turn came to ask
        await asyncio.gather(first.served, second.served)
        assert (first.asked, second.asked) == (1, 2)

    run(scenario)


def test_who_took_less_than_was_offered_passes_on_the_rest() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        many = Client(room, org, EMPTY, TAKEN, most=5)
        one = Client(room, org, EMPTY, TAKEN)
        await parked(many, one)
        await asyncio.to_thread(pending, org, 3)
        room.look_at([org.id], news=True)
        await asyncio.gather(many.served, one.served)

    run(scenario)


@pytest.mark.proves("claim.first-come")
def test_who_asked_in_vain_keeps_its_place() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        first = Client(room, org, EMPTY, EMPTY, TAKEN)
        second, third = Client(room, org, EMPTY, TAKEN), Client(room, org, EMPTY, TAKEN)
        await parked(first, second, third)
        await asyncio.to_thread(pending, org)
        room.look_at([org.id], news=True)
        await second.served
        room.look_at([org.id], news=True)
        await first.served
        assert third.asked == 1

    run(scenario)


def test_an_offer_that_comes_during_an_ask_is_asked_for_after_it() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        asking, goes_on = asyncio.Event(), asyncio.Event()
        client = Client(room, org, EMPTY, TAKEN)

        async def slowly() -> Outcome:
            asking.set()
            await goes_on.wait()
            return await client.ask()

        served = asyncio.create_task(room.serve(client.waiter, slowly, LONG))
        await asking.wait()
        await asyncio.to_thread(pending, org)
        await room.offer(org.id, news=True)
        goes_on.set()
        await served
        assert client.asked == 2

    run(scenario)


def test_what_nobody_gets_is_asked_for_by_a_few_and_not_by_all() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        clients = [Client(room, org, EMPTY) for _ in range(2 * MOST_IN_VAIN)]
        await parked(*clients)
        await asyncio.to_thread(pending, org)
        await room.offer(org.id, news=True)
        await until(lambda: sum(each.asked for each in clients) > len(clients) + MOST_IN_VAIN)
        await room.offer(org.id, news=False)
        again = [each for each in clients if each.asked > 1 or each.waiter.offers]
        assert len(again) <= MOST_IN_VAIN + 2

    run(scenario)


# --- which offers there are ------------------------------------------------------------------


def test_what_nobody_can_take_hides_nothing_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_room, "LEAST_OFFERS", 2)
    org = Org()
    profile = factories.profile(org)
    for gpu in ("a100", "h100", "l4"):
        pending(org, 2, profile, labels={"gpu": gpu})

    async def scenario(room: WaitingRoom) -> None:
        client = Client(room, org, EMPTY, TAKEN)
        await parked(client)
        await room.offer(org.id, news=True)
        assert client.waiter.offers == 0
        await asyncio.to_thread(pending, org, 1, profile)
        room.look_at([org.id], news=True)
        await client.served

    run(scenario)


def test_what_only_one_can_take_hides_nothing_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting_room, "LEAST_OFFERS", 2)
    org = Org()
    profile = factories.profile(org)
    pending(org, 3, profile, labels={"gpu": "a100"})
    pending(org, 1, profile)

    async def scenario(room: WaitingRoom) -> None:
        able = Client(room, org, EMPTY, TAKEN, labels=frozenset({("gpu", "a100")}))
        plain = Client(room, org, EMPTY, TAKEN)
        await parked(able, plain)
        await room.offer(org.id, news=True)
        await asyncio.gather(able.served, plain.served)

    run(scenario)


def test_no_more_are_woken_than_may_run_at_once() -> None:
    org = Org()
    pending(org, 3, factories.profile(org, max_concurrent_sessions=1))
    pending(org, 3, concurrency_key="customer-7")
    pending(org)

    async def scenario(room: WaitingRoom) -> None:
        clients = [Client(room, org, EMPTY, TAKEN) for _ in range(4)]
        await parked(*clients)
        await room.offer(org.id, news=True)
        await asyncio.gather(*(each.served for each in clients[:3]))
        assert clients[3].asked == 1

    run(scenario)


def test_organizations_with_work_are_those_where_a_session_s_time_has_come() -> None:
    now, put_off, later, over, idle, unasked = (Org() for _ in range(6))
    hour = timedelta(hours=1)
    pending(now, 2)
    pending(unasked)
    pending(put_off, not_before=clock.now() + hour)
    pending(later, not_before=clock.now() + hour)
    pending(over)
    with put_off.scope():
        RunnerSession.objects.update(not_before=clock.now() - timedelta(seconds=1))
    with over.scope():
        RunnerSession.objects.update(deadline_at=clock.now() - timedelta(seconds=1))
    asked = [now.id, put_off.id, later.id, over.id, idle.id]
    assert queue.organizations_with_work(asked) == {now.id, put_off.id}


def test_only_the_application_may_ask_which_organizations_have_work() -> None:
    allowed = "SELECT has_function_privilege(%s, 'kt_organizations_with_work(uuid[])', 'EXECUTE')"
    answers = {}
    for role in ("keeptrusts_app", "keeptrusts_maintain", "keeptrusts_forensics", "public"):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(allowed, [role])
            answers[role] = cursor.fetchone()[0]
    assert [role for role, may in answers.items() if may] == ["keeptrusts_app"]


# --- the end of waiting ----------------------------------------------------------------------


def test_when_the_time_is_over_nothing_is_asked_again() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        client = Client(room, org, EMPTY)
        await client.wait(0.01)
        assert client.asked == 1

    run(scenario)


def test_who_is_sent_away_does_not_ask_again() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        clients = [Client(room, org, EMPTY) for _ in range(3)]
        await parked(*clients)
        room.dismiss()
        await asyncio.gather(*(each.served for each in clients))
        assert [each.asked for each in clients] == [1, 1, 1]

    run(scenario)


@pytest.mark.parametrize("answer", [TAKEN, REFUSED])
def test_what_is_answered_at_once_never_waits(answer: Outcome) -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        client = Client(room, org, answer)
        await client.wait()
        assert client.asked == 1
        assert not room._lines

    run(scenario)


def test_who_has_gone_frees_the_place_at_once() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        client = Client(room, org, EMPTY)
        await parked(client)
        client.waiter.leave()
        await client.served
        assert not room._lines

    run(scenario)


def test_no_more_ask_at_once_than_there_are_turns() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        goes_on = asyncio.Event()
        asking: list[int] = []

        async def one_of_many(number: int) -> None:
            async def ask() -> Outcome:
                asking.append(number)
                await goes_on.wait()
                return TAKEN

            await room.serve(Waiter(org.id), ask, LONG)

        served = [asyncio.create_task(one_of_many(number)) for number in range(5)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert asking == [0, 1]
        goes_on.set()
        await asyncio.gather(*served)
        assert asking == [0, 1, 2, 3, 4]

    run(scenario)


def test_who_goes_before_its_turn_has_come_never_asks() -> None:
    org = Org()

    async def scenario(room: WaitingRoom) -> None:
        goes_on = asyncio.Event()

        async def slowly() -> Outcome:
            await goes_on.wait()
            return TAKEN

        busy = [asyncio.create_task(room.serve(Waiter(org.id), slowly, LONG)) for _ in range(2)]
        leaving = Client(room, org, TAKEN)
        leaving.wait()
        await asyncio.sleep(0)
        leaving.waiter.leave()
        goes_on.set()
        await asyncio.gather(*busy, leaving.served)
        assert leaving.asked == 0

    run(scenario)


# --- reasons to look -------------------------------------------------------------------------


def open_room(scenario: Callable[[WaitingRoom], Awaitable[None]], *, deaf: bool = False) -> None:
    """Play a scenario in a room that looks by itself, and listens unless it is deaf."""

    async def play() -> None:
        room = WaitingRoom(turns=2)
        room.open()
        hearing = None
        if not deaf:
            listener = Listener({wakeups.CLAIMABLE: room.ear})
            hearing = asyncio.create_task(for_ever(listener.listen))
        try:
            async with asyncio.timeout(20):
                await scenario(room)
        finally:
            if hearing is not None:
                hearing.cancel()
            await leave(room)

    asyncio.run(play())


def listeners() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE 'LISTEN %'"
        )
        return [row[0] for row in cursor.fetchall()]


def end(pid: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [pid])


@pytest.fixture
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_room, "LOOK_SECONDS", 3600)


@pytest.mark.usefixtures("never_by_itself")
def test_a_commit_is_heard_of() -> None:
    org, others = Org(), listeners()

    async def scenario(room: WaitingRoom) -> None:
        client = Client(room, org, EMPTY, TAKEN)
        await parked(client)
        await until_listening(others)
        await asyncio.to_thread(pending, org)
        await client.served

    open_room(scenario)


async def until_listening(others: list[int]) -> int:
    """The backend that the room listens on. Other servers may listen here as well."""
    async with asyncio.timeout(30):
        while not (ours := [p for p in await asyncio.to_thread(listeners) if p not in others]):
            await asyncio.sleep(0.01)
    return ours[0]


@pytest.mark.usefixtures("never_by_itself")
def test_what_was_not_heard_while_the_connection_was_gone_is_looked_for_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listening, "LATER_SECONDS", 0.01)
    org, others = Org(), listeners()

    async def scenario(room: WaitingRoom) -> None:
        client = Client(room, org, EMPTY, TAKEN)
        await parked(client)
        lost = await until_listening(others)
        monkeypatch.setattr(wakeups._notifier, "add", lambda organization_id: None)
        await asyncio.to_thread(pending, org)
        assert client.asked == 1
        await asyncio.to_thread(end, lost)
        await client.served

    open_room(scenario)


@pytest.mark.proves("claim.lost-signal")
def test_without_any_signal_all_are_looked_for_however_busy_one_of_them_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting_room, "LOOK_SECONDS", 0.05)
    busy, quiet = Org(), Org()
    looked: list[set[UUID]] = []
    look = queue.organizations_with_work
    monkeypatch.setattr(
        queue, "organizations_with_work", lambda among: looked.append(set(among)) or look(among)
    )

    async def scenario(room: WaitingRoom) -> None:
        noisy, client = Client(room, busy, EMPTY), Client(room, quiet, EMPTY, TAKEN)
        await parked(noisy, client)
        await asyncio.to_thread(pending, quiet)
        while not client.served.done():
            room.look_at([busy.id], news=True)
            await asyncio.sleep(0)
        assert {busy.id, quiet.id} in looked

    open_room(scenario, deaf=True)


def test_a_look_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_room, "LOOK_SECONDS", 0.05)
    org = Org()
    failures = ["once", "twice"]
    look = queue.organizations_with_work

    def fail_first(among: Any) -> set[UUID]:
        if failures:
            raise RuntimeError(failures.pop())
        return look(among)

    monkeypatch.setattr(queue, "organizations_with_work", fail_first)

    async def scenario(room: WaitingRoom) -> None:
        client = Client(room, org, EMPTY, TAKEN)
        await parked(client)
        await asyncio.to_thread(pending, org)
        await client.served

    open_room(scenario)
