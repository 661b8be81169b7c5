"""Pause and resume: a wish until it is acknowledged, a clock that stops, checkpoints handed on."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keeptrusts_runners import clock, ids
from sessions.models import DesiredState, RunnerSession
from sessions.states import State, Verb
from tests import factories
from tests.factories import path, session_api
from tests.people import Org
from tests.sessions import records, roads


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def claim(org: Org, session: RunnerSession) -> dict[str, object]:
    answer = org.runner.api.post(path(session, "claim"))
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def test_a_pending_session_is_paused_at_once(org: Org) -> None:
    session = factories.pending(org)
    answer = org.operator.api.post(path(session, "pause"), {"reason": "not today"})
    assert (answer.json()["state"], answer.json()["desired_state"]) == ("paused", "paused")
    assert records.last(org, session, "state.paused").data["comment"] == "not today"


@pytest.mark.proves("life.pause-resume")
@pytest.mark.parametrize("state", [State.DISPATCHED, State.RUNNING])
def test_a_leased_session_is_paused_when_its_runner_says_so(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    token = session_api(org, session)
    asked = org.operator.api.post(path(session, "pause"))
    assert (asked.json()["state"], asked.json()["desired_state"]) == (state, "paused")
    beat = token.post(path(session, "heartbeat"))
    assert beat.json()["desired_state"] == "paused"
    last = token.post(path(session, "checkpoint"), {"data": {"file": 7}})
    assert last.status_code == 201
    done = token.patch(path(session), {"state": "paused"})
    assert (done.json()["state"], done.json()["lease"]) == ("paused", None)
    again = token.patch(path(session), {"state": "paused"})
    assert (again.status_code, again.json()["state"]) == (200, "paused")
    assert token.post(path(session, "heartbeat")).json()["code"] == "lease_lost"
    records.assert_sound(org, session)


def test_a_second_wish_to_pause_is_the_same_answer(org: Org) -> None:
    session = factories.running(org)
    roads.pause(org, session)
    before = records.stored(org, session)
    assert org.operator.api.post(path(session, "pause")).status_code == 200
    assert records.stored(org, session) == before


def test_a_wish_to_pause_is_withdrawn_by_resuming(org: Org) -> None:
    session = factories.running(org)
    roads.pause(org, session)
    answer = org.operator.api.post(path(session, "resume"))
    assert (answer.json()["state"], answer.json()["desired_state"]) == ("running", "running")
    token = session_api(org, session)
    assert token.post(path(session, "heartbeat")).json()["desired_state"] == "running"
    assert token.patch(path(session), {"state": "paused"}).json()["code"] == "state_conflict"


def test_a_running_session_that_nobody_paused_is_not_resumed(org: Org) -> None:
    answer = org.operator.api.post(path(factories.running(org), "resume"))
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")


@pytest.mark.proves("life.pause-resume")
def test_a_resumed_session_is_claimed_under_a_new_epoch_at_no_attempt(org: Org) -> None:
    session = roads.paused(org)
    resumed = org.operator.api.post(path(session, "resume")).json()
    assert (resumed["state"], resumed["desired_state"]) == ("pending", "running")
    claimed = claim(org, session)
    assert (claimed["lease_epoch"], claimed["failures"]) == (2, 0)
    records.assert_sound(org, session)


# --- the run's clock -------------------------------------------------------------------------


def test_the_runs_clock_stands_still_while_paused(org: Org) -> None:
    session = roads.paused(org, timeout_seconds=1000)
    paused = records.fresh(org, session)
    assert paused.run_deadline_at is None
    assert paused.run_seconds_left is not None
    assert 990 < paused.run_seconds_left <= 1000
    roads.overdue(org, session, "paused_at", "started_at", "updated_at")
    roads.resume(org, session)
    resumed = records.fresh(org, session)
    assert resumed.run_deadline_at is not None
    left = (resumed.run_deadline_at - resumed.updated_at).total_seconds()
    assert left == pytest.approx(paused.run_seconds_left, abs=0.01)
    assert resumed.deadline_at == resumed.run_deadline_at
    claim(org, session)
    assert records.fresh(org, session).deadline_at == resumed.run_deadline_at


def test_a_paused_session_waits_for_a_week(org: Org) -> None:
    row = records.fresh(org, roads.paused(org))
    assert row.deadline_at is not None
    assert row.paused_at is not None
    assert row.deadline_at - row.paused_at == timedelta(days=7)


def test_a_session_whose_time_has_not_come_still_waits_for_it_after_a_pause(org: Org) -> None:
    with org.scope():
        later = clock.now() + timedelta(hours=1)
    session = factories.pending(org, not_before=later)
    roads.pause(org, session)
    roads.resume(org, session)
    row = records.fresh(org, session)
    assert (row.state, row.not_before) == (State.PENDING, later)
    assert row.deadline_at == later + timedelta(hours=24)
    assert org.runner.api.post(path(session, "claim")).json()["reason"] == "not_before"


# --- checkpoints -----------------------------------------------------------------------------


@pytest.mark.proves("life.checkpoints")
def test_checkpoints_are_numbered_digested_and_handed_to_the_next_attempt(org: Org) -> None:
    session = factories.running(org)
    token = session_api(org, session)
    made = [
        token.post(path(session, "checkpoint"), {"data": {"file": n}, "label": f"file {n}"}).json()
        for n in (1, 2)
    ]
    assert [checkpoint["number"] for checkpoint in made] == [1, 2]
    assert made[0]["digest"] != made[1]["digest"]
    recorded = records.last(org, session, "checkpoint.recorded")
    assert recorded.data["digest"] == made[1]["digest"]
    listed = org.viewer.api.get(path(session, "checkpoints")).json()["items"]
    assert [checkpoint["id"] for checkpoint in listed] == [made[1]["id"], made[0]["id"]]
    roads.pause(org, session)
    roads.acknowledge(org, session, DesiredState.PAUSED)
    roads.resume(org, session)
    handed = claim(org, session)["checkpoint"]
    assert handed == listed[0]
    assert handed["data"] == {"file": 2}  # type: ignore[index]


def test_a_first_claim_hands_out_no_checkpoint(org: Org) -> None:
    assert claim(org, factories.pending(org))["checkpoint"] is None


@pytest.mark.proves("life.checkpoints")
def test_a_lost_attempts_checkpoint_is_handed_on(org: Org) -> None:
    on = factories.profile(org, max_attempts=2, backoff_seconds=0)
    session = factories.running(org, factories.pending(org, on))
    made = roads.checkpoint(org, session, {"file": 1})
    roads.settled(org, session, "lease_expires_at")
    roads.overdue(org, session, "not_before")
    assert claim(org, session)["checkpoint"]["id"] == ids.encode("ckpt", made.id)  # type: ignore[index]


def test_resuming_from_a_named_checkpoint_hands_out_that_one_or_a_newer_one(org: Org) -> None:
    on = factories.profile(org, max_attempts=3, backoff_seconds=0)
    session = factories.running(org, factories.pending(org, on))
    first = roads.checkpoint(org, session, {"file": 1})
    roads.checkpoint(org, session, {"file": 2})
    roads.pause(org, session)
    roads.acknowledge(org, session, DesiredState.PAUSED)
    named = {"checkpoint_id": ids.encode("ckpt", first.id)}
    assert org.operator.api.post(path(session, "resume"), named).status_code == 200
    # The attempt that begins there is lost before it records any: the next begins there again.
    for _ in range(2):
        assert claim(org, session)["checkpoint"]["number"] == 1  # type: ignore[index]
        roads.settled(org, session, "lease_expires_at")
        roads.overdue(org, session, "not_before")
    third = factories.running(org, session)
    roads.checkpoint(org, third, {"file": 3})
    roads.pause(org, third)
    roads.acknowledge(org, third, DesiredState.PAUSED)
    roads.resume(org, third)
    assert claim(org, session)["checkpoint"]["number"] == 3  # type: ignore[index]
    records.assert_sound(org, session)


def test_a_session_resumes_from_no_checkpoint_but_its_own(org: Org) -> None:
    foreign = roads.checkpoint(org, factories.running(org), {"file": 1})
    session = roads.paused(org)
    before = records.stored(org, session)
    for unknown in (ids.encode("ckpt", foreign.id), ids.encode("ckpt", ids.new())):
        answer = org.operator.api.post(path(session, "resume"), {"checkpoint_id": unknown})
        assert answer.status_code == 422, answer.content
        assert answer.json()["errors"][0]["code"] == "unknown_reference"
    assert records.stored(org, session) == before


def test_a_checkpoint_too_large_is_refused_and_not_counted(org: Org) -> None:
    session = factories.running(org)
    token = session_api(org, session)
    refused = token.post(path(session, "checkpoint"), {"data": {"x": "y" * 300_000}})
    assert refused.status_code == 422, refused.content
    made = token.post(path(session, "checkpoint"), {"data": {}})
    assert made.json()["number"] == 1


def test_a_failure_that_may_be_tried_again_is_put_aside_where_a_pause_was_asked(org: Org) -> None:
    on = factories.profile(org, max_attempts=3)
    session = factories.running(org, factories.pending(org, on))
    roads.pause(org, session)
    failed = roads.end(org, session, Verb.FAIL, retryable=True, error={"code": "flaky"})
    assert (failed.state, failed.reason, failed.failures) == (State.PAUSED, "flaky", 1)
    assert failed.desired_state == DesiredState.PAUSED
    assert roads.resume(org, session).state == State.PENDING
    records.assert_sound(org, session)


def test_a_failure_without_attempts_left_ends_the_session_whatever_was_asked(org: Org) -> None:
    for report in ({"retryable": True}, {"retryable": False}):
        session = factories.running(org)
        roads.pause(org, session)
        assert roads.end(org, session, Verb.FAIL, **report).state == State.FAILED
