"""PATCH: the same word is another verb for the lease holder than for anybody else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keeptrusts_runners import clock
from keeptrusts_runners.identity.scopes import Role
from sessions.models import DesiredState
from sessions.states import State
from tests import factories
from tests.factories import path, session_api
from tests.people import Org
from tests.sessions import records, roads


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def later(org: Org, **span: float) -> str:
    with org.scope():
        return str(clock.rfc3339(clock.now() + timedelta(**span)))


# --- state -----------------------------------------------------------------------------------


def test_a_persons_states_are_the_operators_verbs(org: Org) -> None:
    session = factories.pending(org)
    patch = lambda state: org.operator.api.patch(path(session), {"state": state}).json()
    assert patch("paused")["state"] == "paused"
    assert patch("running")["state"] == "pending"
    factories.running(org, session)
    assert (patch("paused")["state"], patch("paused")["desired_state"]) == ("running", "paused")
    assert patch("cancelled")["state"] == "cancelling"
    assert patch("cancelled")["state"] == "cancelling"
    verbs = [step.verb for step in records.transitions(org, session)]
    assert verbs == ["dispatch", "pause", "resume", "claim", "heartbeat", "pause", "cancel"]


def test_a_holders_states_end_and_acknowledge(org: Org) -> None:
    session = factories.running(org)
    roads.pause(org, session)
    answer = session_api(org, session).patch(path(session), {"state": "paused"})
    assert answer.json()["state"] == "paused"
    assert records.transitions(org, session)[-1].verb == "acknowledge"


def test_a_holder_cannot_set_running(org: Org) -> None:
    session = factories.claimed(org)
    answer = session_api(org, session).patch(path(session), {"state": "running"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/state")


def test_a_person_reports_an_outcome_for_a_named_epoch_only(org: Org) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    answer = org.operator.api.patch(path(session), {"state": "completed"})
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_epoch_required")
    assert records.stored(org, session) == before
    named = {"state": "completed", "lease_epoch": 1}
    assert org.operator.api.patch(path(session), named).json()["state"] == "completed"
    ended = records.last(org, session, "state.completed")
    assert ended.data["on_behalf"] == org.runner.principal.account


def test_a_person_who_reports_for_a_session_never_leased_is_told_so(org: Org) -> None:
    answer = org.operator.api.patch(path(factories.pending(org)), {"state": "completed"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_leased")


def test_an_admin_that_claimed_is_the_holder(org: Org) -> None:
    """What makes a holder is the lease, not the role."""
    machine = org.machine(Role.ADMIN)
    session = factories.claimed(org, by=machine)
    roads.cancel(org, session)
    answer = machine.api.patch(path(session), {"state": "cancelled"})
    assert (answer.json()["state"], answer.json()["reason"]) == ("cancelled", "cancel_acknowledged")
    other = factories.running(org, by=machine)
    assert machine.api.patch(path(other), {"state": "completed"}).json()["state"] == "completed"


@pytest.mark.parametrize(
    "body",
    [
        {"result": {"n": 1}},
        {"state": "cancelled", "result": {}},
        {"state": "completed", "error": {"code": "x"}},
        {"state": "completed", "retryable": True},
        {"state": "dispatched"},
        {"state": None},
        {"lease_epoch": 0},
        {"state": "failed", "error": {"message": "no code"}},
        {"id": "sess_01h455vb4pex5vsknk084sn02q"},
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused_whole(org: Org, body: dict[str, Any]) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    answer = session_api(org, session).patch(path(session), body)
    assert answer.status_code == 422, answer.content
    assert records.stored(org, session) == before


def test_a_patch_whose_state_is_refused_changes_nothing_else_either(org: Org) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    body = {"state": "paused", "metadata": {"a": 1}, "progress": {"current": 1}}
    answer = session_api(org, session).patch(path(session), body)
    assert answer.status_code == 409
    assert records.stored(org, session) == before


# --- columns ---------------------------------------------------------------------------------


def test_people_change_priority_labels_and_metadata(org: Org) -> None:
    session = factories.pending(org)
    body = {"priority": 5, "labels": {"zone": "a"}, "metadata": {"ticket": 7}}
    answer = org.operator.api.patch(path(session), body).json()
    assert {name: answer[name] for name in body} == body
    assert answer["state"] == "pending"


@pytest.mark.parametrize("name", ["priority", "labels", "deadline_at"])
def test_executors_do_not_change_what_is_for_people(org: Org, name: str) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    value = {"priority": 5, "labels": {}, "deadline_at": later(org, hours=1)}[name]
    for api in (org.runner.api, session_api(org, session)):
        answer = api.patch(path(session), {name: value})
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert records.stored(org, session) == before


@pytest.mark.parametrize("state", [State.DISPATCHED, State.RUNNING])
def test_a_deadline_given_to_an_execution_lasts_through_its_heartbeats_and_leases(
    org: Org, state: State
) -> None:
    session = roads.reach(org, state)
    deadline = later(org, minutes=5)
    answer = org.operator.api.patch(path(session), {"deadline_at": deadline})
    assert answer.json()["deadline_at"] == deadline
    session_api(org, session).post(path(session, "heartbeat"))
    row = records.fresh(org, session)
    assert clock.rfc3339(row.deadline_at) == clock.rfc3339(row.run_deadline_at) == deadline


def test_a_deadline_given_to_a_waiting_session_is_about_the_waiting(org: Org) -> None:
    session = factories.pending(org)
    org.operator.api.patch(path(session), {"deadline_at": later(org, minutes=5)})
    factories.claimed(org, session)
    assert records.fresh(org, session).deadline_at is None


@pytest.mark.parametrize("state", [State.CANCELLING, State.COMPLETED, State.EXPIRED])
def test_nobody_moves_the_end_of_what_is_ending_or_over(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    before = records.stored(org, session)
    answer = org.operator.api.patch(path(session), {"deadline_at": later(org, days=1)})
    assert (answer.status_code, answer.json()["current_state"]) == (409, state)
    assert records.stored(org, session) == before


def test_a_deadline_lies_in_the_future(org: Org) -> None:
    answer = org.operator.api.patch(
        path(factories.running(org)), {"deadline_at": later(org, seconds=-1)}
    )
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "in_the_past")


def test_progress_and_heartbeats_do_not_change_the_etag_but_states_do(org: Org) -> None:
    session = factories.running(org)
    token, read = session_api(org, session), lambda: org.viewer.api.get(path(session))["ETag"]
    tag = read()
    token.post(path(session, "heartbeat"), {"progress": {"current": 1, "total": 2}})
    token.patch(path(session), {"progress": {"current": 2, "total": 2}})
    assert org.viewer.api.get(path(session)).json()["progress"]["current"] == 2
    assert read() == tag
    refused = org.operator.api.patch(path(session), {"metadata": {}}, **{"If-Match": '"other"'})
    assert refused.status_code == 412
    matched = org.operator.api.patch(path(session), {"metadata": {}}, **{"If-Match": tag})
    assert matched.status_code == 200
    assert read() != tag


@pytest.mark.proves("fence.desired-state")
def test_the_wished_state_is_told_to_executors_by_a_patch_too(org: Org) -> None:
    session = factories.running(org)
    roads.pause(org, session)
    answer = session_api(org, session).patch(path(session), {"progress": {"current": 1}})
    assert answer.json()["desired_state"] == DesiredState.PAUSED
