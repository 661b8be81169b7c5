"""Claims that wait for work: real HTTP against a real server process.

Who waits is known to the tests by its thread: it is parked once its first, empty answer has been
given, which nothing outside shows; so a test dispatches, and holds whatever the order was.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from django.db import connections

from keeptrusts_runners import ids
from sessions.executor_models import RunnerExecutor
from tests import factories
from tests.live import serving, until
from tests.people import Org, token_of

PATIENCE = 20


def claim(url: str, org: Org, **asked: Any) -> tuple[int, list[dict[str, Any]]]:
    return send(url, token_of(org.runner.principal), asked)


def send(url: str, token: str, asked: dict[str, Any]) -> tuple[int, list[dict[str, Any]]]:
    request = urllib.request.Request(
        f"{url}/v1/runners/sessions/claim",
        data=json.dumps(asked).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            body = answer.read()
            return answer.status, json.loads(body)["items"] if body else []
    except urllib.error.HTTPError as error:
        return error.code, []


def waiting(
    pool: ThreadPoolExecutor, url: str, org: Org, **asked: Any
) -> Future[tuple[int, list[dict[str, Any]]]]:
    # The token asks the database for the time, which each thread would do on its own connection.
    token = token_of(org.runner.principal)
    return pool.submit(send, url, token, {"wait_seconds": PATIENCE, **asked})


@pytest.mark.proves("claim.waits")
def test_a_waiting_claim_is_answered_with_what_is_dispatched_meanwhile(live_url: str) -> None:
    org = Org()
    profile = factories.profile(org)
    with ThreadPoolExecutor(1) as pool:
        claimed = waiting(pool, live_url, org)
        session = factories.pending(org, profile)
        status, (item,) = claimed.result(PATIENCE + 5)
    assert status == 200
    assert item["id"] == ids.encode("sess", session.id)
    assert item["session_token"]


@pytest.mark.proves("claim.waits")
def test_as_many_claims_as_sessions_are_answered_and_each_session_once(live_url: str) -> None:
    org = Org()
    profile = factories.profile(org)
    with ThreadPoolExecutor(6) as pool:
        claims = [waiting(pool, live_url, org) for _ in range(6)]
        sessions = {ids.encode("sess", factories.pending(org, profile).id) for _ in range(6)}
        answers = [each.result(PATIENCE + 5) for each in claims]
    assert [status for status, _ in answers] == [200] * 6
    assert {items[0]["id"] for _, items in answers} == sessions


def test_who_cannot_take_a_session_keeps_nobody_from_it(live_url: str) -> None:
    org = Org()
    profile, other = factories.profile(org), factories.profile(org)
    with ThreadPoolExecutor(2) as pool:
        unable = waiting(pool, live_url, org, profiles=[ids.encode("prof", other.id)])
        able = waiting(pool, live_url, org, labels={"gpu": "a100"})
        labelled = factories.pending(org, profile, labels={"gpu": "a100"})
        _, (item,) = able.result(PATIENCE + 5)
        assert item["id"] == ids.encode("sess", labelled.id)
        its_own = factories.pending(org, other)
        _, (item,) = unable.result(PATIENCE + 5)
        assert item["id"] == ids.encode("sess", its_own.id)


def test_an_empty_queue_answers_204_when_the_wait_is_over(live_url: str) -> None:
    started = time.monotonic()
    assert claim(live_url, Org(), wait_seconds=1) == (204, [])
    assert time.monotonic() - started >= 1


def test_a_claim_that_is_refused_does_not_wait(live_url: str) -> None:
    org = Org()
    factories.pending(org)
    asked = {"claim_id": "c-1", "wait_seconds": PATIENCE}
    status, (item,) = claim(live_url, org, **asked)
    assert status == 200
    answer = org.runner.api.patch(f"/runners/sessions/{item['id']}", {"state": "completed"})
    assert answer.status_code == 200
    started = time.monotonic()
    assert claim(live_url, org, **asked) == (409, [])
    assert time.monotonic() - started < PATIENCE / 2


def test_a_client_that_has_gone_is_handed_nothing(live_url: str) -> None:
    org = Org()
    body = json.dumps({"wait_seconds": PATIENCE})
    address = urllib.parse.urlsplit(live_url)
    leaving = http.client.HTTPConnection(str(address.hostname), address.port)
    leaving.request(
        "POST",
        "/v1/runners/sessions/claim",
        body,
        {
            "Authorization": f"Bearer {token_of(org.runner.principal)}",
            "Content-Type": "application/json",
        },
    )
    # Whatever the server makes of it first: one that is answered later came later.
    assert claim(live_url, org, wait_seconds=1) == (204, [])
    with ThreadPoolExecutor(1) as pool:
        staying = waiting(pool, live_url, org)
        leaving.close()
        session = factories.pending(org)
        _, (item,) = staying.result(PATIENCE + 5)
    assert item["id"] == ids.encode("sess", session.id)


@pytest.mark.proves("claim.at-rest")
def test_many_who_wait_hold_neither_a_thread_nor_a_connection(live_url: str) -> None:
    """The server has eight threads, each with a connection; what else asks is answered."""
    org, many = Org(), 60
    assert org.runner  # made here: each thread that makes one connects for itself
    with ThreadPoolExecutor(many) as pool:
        claims = [
            waiting(pool, live_url, org, executor={"name": f"runner-{number}"})
            for number in range(many)
        ]
        until(lambda: _asked(org) == many)
        assert claim(live_url, org) == (204, [])
        assert _connections() < many / 2
        sessions = [factories.pending(org, factories.profile(org)) for _ in range(many)]
        answers = [each.result(PATIENCE + 5) for each in claims]
    given = [item["id"] for _, items in answers for item in items]
    assert sorted(given) == sorted(ids.encode("sess", session.id) for session in sessions)


def _asked(org: Org) -> int:
    """How many executors have had their first answer."""
    with org.scope():
        return RunnerExecutor.objects.exclude(name="").count()


def _connections() -> int:
    with connections["migrate"].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        (number,) = cursor.fetchone()
        return int(number)


def test_waiting_longer_than_half_a_minute_is_refused_as_by_any_claim(live_url: str) -> None:
    assert claim(live_url, Org(), wait_seconds=31) == (422, [])
    assert claim(live_url, Org(), wait_seconds="long") == (422, [])


def test_a_claim_without_a_token_waits_for_nothing(live_url: str) -> None:
    request = urllib.request.Request(
        f"{live_url}/v1/runners/sessions/claim", data=b'{"wait_seconds": 20}', method="POST"
    )
    request.add_header("Content-Type", "application/json")
    try:
        urllib.request.urlopen(request, timeout=10)
        status = 200
    except urllib.error.HTTPError as error:
        status = error.code
    assert status == 401


def test_a_server_that_stops_sends_away_at_once_who_waits() -> None:
    org = Org()
    with ThreadPoolExecutor(2) as pool:
        with serving() as url:
            both = [waiting(pool, url, org), waiting(pool, url, org)]
            factories.pending(org)
            answered, parked = wait(both, PATIENCE, return_when=FIRST_COMPLETED)
            assert [each.result()[0] for each in answered] == [200]
            stopping = time.monotonic()
        assert parked.pop().result(PATIENCE) == (204, [])
    assert time.monotonic() - stopping < PATIENCE / 2
