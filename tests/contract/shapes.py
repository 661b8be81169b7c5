"""The fields that answers have at least, as the contract lists them."""

from __future__ import annotations

from typing import Any

_FIELDS = {
    "profile": """id name description execution_target status version labels limits lease retry
        grant_policy retention_days created_at updated_at""",
    "harness": """id profile_id version image_ref image_digest entrypoint status notes published_at
        published_by""",
    "session": """id profile_id harness_id retry_of task_id side_effects state reason desired_state
        attempt lease_epoch input metadata labels priority progress result lease completeness
        failures counts created_at dispatched_at started_at ended_at updated_at deadline_at""",
    "heartbeat": "id state desired_state lease session_token",
    "checkpoint": "id number digest lease_epoch created_at desired_state",
    "event": """id seq kind level step message data source actor lease_epoch occurred_at recorded_at
        client_id""",
    "ingested": "accepted duplicates first_seq last_seq desired_state",
    "artifact": """id session_id name kind media_type size_bytes sha256 status lease_epoch
        created_at""",
    "grant": """id session_id operation resource constraints reason state ttl_seconds
        operation_digest requested_by requested_at request_lapses_at approvals_required approvals
        activated_at expires_at ended_at end_reason uses""",
    "decision": "by at decision comment",
    "use": "id allowed uses expires_at",
    "lease": "epoch expires_at ttl_seconds heartbeat_interval_seconds",
    "limits": "max_concurrent_sessions queue_target_seconds max_artifact_bytes max_artifacts",
    "terms": "ttl_seconds heartbeat_interval_seconds",
    "retry": "max_attempts backoff_seconds",
    "counts": "events warnings errors artifacts active_grants",
    "page": "items next_cursor",
}
# What only the detail shows costs a list too much.
_FIELDS["listed_session"] = " ".join(
    name for name in _FIELDS["session"].split() if name not in ("input", "counts", "completeness")
)
_FIELDS["claim"] = _FIELDS["listed_session"] + " input session_token harness checkpoint"


def has_shape(value: Any, shape: str) -> Any:
    """The value, once it has every field of the shape."""
    missing = set(_FIELDS[shape].split()) - value.keys()
    assert not missing, f"{shape} without {sorted(missing)}"
    return value
