"""The whole road once, through the API, with the seed's bodies."""

from __future__ import annotations

import hashlib

import pytest

from tests.people import Api, Org


@pytest.mark.proves("run.road")
def test_a_session_goes_from_profile_to_completed_with_everything_recorded() -> None:
    org = Org()
    profile = org.operator.api.post(
        "/runners/profiles",
        {
            "name": "network-sandbox",
            "description": "Runner profile for outbound network tasks",
            "execution_target": "runner",
        },
    )
    assert profile.status_code == 201, profile.content
    profile_id = profile.json()["id"]
    harness = org.operator.api.post(
        f"/runners/profiles/{profile_id}/harnesses",
        {
            "version": "2026.05.01",
            "image_ref": "ghcr.io/keeptrusts/runner-harness:2026.05.01",
        },
    )
    assert harness.status_code == 201, harness.content
    dispatched = org.operator.api.post(
        "/runners/sessions",
        {
            "profile_id": profile_id,
            "task_id": "task_456",
            "input": {"job": "collect-artifacts"},
        },
    )
    assert dispatched.status_code == 201, dispatched.content
    assert dispatched.json()["state"] == "pending"
    assert dispatched.json()["harness_id"] == harness.json()["id"]
    path = f"/runners/sessions/{dispatched.json()['id']}"

    claim = org.runner.api.post("/runners/sessions/claim", {"executor": {"name": "gateway-1"}})
    assert claim.status_code == 200, claim.content
    (claimed,) = claim.json()["items"]
    assert claimed["id"] == dispatched.json()["id"]
    assert claimed["harness"]["version"] == "2026.05.01"
    runner = Api(claimed["session_token"])

    beat = runner.post(f"{path}/heartbeat", {"progress": {"current": 1, "total": 3}})
    assert beat.status_code == 200, beat.content
    assert (beat.json()["state"], beat.json()["desired_state"]) == ("running", "running")
    event = runner.post(f"{path}/events", {"kind": "step.started", "step": "collect"})
    assert event.status_code == 201, event.content
    batch = runner.post(
        f"{path}/events",
        {"events": [{"kind": "log", "message": "a", "client_id": "1"}, {"kind": "warning"}]},
    )
    assert batch.status_code == 200, batch.content
    assert batch.json()["accepted"] == 2
    checkpoint = runner.post(f"{path}/checkpoint", {"data": {"after": "a"}, "label": "first"})
    assert checkpoint.status_code == 201, checkpoint.content
    grant = runner.post(
        f"{path}/permissions",
        {"operation": "filesystem.read:/srv", "reason": "to collect", "ttl_seconds": 60},
    )
    assert grant.status_code == 201, grant.content
    assert grant.json()["state"] == "requested"
    grant_path = f"{path}/permissions/{grant.json()['id']}"
    approved = org.approver.api.post(
        f"{grant_path}/approve", {"operation_digest": grant.json()["operation_digest"]}
    )
    assert approved.status_code == 200, approved.content
    assert approved.json()["state"] == "active"
    used = runner.post(f"{grant_path}/use", {"target": "/srv/a"})
    assert used.json()["allowed"] is True, used.content
    content = b"the bundle"
    artifact = runner.request(
        "POST",
        f"{path}/artifacts?name=bundle.tar&kind=bundle",
        raw=content,
        **{"Content-Type": "application/x-tar"},
    )
    assert artifact.status_code == 201, artifact.content
    assert artifact.json()["sha256"] == hashlib.sha256(content).hexdigest()
    download = org.viewer.api.get(f"{path}/artifacts/{artifact.json()['id']}/content")
    assert b"".join(download.streaming_content) == content
    done = runner.patch(path, {"state": "completed", "result": {"files": 1}})
    assert done.status_code == 200, done.content
    assert done.json()["state"] == "completed"

    assert org.viewer.api.get(grant_path).json()["state"] == "ended"
    kinds = [
        item["kind"] for item in org.viewer.api.get(f"{path}/events?limit=200").json()["items"]
    ]
    assert kinds == [
        "state.pending",
        "state.dispatched",
        "lease.granted",
        "state.running",
        "step.started",
        "log",
        "warning",
        "checkpoint.recorded",
        "grant.requested",
        "grant.approved",
        "grant.activated",
        "grant.used",
        "artifact.stored",
        "state.completed",
        "grant.ended",
    ]
