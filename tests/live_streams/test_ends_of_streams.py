"""What ends a stream, or would in a lesser server: lost access, lost signals, stops, and crowds."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

import pytest
from django.db import connections

from keeptrusts_runners import ids
from keeptrusts_runners.identity.models import Membership, ServiceAccount, User
from keeptrusts_runners.identity.scopes import Role
from tests import factories
from tests.live import STOP_SECONDS, LiveApi, serving, until
from tests.live_streams.reading import Stream, complete, follow, patched, record
from tests.people import Machine, Org, Person, client, token_of

HINTS = "/runners/events/stream"


@pytest.fixture
def org(django_db_setup: None) -> Org:
    made = Org()
    assert all((made.admin, made.viewer, made.operator, made.runner))
    return made


# --- access ----------------------------------------------------------------------------------


def revoke_token(org: Org, who: Person | Machine, token: str) -> None:
    answer = client().post(
        "/v1/auth/revoke",
        urlencode({"token": token}),
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.status_code == 200, answer.content


def disable(org: Org, who: Person | Machine, token: str) -> None:
    User.objects.filter(id=who.principal.id).update(is_active=False)


def remove(org: Org, who: Person | Machine, token: str) -> None:
    with org.scope():
        Membership.objects.filter(user_id=who.principal.id).delete()


def revoke_account(org: Org, who: Person | Machine, token: str) -> None:
    assert who.principal.id is not None
    path = f"/service-accounts/{ids.encode('sa', who.principal.id)}"
    assert org.admin.api.delete(path).status_code == 204


def demote(org: Org, who: Person | Machine, token: str) -> None:
    with org.scope():
        ServiceAccount.objects.filter(id=who.principal.id).update(role=Role.ENFORCER)


@pytest.mark.proves("live.ends-with-access")
@pytest.mark.parametrize("streamed", ["session", "organization"])
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (revoke_token, "invalid_token"),
        (disable, "invalid_token"),
        (remove, "invalid_token"),
        (revoke_account, "invalid_token"),
        (demote, "missing_scope"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_stream_ends_with_the_access_of_its_bearer_and_says_why(
    quick_url: str,
    org: Org,
    streamed: str,
    end: Callable[[Org, Person | Machine, str], None],
    reason: str,
) -> None:
    session = factories.running(org)
    of_machine = end in (revoke_account, demote)
    who = org.machine(Role.VIEWER) if of_machine else org.person(Role.VIEWER)
    token = token_of(who.principal)
    path = HINTS if streamed == "organization" else factories.path(session, "events/stream")
    with Stream(quick_url, path, token) as stream:
        stream.take(1 if streamed == "organization" else 4)
        end(org, who, token)
        *_, bye = list(stream)
    assert (bye.name, bye.data) == ("bye", {"reason": reason})


def test_silence_is_filled_with_comments(quick_url: str, org: Org) -> None:
    session = factories.running(org)
    with follow(quick_url, org, session, "?after_seq=4") as stream:
        lines = (line.strip() for line in stream.answer)
        assert [line for line, _ in zip(lines, range(6), strict=False) if line] == [
            b"retry: 2000", b":", b":",
        ]  # fmt: skip


# --- lost signals ----------------------------------------------------------------------------


@pytest.mark.proves("live.lost-signal")
def test_what_nobody_announced_comes_all_the_same(org: Org) -> None:
    session = factories.running(org)
    with serving(**patched(sessions__wakeups={"announce_growth": None})) as url:
        writer = LiveApi(url, token_of(org.runner.principal))
        with follow(url, org, session, "?after_seq=4") as stream:
            for seq in (5, 6):
                body = {"kind": "log", "message": "unheard of"}
                assert writer.post(factories.path(session, "events"), body).status_code == 201
                assert stream.take(1)[0].id == seq


@pytest.mark.proves("tests.controls")
def test_a_signal_that_is_lost_for_good_is_caught_here(org: Org) -> None:
    session = factories.running(org)
    lost = patched(
        sessions__wakeups={"announce_growth": None},
        grants__stream_room={"LOOK_SECONDS": 3600, "HEARTBEAT_SECONDS": 1},
    )
    with serving(**lost) as url:
        writer = LiveApi(url, token_of(org.runner.principal))
        with follow(url, org, session, "?after_seq=4") as stream:
            # A sign of life: it has read what there was, and now waits to hear of more.
            assert any(line.strip() == b":" for line in stream.answer)
            body = {"kind": "log", "message": "unheard of"}
            assert writer.post(factories.path(session, "events"), body).status_code == 201
            lines = [line.strip() for line, _ in zip(stream.answer, range(10), strict=False)]
    assert set(lines) == {b":", b""}


# --- stops and crowds ------------------------------------------------------------------------


@pytest.mark.proves("live.stop")
def test_a_server_that_stops_says_goodbye_whoever_takes_nothing_in(org: Org) -> None:
    session, long = factories.running(org), factories.running(org)
    for _ in range(60):
        record(org, long, 5, data={"large": "x" * 60_000})
    with serving() as url:
        with_hints = Stream(url, HINTS, token_of(org.viewer.principal))
        with_events = follow(url, org, session)
        deaf = _deaf(url, org, factories.path(long, "events/stream"))
        with_hints.take(1)
        with_events.take(4)
        stopping = time.monotonic()
    assert time.monotonic() - stopping < STOP_SECONDS
    for stream in (with_hints, with_events):
        *_, bye = list(stream)
        assert (bye.name, bye.data) == ("bye", {"reason": "stopping"})
        stream.close()
    deaf.close()


def _deaf(url: str, org: Org, path: str) -> socket.socket:
    """A client that asks for a long stream and reads no more than its first byte."""
    address = urlsplit(url)
    connection = socket.create_connection((str(address.hostname), int(address.port or 0)))
    lines = (
        f"GET /v1{path} HTTP/1.1", f"Host: {address.netloc}",
        f"Authorization: Bearer {token_of(org.viewer.principal)}", "", "",
    )  # fmt: skip
    connection.sendall("\r\n".join(lines).encode())
    assert connection.recv(1) == b"H"
    return connection


def test_there_are_so_many_streams_and_no_more_until_one_has_gone(org: Org) -> None:
    session = factories.running(org)
    with serving(KEEPTRUSTS_STREAMS="2") as url:
        first, second = follow(url, org, session), follow(url, org, session)
        assert first.take(1)[0].id == second.take(1)[0].id == 1
        refused = LiveApi(url, token_of(org.viewer.principal)).get(HINTS)
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")
        assert int(refused.headers["Retry-After"]) >= 1
        assert LiveApi(url).get(HINTS).status_code == 401
        first.close()
        until(lambda: _opens(url, org))
        complete(org, session)
        assert list(second)[-1].name == "end"
        second.close()


def _opens(url: str, org: Org) -> bool:
    with Stream(url, HINTS, token_of(org.viewer.principal)) as stream:
        return stream.status == 200


@pytest.mark.proves("live.idle")
def test_many_streams_hold_neither_a_thread_nor_a_connection(live_url: str, org: Org) -> None:
    """The server has eight threads, each with a connection; what else asks is answered."""
    session, many, before = factories.running(org), 60, _connections()
    streams = [follow(live_url, org, session, "?after_seq=4") for _ in range(many)]
    assert {stream.status for stream in streams} == {200}
    assert _connections() - before < many / 2
    api = LiveApi(live_url, token_of(org.viewer.principal))
    assert api.get(factories.path(session)).status_code == 200
    record(org, session, 1)
    for stream in streams:
        assert stream.take(1)[0].id == 5
        stream.close()


def _connections() -> int:
    with connections["migrate"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        (number,) = cursor.fetchone()
        return int(number)
