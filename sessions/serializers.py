"""What session bodies must be, and what answers look like."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail

from grants import queries
from keeptrusts_runners.api.inputs import (
    Boolean,
    Choice,
    Id,
    InputShape,
    Instant,
    Integer,
    Items,
    JsonObject,
    Labels,
    Number,
    Text,
)
from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape
from profiles.models import MAX_LEASE_TTL_SECONDS
from profiles.serializers import HarnessOut
from sessions.diagnosis import cancellation
from sessions.models import DesiredState, Disposition, RunnerSession, SideEffects
from sessions.states import Health, Reason, State

MAX_INPUT_BYTES = 256 * 1024
_THIRTY_DAYS = 30 * 24 * 3600
_LEASE_EPOCH = {"min_value": 1, "required": False}


class DispatchIn(InputShape):
    profile_id = Id("prof")
    task_id = Text(max_length=200)
    input = JsonObject(max_bytes=MAX_INPUT_BYTES, required=False)
    harness_id = Id("harn", required=False)
    side_effects = Choice(SideEffects.values, required=False)
    priority = Integer(min_value=-1000, max_value=1000, required=False)
    not_before = Instant(required=False)
    queue_timeout_seconds = Integer(min_value=1, max_value=_THIRTY_DAYS, required=False)
    timeout_seconds = Integer(min_value=1, max_value=_THIRTY_DAYS, required=False)
    max_attempts = Integer(min_value=1, max_value=100, required=False)
    labels = Labels(required=False)
    concurrency_key = Text(max_length=120, required=False)
    concurrency_limit = Integer(min_value=1, max_value=1000, required=False)
    metadata = JsonObject(max_bytes=16 * 1024, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "concurrency_limit" in attrs and "concurrency_key" not in attrs:
            contradiction = ErrorDetail("This goes with a concurrency_key.", "contradiction")
            raise serializers.ValidationError({"concurrency_limit": contradiction})
        return attrs


class ProgressIn(InputShape):
    current = Number(min_value=0, required=False)
    total = Number(min_value=0, required=False, allow_null=True)
    unit = Text(max_length=32, required=False, allow_blank=True)
    message = Text(max_length=500, required=False, allow_blank=True)


class ExecutorIn(InputShape):
    name = Text(max_length=120, required=False)
    version = Text(max_length=64, required=False)
    labels = Labels(required=False)


class ClaimIn(InputShape):
    claim_id = Text(max_length=120, required=False)
    lease_ttl_seconds = Integer(min_value=5, max_value=MAX_LEASE_TTL_SECONDS, required=False)
    executor = ExecutorIn(required=False)
    image_digest = Text(max_length=71, pattern=r"sha256:[0-9a-f]{64}", required=False)


class ClaimNextIn(ClaimIn):
    profiles = Items(Id("prof"), max_items=100, required=False)
    labels = Labels(required=False)
    max = Integer(min_value=1, max_value=50, required=False)
    wait_seconds = Integer(min_value=0, max_value=30, required=False)


class HeartbeatIn(InputShape):
    progress = ProgressIn(required=False)
    lease_epoch = Integer(**_LEASE_EPOCH)


class CheckpointIn(InputShape):
    data = JsonObject(max_bytes=256 * 1024)  # type: ignore[assignment]  # the API's word
    label = Text(max_length=120, required=False, allow_blank=True)  # type: ignore[assignment]
    lease_epoch = Integer(**_LEASE_EPOCH)


class ReasonIn(InputShape):
    reason = Text(max_length=2000, lines=True, required=False, allow_blank=True)


class CancelIn(ReasonIn):
    force = Boolean(required=False)


class ResumeIn(InputShape):
    checkpoint_id = Id("ckpt", required=False)


class SessionRetryIn(InputShape):
    same_harness = Boolean(required=False)
    checkpoint_id = Id("ckpt", required=False)


class DispositionIn(InputShape):
    decision = Choice(Disposition.values)
    comment = Text(max_length=2000, lines=True)


class RecallIn(InputShape):
    reason = Text(max_length=2000, lines=True)
    cancel_sessions = Boolean(required=False)


class ErrorIn(InputShape):
    code = Text(max_length=64, pattern=r"[a-z0-9][a-z0-9_.-]*")
    message = Text(max_length=4000, lines=True, required=False, allow_blank=True)


class AmendIn(InputShape):
    """PATCH: a state asked for or reported, progress, and operator-driven columns."""

    state = Choice(["completed", "failed", "paused", "cancelled", "running"], required=False)
    result = JsonObject(max_bytes=64 * 1024, required=False)
    error = ErrorIn(required=False)
    retryable = Boolean(required=False)
    reason = Text(max_length=2000, lines=True, required=False, allow_blank=True)
    progress = ProgressIn(required=False)
    metadata = JsonObject(max_bytes=16 * 1024, required=False)
    labels = Labels(required=False)
    priority = Integer(min_value=-1000, max_value=1000, required=False)
    deadline_at = Instant(required=False)
    event_count = Integer(min_value=0, required=False)
    lease_epoch = Integer(**_LEASE_EPOCH)


class LeaseOut(OutputShape):
    epoch = serializers.IntegerField(source="lease_epoch")
    holder = serializers.CharField(source="lease_account")
    executor = serializers.JSONField(source="lease_executor")
    expires_at = InstantOut(source="lease_expires_at")
    ttl_seconds = serializers.IntegerField(source="lease_ttl_seconds")
    heartbeat_interval_seconds = serializers.IntegerField()


class DispositionOut(OutputShape):
    decision = serializers.CharField(source="disposition")
    by = serializers.CharField(source="disposition_by")
    at = InstantOut(source="disposition_at")


class SessionOut(OutputShape):
    """A session as lists show it."""

    id = IdOut("sess")
    profile_id = IdOut("prof")
    harness_id = IdOut("harn", allow_null=True)
    executor_id = IdOut("exec", allow_null=True)
    retry_of = IdOut("sess", allow_null=True, source="retry_of_id")
    task_id = serializers.CharField()
    state = serializers.ChoiceField([state.value for state in State])
    reason = serializers.CharField()
    desired_state = serializers.ChoiceField(DesiredState.choices)
    side_effects = serializers.ChoiceField(SideEffects.choices)
    attempt = serializers.IntegerField(source="lease_epoch")
    lease_epoch = serializers.IntegerField()
    failures = serializers.IntegerField()
    max_attempts = serializers.IntegerField()
    priority = serializers.IntegerField()
    labels = serializers.DictField(child=serializers.CharField())
    concurrency_key = serializers.CharField()
    concurrency_limit = serializers.IntegerField()
    metadata = serializers.JSONField()
    progress = serializers.DictField(allow_null=True)
    result = serializers.DictField(allow_null=True)
    error = serializers.DictField(allow_null=True)
    reported_outcome = serializers.CharField()
    lease = serializers.SerializerMethodField()
    disposition = serializers.SerializerMethodField()
    dispatched_by = serializers.CharField()
    not_before = InstantOut(allow_null=True)
    created_at = InstantOut()
    dispatched_at = InstantOut(allow_null=True)
    started_at = InstantOut(allow_null=True)
    ended_at = InstantOut(allow_null=True)
    updated_at = InstantOut()
    heartbeat_at = InstantOut(allow_null=True)
    deadline_at = InstantOut(allow_null=True)

    def get_lease(self, obj: RunnerSession) -> dict[str, Any] | None:
        return LeaseOut.render(obj) if obj.is_leased else None

    def get_disposition(self, obj: RunnerSession) -> dict[str, Any] | None:
        """What a person decided about a lost session: decision, by, at."""
        return DispositionOut.render(obj) if obj.disposition else None


class SessionListedOut(SessionOut):
    """A session of a list, with how its heartbeat is and why it needs somebody."""

    health = serializers.ChoiceField([word.value for word in Health])
    attention = serializers.ListField(child=serializers.ChoiceField([r.value for r in Reason]))


class RecallOut(OutputShape):
    """A recalled revision and the sessions that it touched, newest first. `truncated`: there are
    more than these. `open_left`: there is more to cancel; ask again."""

    harness = HarnessOut()
    sessions = SessionOut(many=True)
    truncated = serializers.BooleanField()
    cancelled = serializers.IntegerField()
    open_left = serializers.BooleanField()


class CheckpointOut(OutputShape):
    id = IdOut("ckpt")
    number = serializers.IntegerField()
    label = serializers.CharField()  # type: ignore[assignment]  # the API's word
    digest = serializers.CharField()
    lease_epoch = serializers.IntegerField()
    data = serializers.JSONField()  # type: ignore[assignment]
    created_at = InstantOut()


class CancelOut(OutputShape):
    """The way of a cancellation. `delivered_at`: the first answer that told the lease holder;
    `force_at`: when it is ended without being acknowledged."""

    requested_at = InstantOut(source="cancel_requested_at")
    requested_by = serializers.CharField(source="cancel_requested_by")
    delivered_at = InstantOut(source="cancel_delivered_at", allow_null=True)
    force_at = InstantOut(allow_null=True)
    acknowledged_at = InstantOut(allow_null=True)
    forced_at = InstantOut(allow_null=True)


class SessionDetailOut(SessionOut):
    """One session, whole."""

    cancel = serializers.SerializerMethodField()
    input = serializers.JSONField()
    counts = serializers.SerializerMethodField()
    completeness = serializers.SerializerMethodField()
    traceparent = serializers.CharField()
    grant_policy_version = serializers.IntegerField()

    def get_cancel(self, obj: RunnerSession) -> dict[str, Any] | None:
        """Null unless a cancellation was asked for."""
        return CancelOut.render(cancellation(obj)) if obj.cancel_requested_at else None

    def get_counts(self, obj: RunnerSession) -> dict[str, int]:
        """events, warnings, errors, artifacts, active_grants"""
        return queries.counts(obj)

    def get_completeness(self, obj: RunnerSession) -> list[dict[str, Any]]:
        """For each epoch: epoch, declared, received, missing."""
        return queries.completeness(obj)


class DecidedOut(SessionDetailOut):
    """A lost session that has been decided on, and the newest retry of it."""

    retry_id = IdOut("sess", allow_null=True)


class ClaimOut(SessionOut):
    """What a claim hands to the executor: the work, the lease, and the token for it."""

    input = serializers.JSONField()
    traceparent = serializers.CharField()
    session_token = serializers.CharField()
    harness = HarnessOut(allow_null=True)
    checkpoint = CheckpointOut(allow_null=True, source="checkpoint_to_resume_from")


class ClaimsOut(OutputShape):
    """What claiming next answers: at least one, since none is a 204."""

    items = ClaimOut(many=True)


class HeartbeatOut(OutputShape):
    id = IdOut("sess")
    state = serializers.ChoiceField([state.value for state in State])
    desired_state = serializers.ChoiceField(DesiredState.choices)
    lease = serializers.SerializerMethodField()
    session_token = serializers.CharField(allow_null=True)

    def get_lease(self, obj: RunnerSession) -> dict[str, Any]:
        return LeaseOut.render(obj)


class CheckpointAnswer(CheckpointOut):
    """A recorded checkpoint, and what its session is to become."""

    desired_state = serializers.ChoiceField(DesiredState.choices)


class TransitionOut(OutputShape):
    seq = serializers.IntegerField()
    verb = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # the API's word
    target = serializers.CharField()
    reason = serializers.CharField()
    actor = serializers.CharField()
    lease_epoch = serializers.IntegerField()
    at = InstantOut()


class AttemptOut(OutputShape):
    number = serializers.IntegerField()
    holder = serializers.CharField()
    executor = serializers.JSONField()
    claimed_at = InstantOut()
    started_at = InstantOut(allow_null=True)
    ended_at = InstantOut(allow_null=True)
    ended_by = serializers.CharField()
    end_state = serializers.CharField()
    end_reason = serializers.CharField()
