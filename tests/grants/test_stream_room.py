"""The stream room without a server: what its viewers are sent, and what goes wrong around them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import pytest
from django.db import connections

from grants import following, queries, stream_room, viewers
from grants.stream_room import StreamRoom
from grants.streams import OrganizationStream, PageStream, SessionStream
from grants.viewers import OrganizationViewer, PageViewer, SessionViewer, Viewer, viewer_of
from keeptrusts_runners import ids
from keeptrusts_runners.api import event_stream
from keeptrusts_runners.errors import MissingScope
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.tokens import Claims
from sessions import wakeups
from sessions.models import RunnerSession
from tests import factories
from tests.people import Org, token_of


def _read(principal: Principal) -> None:
    principal.require(Scope.READ)


class Watched(Org):
    """An organization with a viewer, whose token is made outside any loop."""

    @cached_property
    def bearer(self) -> Claims:
        return tokens.verify(token_of(self.viewer.principal))


def session_viewer(org: Watched, session: RunnerSession, after: int = 0) -> SessionViewer:
    found = queries.events(session)
    stream = SessionStream(org.id, org.bearer, _read, session.id, found, session.id, after)
    viewer = viewer_of(stream)
    assert isinstance(viewer, SessionViewer)
    return viewer


def organization_viewer(org: Watched) -> OrganizationViewer:
    viewer = viewer_of(OrganizationStream(org.id, org.bearer, _read))
    assert isinstance(viewer, OrganizationViewer)
    return viewer


def page_viewer(org: Watched, *topics: str, since: int | None = 2**50, **heads: int) -> PageViewer:
    """A page that knows all there is unless it says since when it does not."""
    known = {UUID(session): seq for session, seq in heads.items()}
    viewer = viewer_of(
        PageStream(org.id, org.bearer, _read, "user", frozenset(topics), known, since)
    )
    assert isinstance(viewer, PageViewer)
    return viewer


def play(scenario: Callable[[StreamRoom], Awaitable[None]]) -> None:
    """In a room whose duties do not run by themselves."""

    async def run() -> None:
        room = StreamRoom(most=10)
        try:
            async with asyncio.timeout(20):
                await scenario(room)
        finally:
            await _close_connections(room)
            await room.close()

    asyncio.run(run())


async def _close_connections(room: StreamRoom) -> None:
    """Each thread's, which it alone can close."""
    all_here = threading.Barrier(stream_room.THREADS)

    def close() -> None:
        all_here.wait(20)
        connections.close_all()

    loop = asyncio.get_running_loop()
    closing = (loop.run_in_executor(room._readers, close) for _ in range(stream_room.THREADS))
    await asyncio.gather(*closing)


async def sent(room: StreamRoom, viewer: Viewer, number: int) -> list[bytes]:
    """The next so many pieces, for one who comes now and then leaves."""
    pieces: list[bytes] = []
    async with aclosing(room.follow(viewer)) as news:
        async for piece in news:
            pieces.append(piece)
            if len(pieces) == number:
                break
    return pieces


@pytest.fixture
def org() -> Watched:
    made = Watched()
    assert all((made.bearer, made.operator, made.runner))
    return made


@pytest.fixture
def session(org: Watched) -> RunnerSession:
    return factories.running(org)


# --- reading ---------------------------------------------------------------------------------


