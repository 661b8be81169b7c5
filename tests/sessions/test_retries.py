"""Ended sessions run again as new ones, and decisions about those that were lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from profiles import catalog
from sessions.models import RunnerSession
from sessions.states import FINAL, OPEN, State, Verb
from tests import factories
from tests.contract.calls import content, problem
from tests.factories import path, session_api
from tests.people import Org
from tests.sessions import roads

KEPT = [
    "profile_id",
    "task_id",
    "input",
    "labels",
    "metadata",
    "priority",
    "max_attempts",
    "side_effects",
]


@pytest.fixture
def org() -> Org:
    return Org()


def publish(org: Org, session: RunnerSession | None, version: str, **on: Any) -> str:
    profile_id = on["profile"].id if on else session.profile_id  # type: ignore[union-attr]
    by = org.operator.principal
    with org.scope():
        fields = {"version": version, "image_ref": f"registry.test/h:{version}"}
        made = catalog.publish_harness(profile_id, fields, by=by)
    return ids.encode("harn", made.id)


def decide(org: Org, session: RunnerSession, decision: str) -> Any:
    body = {"decision": decision, "comment": "looked it up"}
    return org.operator.api.post(path(session, "disposition"), body)


def attention(org: Org) -> list[str]:
    answer = org.viewer.api.get("/runners/sessions?view=attention").json()
    return [each["id"] for each in answer["items"]]


@pytest.mark.proves("life.retry-of")
@pytest.mark.parametrize("state", sorted(FINAL))
def test_an_ended_session_is_tried_again_as_a_new_one(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    before = org.viewer.api.get(path(session)).json()
    made = org.operator.api.post(path(session, "retry"))
    assert made.status_code == 201, made.content
    new = made.json()
    assert (new["state"], new["attempt"], new["retry_of"]) == ("pending", 0, before["id"])
    assert {name: new[name] for name in KEPT} == {name: before[name] for name in KEPT}
    assert org.viewer.api.get(path(session)).json() == before
    (first,) = org.viewer.api.get(f"/runners/sessions/{new['id']}/events").json()["items"]
    assert first["data"]["retry_of"] == before["id"]


@pytest.mark.parametrize("state", sorted(OPEN))
def test_what_has_not_ended_is_not_tried_again(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    for answer in (
        org.operator.api.post(path(session, "retry")),
        decide(org, session, "accept"),
    ):
        refused = problem(answer, 409, "state_conflict")
        assert refused["current_state"] == state
        assert refused["allowed_verbs"]


def test_a_retry_pins_the_newest_revision_or_the_same(org: Org) -> None:
    on = factories.profile(org)
    old = publish(org, None, "1", profile=on)
    session = roads.cancel(org, factories.pending(org, on))
    new = publish(org, session, "2")
    again = org.operator.api.post(path(session, "retry")).json()
    same = org.operator.api.post(path(session, "retry"), {"same_harness": True}).json()
    assert (again["harness_id"], same["harness_id"]) == (new, old)
    place = f"/runners/profiles/{ids.encode('prof', on.id)}/harnesses/{old}/recall"
    org.operator.api.post(place, {"reason": "broken"})
    refused = org.operator.api.post(path(session, "retry"), {"same_harness": True})
    assert "recalled" in problem(refused, 409, "conflict")["detail"]


@pytest.mark.proves("life.retry-of")
def test_a_retry_goes_on_from_the_checkpoint_that_is_named(org: Org, tmp_path: Path) -> None:
    session = factories.running(org)
    first = roads.checkpoint(org, session, {"done": 1})
    roads.checkpoint(org, session, {"done": 2})
    roads.end(org, session, Verb.FAIL)
    named = {"checkpoint_id": ids.encode("ckpt", first.id)}
    made = org.operator.api.post(path(session, "retry"), named).json()
    below = f"/runners/sessions/{made['id']}"
    record = org.viewer.api.get(f"{below}/events").json()["items"][-1]
    assert record["kind"] == "checkpoint.recorded"
    assert record["data"]["from_session_id"] == ids.encode("sess", session.id)
    assert record["data"]["from_checkpoint_id"] == named["checkpoint_id"]
    claimed = org.runner.api.post(f"{below}/claim").json()
    handed = claimed["checkpoint"]
    assert (handed["number"], handed["data"], handed["lease_epoch"]) == (1, {"done": 1}, 0)
    assert handed["digest"] == first.digest == record["data"]["digest"]
    own = session_api(org, RunnerSession(id=ids.decode("sess", made["id"]), lease_epoch=1))
    assert own.post(f"{below}/checkpoint", {"data": {"done": 3}}).json()["number"] == 2
    bundle = tmp_path / "evidence.tar"
    bundle.write_bytes(content(org.auditor.api.get(f"{below}/evidence")))
    assert verify_bundle(bundle, None, None).exit_code == 0


def test_a_retry_takes_no_checkpoint_of_another_session(org: Org) -> None:
    other = factories.running(org)
    foreign = ids.encode("ckpt", roads.checkpoint(org, other, {"done": 1}).id)
    session = roads.cancel(org, factories.pending(org))
    for named in (foreign, ids.encode("ckpt", ids.new())):
        refused = org.operator.api.post(path(session, "retry"), {"checkpoint_id": named})
        (error,) = problem(refused, 422, "invalid")["errors"]
        assert (error["pointer"], error["code"]) == ("/checkpoint_id", "unknown_reference")
    assert len(org.viewer.api.get("/runners/sessions").json()["items"]) == 2


@pytest.mark.proves("life.disposition")
@pytest.mark.parametrize("decision", ["accept", "abandon", "retry"])
def test_a_decision_takes_a_lost_session_off_the_list(
    org: Org, decision: str, tmp_path: Path
) -> None:
    session = roads.reach(org, State.LOST)
    own = ids.encode("sess", session.id)
    assert attention(org) == [own]
    answer = decide(org, session, decision)
    assert answer.status_code == 200, answer.content
    found = answer.json()
    assert (found["state"], found["disposition"]["decision"]) == ("lost", decision)
    assert found["disposition"]["by"] == org.operator.principal.account
    assert (found["retry_id"] is not None) == (decision == "retry")
    assert attention(org) == []
    note = org.viewer.api.get(path(session, "events")).json()["items"][-1]
    assert (note["kind"], note["message"]) == ("note", "looked it up")
    assert note["data"]["disposition"] == decision
    bundle = tmp_path / "evidence.tar"
    bundle.write_bytes(content(org.auditor.api.get(path(session, "evidence"))))
    assert verify_bundle(bundle, None, None).exit_code == 0


@pytest.mark.proves("life.disposition")
def test_a_decision_stands_and_retries_once(org: Org) -> None:
    session = roads.reach(org, State.LOST)
    first, again = decide(org, session, "retry").json(), decide(org, session, "retry").json()
    assert first["retry_id"] == again["retry_id"]
    assert first["disposition"] == again["disposition"]
    refused = problem(decide(org, session, "accept"), 409, "already_decided")
    assert refused["state"] == "retry"
    assert len(org.viewer.api.get("/runners/sessions").json()["items"]) == 2


def test_only_a_lost_session_is_decided_on(org: Org) -> None:
    session = roads.reach(org, State.FAILED)
    refused = problem(decide(org, session, "accept"), 409, "state_conflict")
    assert refused["current_state"] == "failed"
