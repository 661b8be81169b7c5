"""The page whose API this is: its routes with its bodies, exactly."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.shapes import has_shape
from tests.people import Api, Org

PROFILE = {
    "name": "network-sandbox",
    "description": "Runner profile for outbound network tasks",
    "execution_target": "runner",
}
HARNESS = {
    "version": "2026.05.01",
    "image_ref": "ghcr.io/keeptrusts/runner-harness:2026.05.01",
}
INPUT = {"job": "collect-artifacts"}

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def ok(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    if status == 204:
        assert answer.content == b""
        return None
    assert answer["Content-Type"] == "application/json"
    document = answer.json()
    _check_names_and_instants(document)
    return document


def _check_names_and_instants(value: Any, name: str = "") -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            assert re.fullmatch(r"[a-z0-9_-]+", key), key
            _check_names_and_instants(inner, key)
    elif isinstance(value, list):
        for inner in value:
            _check_names_and_instants(inner, name)
    elif name.endswith("_at") and value is not None:
        assert _INSTANT.fullmatch(value), (name, value)


def items(answer: Any, shape: str) -> list[Any]:
    found = has_shape(ok(answer), "page")["items"]
    for item in found:
        has_shape(item, shape)
    return list(found)


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def profile(org: Org) -> dict[str, Any]:
    made = has_shape(ok(org.operator.api.post("/runners/profiles", PROFILE), 201), "profile")
    return dict(made)


@pytest.fixture
def session(org: Org, profile: dict[str, Any]) -> dict[str, Any]:
    body = {"profile_id": profile["id"], "task_id": "task_456", "input": INPUT}
    made = has_shape(ok(org.operator.api.post("/runners/sessions", body), 201), "session")
    return dict(made)


def path_of(session: dict[str, Any]) -> str:
    return f"/runners/sessions/{session['id']}"


def test_profiles(org: Org, profile: dict[str, Any]) -> None:
    api = org.operator.api
    assert {name: profile[name] for name in PROFILE} == PROFILE
    assert profile["id"].startswith("prof_")
    assert (profile["status"], profile["version"]) == ("active", 1)
    has_shape(profile["limits"], "limits")
    assert has_shape(profile["lease"], "terms")["ttl_seconds"] == 60
    assert profile["lease"]["heartbeat_interval_seconds"] == 15
    assert has_shape(profile["retry"], "retry")["max_attempts"] == 1
    path = f"/runners/profiles/{profile['id']}"
    assert items(api.get("/runners/profiles"), "profile") == [profile]
    assert ok(api.get(path)) == profile
    changed = ok(api.put(path, {**PROFILE, "name": "renamed"}))
    assert (has_shape(changed, "profile")["name"], changed["version"]) == ("renamed", 2)
    ok(api.delete(path), 204)
    assert ok(api.get(path))["status"] == "archived"


def test_harness_revisions(org: Org, profile: dict[str, Any]) -> None:
    api = org.operator.api
    path = f"/runners/profiles/{profile['id']}/harnesses"
    assert items(api.get(path), "harness") == []
    none = api.get(f"{path}/latest")
    assert (none.status_code, none.json()["code"]) == (404, "no_harness")
    made = has_shape(ok(api.post(path, HARNESS), 201), "harness")
    assert {name: made[name] for name in HARNESS} == HARNESS
    # A tag without a digest can move: nothing pins it, and the answer says so.
    assert (made["image_digest"], made["mutable_tag"]) == (None, True)
    assert items(api.get(path), "harness") == [made]
    assert ok(api.get(f"{path}/latest")) == made
    digest = "sha256:" + "a" * 64
    pinned = {"version": "2", "image_ref": f"registry.test/h@{digest}"}
    pinned = ok(api.post(path, pinned), 201)
    assert (pinned["image_digest"], pinned["mutable_tag"]) == (digest, False)
    assert ok(api.get(f"{path}/latest"))["version"] == "2"
    again = api.post(path, HARNESS)
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")


def test_dispatch(org: Org, profile: dict[str, Any], session: dict[str, Any]) -> None:
    assert (session["task_id"], session["input"]) == ("task_456", INPUT)
    assert (session["state"], session["attempt"], session["lease"]) == ("pending", 0, None)
    assert (session["profile_id"], session["harness_id"]) == (profile["id"], None)
    assert session["side_effects"] == "idempotent"
    has_shape(session["counts"], "counts")
    api = org.viewer.api
    (listed,) = items(api.get("/runners/sessions"), "listed_session")
    assert listed["id"] == session["id"]
    assert ok(api.get(path_of(session))) == session


def test_claim_without_a_harness_and_the_lifecycle(org: Org, session: dict[str, Any]) -> None:
    claimed = ok(org.runner.api.post(f"{path_of(session)}/claim"))
    has_shape(claimed, "claim")
    assert has_shape(claimed["lease"], "lease")["epoch"] == 1
    assert (claimed["state"], claimed["attempt"]) == ("dispatched", 1)
    assert (claimed["harness"], claimed["checkpoint"]) == (None, None)
    runner, path = Api(claimed["session_token"]), path_of(session)
    beat = has_shape(ok(runner.post(f"{path}/heartbeat")), "heartbeat")
    assert (beat["state"], beat["desired_state"]) == ("running", "running")
    has_shape(beat["lease"], "lease")
    made = has_shape(ok(runner.post(f"{path}/checkpoint", {"data": {"at": 1}}), 201), "checkpoint")
    assert made["number"] == 1
    ok(org.operator.api.post(f"{path}/pause"))
    assert ok(runner.patch(path, {"state": "paused"}))["state"] == "paused"
    assert has_shape(ok(org.operator.api.post(f"{path}/resume")), "session")["state"] == "pending"
    again = ok(org.runner.api.post(f"{path}/claim"))
    assert (again["attempt"], again["failures"]) == (2, 0)
    assert again["checkpoint"]["id"] == made["id"]
    assert again["checkpoint"]["data"] == {"at": 1}
    patched = ok(Api(again["session_token"]).patch(path, {"progress": {"current": 1, "total": 2}}))
    assert patched["progress"] == {"current": 1, "total": 2}
    ended = ok(org.operator.api.post(f"{path}/cancel"))
    assert has_shape(ended, "session")["state"] == "cancelling"
    assert ok(Api(again["session_token"]).patch(path, {"state": "cancelled"}))["state"] == (
        "cancelled"
    )
    assert ok(org.operator.api.post(f"{path}/cancel"))["state"] == "cancelled"


def test_cancel_of_what_nobody_has_claimed(org: Org, session: dict[str, Any]) -> None:
    assert ok(org.operator.api.post(f"{path_of(session)}/cancel"))["state"] == "cancelled"


def test_events(org: Org, session: dict[str, Any]) -> None:
    runner = Api(ok(org.runner.api.post(f"{path_of(session)}/claim"))["session_token"])
    path = f"{path_of(session)}/events"
    one = has_shape(ok(runner.post(path, {"kind": "step.started", "step": "s"}), 201), "event")
    assert one["seq"] == 4
    batch = ok(runner.post(path, {"events": [{"kind": "log", "message": "a"}]}))
    assert has_shape(batch, "ingested")["first_seq"] == batch["last_seq"] == 5
    lines = b'{"kind": "log", "message": "b"}\n{"kind": "warning", "message": "c"}\n'
    ndjson = runner.request("POST", path, raw=lines, **{"Content-Type": "application/x-ndjson"})
    assert has_shape(ok(ndjson), "ingested")["accepted"] == 2
    listed = items(org.viewer.api.get(path), "event")
    assert [item["seq"] for item in listed] == list(range(1, 8))
    assert listed[3]["step"] == "s"
    assert listed[4]["message"] == "a"


def test_artifacts(org: Org, session: dict[str, Any]) -> None:
    runner = Api(ok(org.runner.api.post(f"{path_of(session)}/claim"))["session_token"])
    path = f"{path_of(session)}/artifacts"
    assert items(org.viewer.api.get(path), "artifact") == []
    answer = runner.request(
        "POST", f"{path}?name=a.log&kind=log", raw=b"x", **{"Content-Type": "text/plain"}
    )
    made = has_shape(ok(answer, 201), "artifact")
    assert (made["name"], made["kind"], made["media_type"]) == ("a.log", "log", "text/plain")
    assert made.pop("desired_state") == "running"
    assert made.pop("upload") is None
    assert items(org.viewer.api.get(path), "artifact") == [made]


def test_permissions(org: Org, session: dict[str, Any]) -> None:
    path = f"{path_of(session)}/permissions"
    runner = Api(ok(org.runner.api.post(f"{path_of(session)}/claim"))["session_token"])
    body = {"operation": "network.egress:a.test:443", "reason": "to fetch", "ttl_seconds": 60}
    issued = has_shape(ok(org.operator.api.post(path, body), 201), "grant")
    assert (issued["state"], issued["approvals"]) == ("active", [])
    asked = has_shape(ok(runner.post(path, body), 201), "grant")
    assert asked["state"] == "requested"
    decision = {"operation_digest": asked["operation_digest"], "comment": "fine"}
    approved = ok(org.approver.api.post(f"{path}/{asked['id']}/approve", decision))
    assert approved["state"] == "active"
    assert has_shape(approved["approvals"][0], "decision")["decision"] == "approve"
    used = ok(runner.post(f"{path}/{asked['id']}/use", {"target": "a.test"}))
    assert has_shape(used, "use")["allowed"] is True
    assert {item["id"] for item in items(org.viewer.api.get(path), "grant")} == {
        issued["id"], asked["id"],
    }  # fmt: skip
    ok(org.operator.api.delete(f"{path}/{issued['id']}"), 204)
    revoked = ok(org.viewer.api.get(f"{path}/{issued['id']}"))
    assert (revoked["state"], revoked["ended_at"] is None) == ("revoked", False)
    refused = has_shape(ok(runner.post(f"{path}/{issued['id']}/use")), "use")
    assert refused["allowed"] is False


def test_a_person_may_act_for_the_holder_and_gets_no_token(
    org: Org, session: dict[str, Any]
) -> None:
    ok(org.runner.api.post(f"{path_of(session)}/claim"))
    beat = has_shape(ok(org.operator.api.post(f"{path_of(session)}/heartbeat")), "heartbeat")
    assert (beat["state"], beat["session_token"]) == ("running", None)


def test_members_of_a_patch_that_do_not_go_together(org: Org, session: dict[str, Any]) -> None:
    ok(org.runner.api.post(f"{path_of(session)}/claim"))
    for body, pointer in (
        ({"reason": "x"}, "/reason"),
        ({"result": {}}, "/result"),
        ({"event_count": 1}, "/event_count"),
        ({"state": "completed", "error": {"code": "x"}}, "/error"),
        ({"state": "completed", "retryable": True}, "/retryable"),
        ({"state": "paused", "result": {}}, "/result"),
    ):
        refused = org.runner.api.patch(path_of(session), body)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == pointer


def test_ending_a_session_declares_and_repeats(org: Org, session: dict[str, Any]) -> None:
    runner = Api(ok(org.runner.api.post(f"{path_of(session)}/claim"))["session_token"])
    path = path_of(session)
    numbered = [{"kind": "log", "client_seq": number} for number in (1, 2, 4)]
    ok(runner.post(f"{path}/events", {"events": numbered}))
    report = {"state": "completed", "result": {"files": 3}, "event_count": 4}
    ended = ok(runner.patch(path, report))
    assert (ended["state"], ended["result"]) == ("completed", {"files": 3})
    assert ended["completeness"] == [
        {"epoch": 1, "declared": 4, "received": 3, "missing": [[3, 3]]}
    ]
    again = runner.patch(path, report)
    assert ok(again)["ended_at"] == ended["ended_at"]
    other = runner.patch(path, {**report, "result": {}})
    assert (other.status_code, other.json()["code"]) == (409, "outcome_conflict")
