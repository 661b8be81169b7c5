"""How an attempt ends: its outcome once, again, too late, and what follows from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sessions.models import RunnerSession
from sessions.states import State, Verb
from tests import factories
from tests.factories import path, session_api
from tests.people import Org
from tests.sessions import records, roads


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def retrying(org: Org, max_attempts: int = 3, **fields: Any) -> RunnerSession:
    on = factories.profile(org, max_attempts=max_attempts, backoff_seconds=60)
    return factories.running(org, factories.pending(org, on, **fields))


# --- once, and again -------------------------------------------------------------------------


def test_a_completed_session_keeps_the_result(org: Org) -> None:
    session = factories.running(org)
    body = {"state": "completed", "result": {"files": 3}, "reason": "all packed"}
    answer = session_api(org, session).patch(path(session), body)
    assert answer.status_code == 200, answer.content
    ended = answer.json()
    assert (ended["state"], ended["result"]) == ("completed", {"files": 3})
    assert (ended["lease"], ended["deadline_at"]) == (None, None)
    assert ended["ended_at"] is not None
    records.assert_sound(org, session)
    assert records.last(org, session, "state.completed").data["result"] == {"files": 3}


def test_a_failure_says_why_and_is_final_unless_it_is_called_retryable(org: Org) -> None:
    session = retrying(org)
    error = {"code": "disk_full", "message": "No room in /srv"}
    answer = session_api(org, session).patch(path(session), {"state": "failed", "error": error})
    ended = answer.json()
    assert (ended["state"], ended["reason"], ended["error"]) == ("failed", "disk_full", error)
    assert ended["failures"] == 0


@pytest.mark.proves("life.outcome-once")
@pytest.mark.parametrize(
    "body",
    [
        {"state": "completed", "result": {"n": 1}},
        {"state": "failed", "error": {"code": "broken"}},
        {"state": "failed", "retryable": True},
    ],
    ids=["completed", "failed", "retryable"],
)
def test_the_same_ending_again_is_answered_with_what_is_recorded(
    org: Org, body: dict[str, Any]
) -> None:
    session = retrying(org)
    token = session_api(org, session)
    first = token.patch(path(session), body)
    assert first.status_code == 200, first.content
    before = records.stored(org, session)
    for api, epoch in ((token, {}), (org.runner.api, {"lease_epoch": 1}), (org.runner.api, {})):
        again = api.patch(path(session), body | epoch)
        assert (again.status_code, again.json()["state"]) == (200, first.json()["state"])
    assert records.stored(org, session) == before


@pytest.mark.proves("life.outcome-once")
@pytest.mark.parametrize(
    "other",
    [
        {"state": "completed", "result": {"n": 2}},
        {"state": "completed"},
        {"state": "failed"},
    ],
    ids=["another result", "no result", "failed"],
)
def test_another_ending_of_the_same_epoch_is_refused(org: Org, other: dict[str, Any]) -> None:
    session = factories.running(org)
    token = session_api(org, session)
    token.patch(path(session), {"state": "completed", "result": {"n": 1}})
    before = records.stored(org, session)
    answer = token.patch(path(session), other)
    assert (answer.status_code, answer.json()["code"]) == (409, "outcome_conflict")
    assert answer.json()["current_state"] == "completed"
    assert records.stored(org, session) == before


def test_another_runner_cannot_repeat_an_ending_that_is_not_its_own(org: Org) -> None:
    session = factories.running(org)
    body = {"state": "completed", "lease_epoch": 1}
    assert org.runner.api.patch(path(session), body).status_code == 200
    answer = org.machine().api.patch(path(session), body)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_lease_holder")


def test_another_runner_cannot_acknowledge_what_it_never_held(org: Org) -> None:
    session = roads.reach(org, State.CANCELLING)
    body = {"state": "cancelled", "lease_epoch": 1}
    assert org.runner.api.patch(path(session), body).status_code == 200
    answer = org.machine().api.patch(path(session), body)
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")


def test_an_ending_that_names_no_epoch_means_only_the_first(org: Org) -> None:
    session = roads.second_epoch(org)
    body = {"state": "completed"}
    assert org.runner.api.patch(path(session), body | {"lease_epoch": 2}).status_code == 200
    answer = org.runner.api.patch(path(session), body)
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_epoch_required")


def test_an_outcome_after_the_epoch_was_lost_changes_nothing(org: Org) -> None:
    session = retrying(org)
    late = session_api(org, session)
    roads.settled(org, session, "lease_expires_at")
    before = records.stored(org, session)
    answer = late.patch(path(session), {"state": "completed"})
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")
    assert records.stored(org, session) == before


# --- while cancelling ------------------------------------------------------------------------


@pytest.mark.proves("life.cancel-wins")
@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_an_outcome_while_cancelling_is_kept_but_the_session_is_cancelled(
    org: Org, outcome: str
) -> None:
    session = roads.reach(org, State.CANCELLING)
    token = session_api(org, session)
    body = {"state": outcome, "result": {"n": 1}} if outcome == "completed" else {"state": outcome}
    for answer in (token.patch(path(session), body), token.patch(path(session), body)):
        assert answer.status_code == 200, answer.content
        ended = answer.json()
        assert (ended["state"], ended["reported_outcome"]) == ("cancelled", outcome)
    records.assert_sound(org, session)


def test_a_retryable_failure_while_cancelling_is_not_tried_again(org: Org) -> None:
    session = retrying(org)
    roads.cancel(org, session)
    body = {"state": "failed", "retryable": True}
    assert session_api(org, session).patch(path(session), body).json()["state"] == "cancelled"


@pytest.mark.proves("life.cancel-ladder")
def test_a_cancel_is_acknowledged_once_and_again(org: Org) -> None:
    session = roads.reach(org, State.CANCELLING)
    token = session_api(org, session)
    first = token.patch(path(session), {"state": "cancelled"})
    assert (first.status_code, first.json()["state"]) == (200, "cancelled")
    assert first.json()["reason"] == "cancel_acknowledged"
    before = records.stored(org, session)
    again = token.patch(path(session), {"state": "cancelled"})
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")
    assert records.stored(org, session) == before


@pytest.mark.parametrize("wished", ["paused", "cancelled"])
def test_nothing_is_acknowledged_that_nobody_asked_for(org: Org, wished: str) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    answer = session_api(org, session).patch(path(session), {"state": wished})
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert records.stored(org, session) == before


# --- cancel ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.PENDING, State.PAUSED])
def test_a_cancel_without_a_lease_takes_effect_at_once(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    answer = org.operator.api.post(path(session, "cancel"), {"reason": "not needed"})
    assert (answer.json()["state"], answer.json()["desired_state"]) == ("cancelled", "cancelled")
    recorded = records.last(org, session, "state.cancelled")
    assert recorded.data["comment"] == "not needed"
    assert recorded.actor == org.operator.principal.actor


@pytest.mark.proves("life.cancel-ladder")
@pytest.mark.parametrize("state", [State.DISPATCHED, State.RUNNING])
def test_a_cancel_under_a_lease_gives_the_runner_a_minute(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    answer = org.operator.api.post(path(session, "cancel")).json()
    assert (answer["state"], answer["desired_state"]) == ("cancelling", "cancelled")
    row = records.fresh(org, session)
    assert row.deadline_at is not None
    assert row.deadline_at - row.updated_at == timedelta(seconds=60)
    beat = session_api(org, session).post(path(session, "heartbeat"))
    assert (beat.status_code, beat.json()["desired_state"]) == (200, "cancelled")
    assert records.fresh(org, session).deadline_at == row.deadline_at


@pytest.mark.proves("life.cancel-ladder")
@pytest.mark.parametrize("state", [State.DISPATCHED, State.RUNNING, State.CANCELLING])
def test_a_forced_cancel_ends_the_lease_now_and_says_so(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    token = session_api(org, session)
    answer = org.operator.api.post(path(session, "cancel"), {"force": True, "reason": "stuck"})
    assert (answer.json()["state"], answer.json()["reason"]) == ("cancelled", "cancel_forced")
    assert records.last(org, session, "state.cancelled").data["comment"] == "stuck"
    assert token.post(path(session, "heartbeat")).json()["code"] == "lease_lost"
    records.assert_sound(org, session)


def test_a_forced_cancel_of_a_session_without_a_lease_is_a_plain_one(org: Org) -> None:
    session = factories.pending(org)
    answer = org.operator.api.post(path(session, "cancel"), {"force": True})
    assert (answer.json()["state"], answer.json()["reason"]) == ("cancelled", "cancel_requested")


def test_a_runner_cancels_only_what_it_holds(org: Org) -> None:
    held, queued = factories.running(org), factories.pending(org)
    stranger = org.machine().api
    assert stranger.post(path(held, "cancel")).json()["code"] == "not_lease_holder"
    assert org.runner.api.post(path(queued, "cancel")).json()["code"] == "not_lease_holder"
    assert org.runner.api.post(path(held, "cancel")).json()["state"] == "cancelling"


# --- attempts --------------------------------------------------------------------------------


@pytest.mark.proves("life.attempts")
def test_a_retryable_failure_waits_in_the_queue_for_a_doubling_backoff(org: Org) -> None:
    session = retrying(org)
    for failures in (1, 2):
        row = roads.end(org, session, Verb.FAIL, retryable=True)
        assert (row.state, row.failures, row.lease_epoch) == (State.PENDING, failures, failures)
        assert row.not_before is not None
        waits = (row.not_before - row.updated_at).total_seconds()
        assert 60 * 2 ** (failures - 1) <= waits <= 1.25 * 60 * 2 ** (failures - 1) + 1
        answer = org.runner.api.post(path(session, "claim"))
        assert (answer.status_code, answer.json()["code"]) == (409, "not_claimable")
        assert answer.json()["reason"] == "not_before"
        roads.overdue(org, session, "not_before")
        session = factories.running(org, session)
    last = roads.end(org, session, Verb.FAIL, retryable=True, error={"code": "flaky"})
    assert (last.state, last.reason, last.failures) == (State.FAILED, "flaky", 3)
    records.assert_sound(org, session)


def test_the_seeds_profile_gives_one_attempt(org: Org) -> None:
    session = factories.running(org)
    assert roads.end(org, session, Verb.FAIL, retryable=True).state == State.FAILED


def test_a_dispatch_may_allow_more_attempts_than_its_profile(org: Org) -> None:
    session = factories.running(org, factories.pending(org, max_attempts=2))
    assert roads.end(org, session, Verb.FAIL, retryable=True).state == State.PENDING


@pytest.mark.proves("life.at-most-once")
@pytest.mark.parametrize("ending", ["a failure", "a lost lease"])
def test_what_may_happen_at_most_once_is_not_tried_again_once_it_has_begun(
    org: Org, ending: str
) -> None:
    def ended(session: RunnerSession) -> RunnerSession:
        if ending == "a failure":
            return roads.end(org, session, Verb.FAIL, retryable=True)
        return roads.settled(org, session, "lease_expires_at")

    on = factories.profile(org, max_attempts=3)
    once = {"side_effects": "at_most_once"}
    begun = ended(factories.running(org, factories.pending(org, on, **once)))
    assert begun.state == (State.FAILED if ending == "a failure" else State.LOST)
    not_begun = ended(factories.claimed(org, factories.pending(org, on, **once)))
    assert not_begun.state == State.PENDING


@pytest.mark.proves("life.at-most-once")
def test_what_may_happen_at_most_once_is_lost_with_its_runner_even_where_a_pause_was_asked(
    org: Org,
) -> None:
    """Paused would say that nothing is under way; what the runner has done is unknown."""
    session = factories.running(org, factories.pending(org, side_effects="at_most_once"))
    roads.pause(org, session)
    assert roads.settled(org, session, "lease_expires_at").state == State.LOST


def test_a_new_attempt_begins_without_the_last_ones_error(org: Org) -> None:
    session = retrying(org)
    roads.end(org, session, Verb.FAIL, retryable=True, error={"code": "flaky"})
    roads.overdue(org, session, "not_before")
    second = roads.end(org, factories.running(org, session), Verb.COMPLETE, result={"ok": True})
    assert (second.state, second.error, second.reported_outcome) == (
        State.COMPLETED,
        None,
        "completed",
    )
    records.assert_sound(org, session)