def test_those_who_are_at_the_same_place_are_read_for_together(
    org: Watched, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    stretch_of = following.stretch_of

    def counted(organization_id: UUID, found: Any, session_id: UUID, after: int) -> Any:
        read.append(after)
        return stretch_of(organization_id, found, session_id, after)

    monkeypatch.setattr(following, "stretch_of", counted)

    async def scenario(room: StreamRoom) -> None:
        crowd = [session_viewer(org, session, after=2) for _ in range(5)]
        pieces = await asyncio.gather(*(sent(room, viewer, 1) for viewer in crowd))
        assert len({tuple(piece) for piece in pieces}) == 1
        assert pieces[0][0].startswith(b"id: 3\n")

    play(scenario)
    assert read == [2]


def test_a_read_that_fails_is_made_again(
    org: Watched, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_room, "LATER_SECONDS", 0)
    failures, stretch_of = [RuntimeError("once"), RuntimeError("twice")], following.stretch_of

    def fail_first(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return stretch_of(*arguments)

    monkeypatch.setattr(following, "stretch_of", fail_first)

    async def scenario(room: StreamRoom) -> None:
        (piece,) = await sent(room, session_viewer(org, session), 1)
        assert piece.count(b"event: event\n") == 4

    play(scenario)
    assert not failures


@pytest.mark.proves("live.lost-signal")
def test_one_look_finds_whatever_has_grown(org: Watched, session: RunnerSession) -> None:
    async def scenario(room: StreamRoom) -> None:
        behind, ahead = session_viewer(org, session, 3), session_viewer(org, session, 4)
        for viewer in (behind, ahead):
            room._admit(viewer)
            viewer.behind = False
        await room.look()
        assert (behind.has_news, ahead.has_news) == (True, False)

    play(scenario)


@pytest.mark.proves("access.tenancy")
def test_a_stream_reads_nothing_of_another_organization(session: RunnerSession) -> None:
    """Whatever a view might hand over by mistake."""
    other = Watched()
    stream = session_viewer(other, session).stream
    with pytest.raises(ValueError, match="not enough values"):
        stream.read(0)


# --- access ----------------------------------------------------------------------------------


@pytest.mark.proves("live.ends-with-access")
def test_a_token_that_is_over_ends_its_stream(org: Watched, session: RunnerSession) -> None:
    async def scenario(room: StreamRoom) -> None:
        viewer, other = session_viewer(org, session, 4), session_viewer(org, session, 4)
        bearer = viewer.stream.bearer
        past = replace(bearer, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
        viewer.stream = replace(viewer.stream, bearer=past)
        await room.check([viewer, other])
        assert (viewer.over, other.over) == ("invalid_token", "")
        assert await sent(room, viewer, 2) == [event_stream.bye("invalid_token")]

    play(scenario)


@pytest.mark.proves("live.ends-with-access")
def test_access_is_looked_at_before_the_end(org: Watched, session: RunnerSession) -> None:
    answer = org.operator.api.post(factories.path(session, "cancel"), {"force": True})
    assert answer.status_code == 200

    def closed(principal: Principal) -> None:
        raise MissingScope

    async def scenario(room: StreamRoom) -> None:
        viewer = session_viewer(org, session)
        viewer.stream = replace(viewer.stream, authorize=closed)
        *_, last = await sent(room, viewer, 9)
        assert last == event_stream.bye("missing_scope")

    play(scenario)


@pytest.mark.proves("live.ends-with-access")
def test_access_that_cannot_be_looked_at_is_not_taken_on_trust_for_long(
    org: Watched, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no database")

    monkeypatch.setattr(following, "bearers", fail)

    async def scenario(room: StreamRoom) -> None:
        viewer = session_viewer(org, session)
        viewer.checked_at = 100.0
        await room.check([viewer])
        viewer.distrust(100.0 + viewers.TRUST_SECONDS)
        assert viewer.over == ""
        viewer.distrust(100.1 + viewers.TRUST_SECONDS)
        assert viewer.over == "database_unavailable"

    play(scenario)


# --- hints -----------------------------------------------------------------------------------


@pytest.mark.proves("live.hints")
def test_whoever_may_have_missed_something_is_told_to_begin_anew(org: Watched) -> None:
    async def scenario(room: StreamRoom) -> None:
        viewer = organization_viewer(org)
        room._admit(viewer)
        viewer.tell({ids.new(): b"hint"})
        room.hear(wakeups.LOST_WORD)
        assert viewer.take() == event_stream.RESET
        assert not viewer.has_news

    play(scenario)


@pytest.mark.proves("live.hints")
def test_a_slow_viewer_owes_so_many_hints_and_then_a_reset(org: Watched) -> None:
    viewer = organization_viewer(org)
    one = ids.new()
    for number in range(3 * viewers.MOST_HINTS):
        viewer.tell({one: b"%d" % number})
    assert viewer.take() == b"%d" % (3 * viewers.MOST_HINTS - 1)
    for _ in range(viewers.MOST_HINTS + 1):
        viewer.tell({ids.new(): b"hint"})
    assert viewer.take() == event_stream.RESET


@pytest.mark.proves("live.hints")
def test_hints_that_cannot_be_read_become_a_reset(
    org: Watched, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no database")

    monkeypatch.setattr(following, "positions", fail)

    async def scenario(room: StreamRoom) -> None:
        viewer = organization_viewer(org)
        room._admit(viewer)
        await room._give_hints(org.id, {session.id})
        assert viewer.take() == event_stream.RESET

    play(scenario)


# --- pages -----------------------------------------------------------------------------------


@pytest.mark.proves("live.signals")
def test_a_page_that_may_have_missed_something_is_told_all_its_topics(org: Watched) -> None:
    async def scenario(room: StreamRoom) -> None:
        viewer = page_viewer(org, "sessions", "fleet")
        room._admit(viewer)
        assert not viewer.has_news
        room.hear_of_change(wakeups.LOST_WORD)
        assert viewer.changed == {"sessions", "fleet"}

    play(scenario)


@pytest.mark.proves("live.signals")
def test_a_page_is_told_what_changed_since_it_was_drawn(org: Watched) -> None:
    async def scenario(room: StreamRoom) -> None:
        room._heard_since = 0
        room.hear_of_change(f"{org.id} sessions")
        drawn = room._changed[org.id, "sessions"]
        before, after, blank = (
            page_viewer(org, "sessions", "fleet", since=since)
            for since in (drawn, drawn + stream_room.SKEW_MS + 1, None)
        )
        for viewer in (before, after, blank):
            room._admit(viewer)
        assert (before.changed, after.changed) == ({"sessions"}, set())
        assert blank.changed == {"sessions", "fleet"}

    play(scenario)


@pytest.mark.proves("live.lost-signal")
def test_one_look_tells_a_page_how_far_its_session_has_come(
    org: Watched, session: RunnerSession
) -> None:
    async def scenario(room: StreamRoom) -> None:
        viewer = page_viewer(org, **{str(session.id): 2})
        room._admit(viewer)
        viewer.take(1)
        await room.look()
        assert viewer.grown == {session.id: 4}
        viewer.take(2)
        await room.look()
        assert not viewer.has_news

    play(scenario)


def test_places_of_one_owner_are_given_back_and_forgotten() -> None:
    room = StreamRoom(most=10)
    with ExitStack() as held:
        taken = [held.enter_context(room.place_of("user")) for _ in range(6)]
        assert taken == [True] * stream_room.MOST_OF_ONE + [False]
        assert all(held.enter_context(room.place_of(None)) for _ in range(6))
    assert room._owned == {}


# --- the room --------------------------------------------------------------------------------


@pytest.mark.proves("live.stop")
def test_a_closed_room_sends_away_whoever_comes(org: Watched, session: RunnerSession) -> None:
    async def scenario(room: StreamRoom) -> None:
        room.dismiss()
        pieces = await sent(room, session_viewer(org, session), 2)
        assert pieces == [event_stream.bye("stopping")]

    play(scenario)


def test_whoever_left_is_forgotten(org: Watched, session: RunnerSession) -> None:
    async def scenario(room: StreamRoom) -> None:
        await sent(room, session_viewer(org, session), 1)
        gone = organization_viewer(org)
        gone.leave()
        assert await sent(room, gone, 1) == []
        assert room._viewers() == []
        assert {**room._sessions, **room._organizations} == {}

    play(scenario)


def test_places_are_given_back() -> None:
    room = StreamRoom(most=1)
    with room.place() as first, room.place() as second:
        assert (first, second) == (True, False)
    with room.place() as third:
        assert third
