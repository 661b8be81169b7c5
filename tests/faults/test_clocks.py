"""A server whose own clock is a day off, or jumps, decides like any other: all time is the
database's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from keeptrusts_runners import clock, env, ids
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import User
from sessions.models import RunnerSession
from sessions.states import State
from tests import factories
from tests.contract.bearers import forged
from tests.factories import path
from tests.live import LiveAnswer, LiveApi, environment, serving
from tests.liveness import release_the_brake
from tests.people import PASSWORD, Api, Org, token_of
from tests.sessions import records, roads

WRONG = Path(__file__).with_name("processes") / "clock"
DAY = 86_400
CLOCKS = {
    "right": (0,),
    "a day ahead": (DAY,),
    "a day behind": (-DAY,),
    "jumping": (DAY, -DAY, 0, 3600, -40),
}


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(scope="module")
def clock_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clock") / "wrong-by"


@pytest.fixture(scope="module")
def wrong(clock_file: Path) -> dict[str, str]:
    """What gives a process a wrong clock."""
    return {"PYTHONPATH": str(WRONG), "WRONG_CLOCK": str(clock_file)}


@pytest.fixture(scope="module")
def server(wrong: dict[str, str], clock_file: Path, django_db_setup: None) -> Iterator[str]:
    set_wrong(clock_file, 0)
    with serving(**wrong) as url:
        yield url


@pytest.fixture(params=CLOCKS.values(), ids=CLOCKS)
def url(server: str, clock_file: Path, request: pytest.FixtureRequest) -> str:
    """The server, with its clock wrong by that now."""
    set_wrong(clock_file, *request.param)
    return server


def set_wrong(clock_file: Path, *seconds: int) -> None:
    """In one step: the server reads it whenever it likes."""
    fresh = clock_file.with_suffix(".new")
    fresh.write_text(" ".join(map(str, seconds)))
    fresh.replace(clock_file)


def good(answer: Any) -> Any:
    assert answer.status_code in (200, 201), answer.content
    return answer.json()


def test_the_servers_clock_is_as_wrong_as_it_is_told_to_be(server: str, clock_file: Path) -> None:
    set_wrong(clock_file, DAY)
    api = LiveApi(server)

    def told() -> float:
        answer: LiveAnswer = api.get("/auth/whoami")
        return parsedate_to_datetime(answer.headers["Date"]).timestamp()

    ends = time.monotonic() + 10
    # The header is written once a second.
    while told() - time.time() < DAY - 60:
        assert time.monotonic() < ends, told()


# --- who may come in -------------------------------------------------------------------------


@pytest.mark.proves("clock.database")
def test_a_token_is_good_at_every_server_until_its_end(url: str, org: Org) -> None:
    machine = org.machine()
    form = f"grant_type=client_credentials&client_secret={machine.secret}"
    form += f"&client_id={ids.encode('sa', machine.account.id)}"
    kind = {"Content_Type": "application/x-www-form-urlencoded"}
    theirs = good(LiveApi(url).request("POST", "/auth/token", raw=form.encode(), **kind))
    ours = token_of(machine.principal)
    for token in (theirs["access_token"], ours):
        assert LiveApi(url, token).get("/auth/whoami").status_code == 200
        assert Api(token).get("/auth/whoami").status_code == 200
    now = int(clock.now().timestamp())
    for over in (forged(ours, exp=now - 1), forged(ours, iat=now + 60), forged(ours, nbf=now + 60)):
        assert LiveApi(url, over).get("/auth/whoami").status_code == 401


@pytest.mark.proves("clock.database")
def test_a_sign_in_is_renewed_at_every_server(url: str, org: Org) -> None:
    user = accounts.create_user(f"{ids.new()}@example.test", PASSWORD)
    with org.scope():
        accounts.add_member(org.id, user, "viewer")
    kind = {"Content_Type": "application/x-www-form-urlencoded"}

    def ask(api: Api, form: str) -> Any:
        return good(api.request("POST", "/auth/token", raw=form.encode(), **kind))

    first = ask(LiveApi(url), f"grant_type=password&username={user.email}&password={PASSWORD}")
    renew = "grant_type=refresh_token&refresh_token={refresh_token}"
    second = ask(Api(), renew.format(**first))
    third = ask(LiveApi(url), renew.format(**second))
    assert Api(third["access_token"]).get("/auth/whoami").status_code == 200


@pytest.mark.proves("clock.database")
def test_a_browser_stays_signed_in_at_every_server(url: str, org: Org) -> None:
    user = User.objects.create(email=f"{ids.new()}@example.test", password="!")
    with org.scope():
        accounts.add_member(org.id, user, "viewer")
    browser = Client()
    browser.force_login(user)
    api = LiveApi(url)
    api.connection.request("GET", "/runners", headers={"Cookie": browser.cookies.output(header="")})
    answer = api.connection.getresponse()
    answer.read()
    assert answer.status == 200


# --- leases, deadlines, grants ---------------------------------------------------------------


@pytest.mark.proves("clock.database")
def test_a_lease_is_as_long_as_it_says_and_is_nobody_elses(url: str, org: Org) -> None:
    session = factories.pending(org, queue_timeout_seconds=3600)
    runner = LiveApi(url, token_of(org.runner.principal))
    claimed = good(runner.post(path(session, "claim"), {"claim_id": f"c-{session.id}"}))
    assert lease_left(org, session) == pytest.approx(60, abs=20)
    for api in (LiveApi(url, claimed["session_token"]), Api(claimed["session_token"])):
        beaten = good(api.post(path(session, "heartbeat")))
        assert beaten["state"] == "running"
    assert lease_left(org, session) == pytest.approx(60, abs=20)
    again = good(runner.post(path(session, "claim"), {"claim_id": f"c-{session.id}"}))
    renewed = LiveApi(url, again["session_token"])
    good(renewed.post(path(session, "checkpoint"), {"data": {}}))
    assert good(renewed.patch(path(session), {"state": "completed"}))["state"] == "completed"
    row = records.fresh(org, session)
    assert abs(row.ended_at - clock.now()) < timedelta(minutes=1)
    records.assert_sound(org, session)


def lease_left(org: Org, session: RunnerSession) -> float:
    row = records.fresh(org, session)
    assert row.lease_expires_at is not None
    return (row.lease_expires_at - clock.now()).total_seconds()


@pytest.mark.proves("clock.database")
def test_what_begins_in_an_hour_is_not_claimed_now_and_what_is_over_not_late(
    url: str, org: Org
) -> None:
    runner = LiveApi(url, token_of(org.runner.principal))
    soon = factories.pending(org, not_before=clock.now() + timedelta(hours=1))
    over = factories.pending(org)
    roads.overdue(org, over, "deadline_at")
    reasons = [runner.post(path(s, "claim")).json()["reason"] for s in (soon, over)]
    assert reasons == ["not_before", "deadline_passed"]


@pytest.mark.proves("clock.database")
def test_a_grant_lasts_for_the_time_that_was_given(url: str, org: Org) -> None:
    session = factories.running(org)
    operator = LiveApi(url, token_of(org.operator.principal))
    wanted = {"operation": "network.egress", "reason": "to fetch", "ttl_seconds": 60}
    grant = good(operator.post(path(session, "permissions"), wanted))
    place = path(session, "permissions", grant["id"])
    code = LiveApi(url, factories.session_api(org, session).token)
    assert good(code.post(f"{place}/use"))["allowed"] is True
    roads.overdue(org, session, "lease_expires_at")
    assert good(code.post(f"{place}/use"))["allowed"] is False


@pytest.mark.proves("clock.database")
def test_an_event_of_the_future_is_refused_and_one_of_now_is_not(url: str, org: Org) -> None:
    session = factories.running(org)
    code = LiveApi(url, factories.session_api(org, session).token)
    record = partial(code.post, path(session, "events"))
    now = clock.now()
    good(record({"kind": "log", "occurred_at": clock.rfc3339(now)}))
    late = record({"kind": "log", "occurred_at": clock.rfc3339(now + timedelta(hours=1))})
    assert late.status_code == 422
    times = [event.recorded_at for event in records.events(org, session)]
    assert times[-1] - now < timedelta(minutes=1)


@pytest.mark.proves("clock.database")
def test_a_repeated_request_is_known_again(url: str, org: Org) -> None:
    body = {"profile_id": ids.encode("prof", factories.profile(org).id), "task_id": "once"}
    key = {"Idempotency_Key": f"{ids.new()}"}
    first = good(org.operator.api.post("/runners/sessions", body, **key))
    again = LiveApi(url, org.operator.api.token).post("/runners/sessions", body, **key)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert good(again)["id"] == first["id"]


# --- the maintenance loop --------------------------------------------------------------------


@pytest.mark.proves("clock.database")
@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_pass_of_a_loop_that_is_a_day_off_ends_what_is_over_and_nothing_else(
    org: Org, wrong: dict[str, str], clock_file: Path, seconds: int
) -> None:
    alive = [roads.reach(org, state) for state in sorted(State)]
    before = [records.stored(org, session) for session in alive]
    over = factories.running(org)
    roads.overdue(org, over, "lease_expires_at")
    release_the_brake()
    set_wrong(clock_file, seconds)
    with ExitStack() as stack:
        stack.callback(set_wrong, clock_file, 0)
        command = [sys.executable, str(env.BASE_DIR / "manage.py"), "maintain", "--once"]
        subprocess.run(command, env=environment() | wrong, check=True, capture_output=True)
    assert [records.stored(org, session) for session in alive] == before
    assert records.fresh(org, over).state == State.LOST
