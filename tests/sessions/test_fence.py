"""The fence: which writes of executing code count, and how the others are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from grants.models import Artifact
from keeptrusts_runners import ids
from sessions.models import RunnerSession
from sessions.states import State
from tests import factories
from tests.factories import path, session_api
from tests.people import Api, Org, Person
from tests.sessions import records, roads

Write = Callable[[Api, RunnerSession, dict[str, Any]], Any]


def _post(place: str, body: dict[str, Any]) -> Write:
    return lambda api, session, epoch: api.post(path(session, place), body | epoch)


def _patch(body: dict[str, Any]) -> Write:
    return lambda api, session, epoch: api.patch(path(session), body | epoch)


def _artifact(api: Api, session: RunnerSession, epoch: dict[str, Any]) -> Any:
    headers = {"Content-Type": "text/plain"}
    if epoch:
        headers["Lease-Epoch"] = str(epoch["lease_epoch"])
    place = f"{path(session, 'artifacts')}?name=log.txt&kind=log"
    return api.request("POST", place, raw=b"a line", **headers)


_GRANT = {"operation": "network.egress", "reason": "to fetch", "ttl_seconds": 60}

# Every execution write that the API has.
WRITES: dict[str, Write] = {
    "heartbeat": _post("heartbeat", {}),
    "checkpoint": _post("checkpoint", {"data": {"n": 1}}),
    "complete": _patch({"state": "completed"}),
    "fail": _patch({"state": "failed"}),
    "progress": _patch({"progress": {"current": 1}}),
    "metadata": _patch({"metadata": {"seen": True}}),
    "event": _post("events", {"kind": "log"}),
    "events": _post("events", {"events": [{"kind": "log"}]}),
    "artifact": _artifact,
    "grant request": _post("permissions", _GRANT),
    "grant use": _post(f"permissions/{ids.encode('grant', ids.new())}/use", {}),
}
every_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(scope="module")
def other_runner(org: Org) -> Api:
    return org.machine().api


def assert_refused(
    org: Org, session: RunnerSession, answer: Callable[[], Any], status: int, code: str
) -> dict[str, Any]:
    """Refused with this code, and nothing of it stored."""
    before = records.stored(org, session)
    response = answer()
    assert (response.status_code, response.json()["code"]) == (status, code), response.content
    assert records.stored(org, session) == before
    with org.scope():
        assert not Artifact.objects.filter(session_id=session.id).exists()
    return dict(response.json())


@every_write
def test_a_write_to_a_session_that_was_never_leased_is_told_where_to_claim(
    org: Org, write: Write
) -> None:
    session = factories.pending(org)
    problem = assert_refused(
        org, session, lambda: write(org.runner.api, session, {}), 409, "not_leased"
    )
    assert problem["claim"] == f"/v1{path(session, 'claim')}"
    assert problem["current_state"] == "pending"
    assert "claim" in problem["allowed_verbs"]


@pytest.mark.proves("fence.every-write")
@every_write
def test_a_write_under_an_epoch_that_was_taken_over_is_refused(org: Org, write: Write) -> None:
    session = roads.second_epoch(org)
    stale = {"lease_epoch": 1}
    answer = lambda: write(org.runner.api, session, stale)
    problem = assert_refused(org, session, answer, 409, "lease_lost")
    assert (problem["current_state"], problem["lease_epoch"]) == ("running", 2)


@pytest.mark.proves("fence.every-write")
@every_write
def test_a_write_under_an_epoch_that_is_over_is_refused(org: Org, write: Write) -> None:
    session = roads.settled(org, factories.running(org), "lease_expires_at")
    assert session.state == State.LOST
    answer = lambda: write(org.runner.api, session, {"lease_epoch": 1})
    assert_refused(org, session, answer, 409, "lease_lost")


@every_write
def test_a_write_that_names_no_epoch_is_asked_for_it_from_the_second_one_on(
    org: Org, write: Write
) -> None:
    session = roads.second_epoch(org)
    answer = lambda: write(org.runner.api, session, {})
    problem = assert_refused(org, session, answer, 409, "lease_epoch_required")
    assert problem["lease_epoch"] == 2


@pytest.mark.proves("fence.holder-only")
@every_write
def test_a_runner_writes_to_no_session_that_another_runner_holds(
    org: Org, other_runner: Api, write: Write
) -> None:
    session = factories.running(org)
    answer = lambda: write(other_runner, session, {"lease_epoch": 1})
    assert_refused(org, session, answer, 403, "not_lease_holder")


@pytest.mark.proves("fence.session-token")
@every_write
def test_a_session_token_writes_to_no_other_session(org: Org, write: Write) -> None:
    token, session = session_api(org, factories.running(org)), factories.running(org)
    assert_refused(org, session, lambda: write(token, session, {}), 403, "outside_session")


@pytest.mark.proves("fence.session-token", "fence.every-write")
@every_write
def test_a_session_token_is_dead_with_its_epoch(org: Org, write: Write) -> None:
    on = factories.profile(org, max_attempts=5, backoff_seconds=0)
    first = factories.running(org, factories.pending(org, on))
    stale = session_api(org, first)
    session = factories.running(org, roads.requeue(org, first))
    assert_refused(org, session, lambda: write(stale, session, {}), 409, "lease_lost")


@pytest.mark.proves("fence.session-token")
@every_write
def test_a_session_token_cannot_name_its_way_into_another_epoch(org: Org, write: Write) -> None:
    on = factories.profile(org, max_attempts=5, backoff_seconds=0)
    first = factories.running(org, factories.pending(org, on))
    stale = session_api(org, first)
    session = factories.running(org, roads.requeue(org, first))
    named = {"lease_epoch": 2}
    assert_refused(org, session, lambda: write(stale, session, named), 409, "lease_lost")


@pytest.mark.parametrize("who", ["outsider", "viewer"])
def test_nobody_writes_without_a_place_in_the_organization_and_the_scope(
    org: Org, who: str
) -> None:
    session = factories.running(org)
    api, expected = (
        (Org().admin.api, (404, "not_found"))
        if who == "outsider"
        else (org.viewer.api, (403, "missing_scope"))
    )
    for write in WRITES.values():
        assert_refused(org, session, lambda write=write: write(api, session, {}), *expected)


# --- what does count -------------------------------------------------------------------------

_COUNTS = [name for name in WRITES if name != "grant use"]


@pytest.mark.parametrize("name", _COUNTS)
def test_the_holder_need_not_name_the_first_epoch(org: Org, name: str) -> None:
    session = factories.running(org)
    assert WRITES[name](org.runner.api, session, {}).status_code in (200, 201)
    records.assert_sound(org, session)


@pytest.mark.parametrize("name", _COUNTS)
def test_the_holder_names_a_later_epoch(org: Org, name: str) -> None:
    session = roads.second_epoch(org)
    answer = WRITES[name](org.runner.api, session, {"lease_epoch": 2})
    assert answer.status_code in (200, 201), answer.content
    records.assert_sound(org, session)


@pytest.mark.parametrize("name", _COUNTS)
def test_a_session_token_carries_its_epoch(org: Org, name: str) -> None:
    session = roads.second_epoch(org)
    answer = WRITES[name](session_api(org, session), session, {})
    assert answer.status_code in (200, 201), answer.content
    records.assert_sound(org, session)


def test_the_epoch_may_be_named_in_a_header(org: Org) -> None:
    session = roads.second_epoch(org)
    beat = lambda epoch: org.runner.api.post(
        path(session, "heartbeat"), {}, **{"Lease-Epoch": epoch}
    )
    assert beat("2").status_code == 200
    assert beat("1").json()["code"] == "lease_lost"
    assert beat("two").json()["code"] == "invalid_parameter"


@pytest.mark.proves("fence.desired-state")
def test_an_executors_answers_say_what_the_session_is_to_become(org: Org) -> None:
    for name in ("heartbeat", "checkpoint", "event", "events", "progress"):
        session = factories.running(org)
        roads.pause(org, session)
        answer = WRITES[name](session_api(org, session), session, {})
        assert answer.json()["desired_state"] == "paused", name


def test_a_persons_execution_write_is_recorded_as_made_on_behalf_of_the_holder(org: Org) -> None:
    session = factories.claimed(org)
    person: Person = org.operator
    assert person.api.post(path(session, "heartbeat")).status_code == 200
    started = records.last(org, session, "state.running")
    assert started.actor == person.principal.actor
    assert started.data["on_behalf"] == org.runner.principal.account


def test_a_session_token_dies_with_the_account_that_claimed(org: Org) -> None:
    machine = org.machine()
    session = factories.running(org, by=machine)
    token = session_api(org, session, machine)
    assert token.get(path(session)).status_code == 200
    revoked = org.admin.api.delete(f"/service-accounts/{ids.encode('sa', machine.account.id)}")
    assert revoked.status_code == 204
    for answer in (token.get(path(session)), token.post(path(session, "heartbeat"))):
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


@pytest.mark.proves("fence.session-token")
def test_a_session_token_reaches_only_what_executing_code_needs(org: Org) -> None:
    session = factories.running(org)
    token = session_api(org, session)
    elsewhere = [
        token.get("/runners/sessions"),
        token.get("/runners/profiles"),
        token.post("/runners/sessions/claim"),
        token.post(path(session, "claim")),
        token.post(path(session, "cancel")),
        token.post(path(session, "pause")),
        token.post(path(session, "resume")),
        token.get("/runners/permissions"),
        token.get("/members"),
    ]
    assert {answer.status_code for answer in elsewhere} == {403}
