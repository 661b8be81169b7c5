"""Deprecated and recalled revisions: what is pinned, claimed, named and cancelled."""

from __future__ import annotations

from typing import Any

import pytest

from keeptrusts_runners import ids
from profiles import catalog
from profiles.models import RunnerProfile
from sessions import harness_recalls
from sessions.models import RunnerSession
from sessions.states import State
from tests import factories
from tests.contract.calls import problem
from tests.people import Org

REASON = {"reason": "it is broken"}


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def on(org: Org) -> RunnerProfile:
    return factories.profile(org)


def publish(org: Org, on: RunnerProfile, version: str = "1") -> str:
    fields = {"version": version, "image_ref": f"registry.test/harness:{version}"}
    by = org.operator.principal
    with org.scope():
        made = catalog.publish_harness(on.id, fields, by=by)
    return ids.encode("harn", made.id)


def place(on: RunnerProfile, *more: str) -> str:
    return "/".join((f"/runners/profiles/{ids.encode('prof', on.id)}/harnesses", *more))


def state_of(org: Org, session: RunnerSession) -> Any:
    return org.viewer.api.get(factories.path(session)).json()["state"]


def test_a_deprecated_revision_is_pinned_no_more_and_runs_on(org: Org, on: RunnerProfile) -> None:
    first = publish(org, on)
    session = factories.pending(org, on)
    newer = publish(org, on, "2")
    answer = org.operator.api.post(place(on, newer, "deprecate"), {"reason": "slow"}).json()
    assert (answer["status"], answer["status_reason"]) == ("deprecated", "slow")
    assert answer["status_changed_by"] == org.operator.principal.account
    assert org.viewer.api.get(place(on, "latest")).json()["id"] == first
    assert org.operator.api.post(place(on, newer, "deprecate")).json() == answer
    body = {"profile_id": ids.encode("prof", on.id), "task_id": "t", "harness_id": newer}
    problem(org.operator.api.post("/runners/sessions", body), 409, "conflict")
    org.operator.api.post(place(on, first, "deprecate"))
    assert org.runner.api.post(factories.path(session, "claim")).status_code == 200


@pytest.mark.proves("claim.honours")
def test_a_recalled_revision_is_handed_out_no_more(org: Org, on: RunnerProfile) -> None:
    harness = publish(org, on)
    running = factories.running(org, factories.pending(org, on))
    waiting = factories.pending(org, on)
    answer = org.operator.api.post(place(on, harness, "recall"), REASON).json()
    assert answer["harness"]["status"] == "recalled"
    assert [each["id"] for each in answer["sessions"]] == [
        ids.encode("sess", session.id) for session in (waiting, running)
    ]
    assert (answer["truncated"], answer["cancelled"], answer["open_left"]) == (False, 0, False)
    refused = problem(org.runner.api.post(factories.path(waiting, "claim")), 409, "not_claimable")
    assert refused["reason"] == "harness_recalled"
    assert org.runner.api.post("/runners/sessions/claim").status_code == 204
    own = factories.session_api(org, running)
    assert own.post(factories.path(running, "heartbeat")).status_code == 200
    problem(org.operator.api.post(place(on, harness, "deprecate")), 409, "conflict")


def test_a_recall_cancels_what_is_open(org: Org, on: RunnerProfile) -> None:
    harness = publish(org, on)
    running = factories.running(org, factories.pending(org, on))
    waiting = factories.pending(org, on)
    done = factories.running(org, factories.pending(org, on))
    factories.session_api(org, done).patch(factories.path(done), {"state": "completed"})
    elsewhere = factories.pending(org)
    body = REASON | {"cancel_sessions": True}
    answer = org.operator.api.post(place(on, harness, "recall"), body).json()
    assert answer["cancelled"] == 2
    assert state_of(org, waiting) == State.CANCELLED
    assert state_of(org, running) == State.CANCELLING
    assert state_of(org, done) == State.COMPLETED
    assert state_of(org, elsewhere) == State.PENDING
    told = org.viewer.api.get(factories.path(waiting, "events")).json()["items"][-1]
    assert told["data"]["comment"] == REASON["reason"]
    assert org.operator.api.post(place(on, harness, "recall"), body).json()["cancelled"] == 0


def test_a_recall_is_bounded_and_says_so(
    org: Org, on: RunnerProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness_recalls, "MAX_SESSIONS", 2)
    harness = publish(org, on)
    for _ in range(3):
        factories.pending(org, on)
    body = REASON | {"cancel_sessions": True}
    first = org.operator.api.post(place(on, harness, "recall"), body).json()
    assert (len(first["sessions"]), first["truncated"]) == (2, True)
    assert (first["cancelled"], first["open_left"]) == (2, True)
    again = org.operator.api.post(place(on, harness, "recall"), body | {"reason": "b"}).json()
    assert (again["cancelled"], again["open_left"]) == (1, False)
    assert again["harness"]["status_reason"] == REASON["reason"]


def test_a_revision_of_another_profile_is_not_there(org: Org, on: RunnerProfile) -> None:
    harness = publish(org, factories.profile(org))
    for verb in ("deprecate", "recall"):
        problem(org.operator.api.post(place(on, harness, verb), REASON), 404, "not_found")
