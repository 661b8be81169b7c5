"""What event, artifact and grant bodies must be, and what answers look like."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from grants import access
from grants.models import Artifact, ArtifactStatus, GrantState, Level, PermissionGrant, Retention
from grants.upload_models import Upload
from keeptrusts_runners import ids
from keeptrusts_runners.api.inputs import Choice, InputShape, Integer, JsonObject, Text
from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape
from keeptrusts_runners.clock import rfc3339
from keeptrusts_runners.evidence.log_serializers import InclusionOut
from sessions.models import DesiredState

_MAX_TTL_SECONDS = 7 * 24 * 3600
OPERATION = r"[\x21-\x29\x2b-\x7e]+"


class EventIn(InputShape):
    """One event, for the schema; batches are validated in one pass (grants.events)."""

    kind = Text(max_length=64)
    level = Text(max_length=8, required=False)
    step = Text(max_length=200, required=False)
    message = Text(max_length=16 * 1024, lines=True, required=False)
    data = JsonObject(max_bytes=64 * 1024, required=False)  # type: ignore[assignment]  # the API's word
    occurred_at = Text(max_length=40, required=False)
    client_id = Text(max_length=120, required=False)
    client_seq = Integer(min_value=1, required=False)


class EventOut(OutputShape):
    id = IdOut("evt")
    seq = serializers.IntegerField()
    kind = serializers.CharField()
    level = serializers.ChoiceField(Level.choices, allow_null=True)
    step = serializers.CharField(allow_null=True)
    message = serializers.CharField(allow_null=True)
    data = serializers.DictField(allow_null=True)  # type: ignore[assignment]  # the API's word
    source = serializers.CharField(allow_null=True)  # type: ignore[assignment]
    actor = serializers.CharField()
    lease_epoch = serializers.IntegerField()
    occurred_at = InstantOut(allow_null=True)
    recorded_at = InstantOut()
    client_id = serializers.CharField(allow_null=True)
    client_seq = serializers.IntegerField(allow_null=True)
    redacted = serializers.BooleanField(source="is_redacted")


class LevelCountsOut(OutputShape):
    debug = serializers.IntegerField()
    info = serializers.IntegerField()
    warning = serializers.IntegerField()
    error = serializers.IntegerField()
    critical = serializers.IntegerField()


class BucketOut(LevelCountsOut):
    """So many records of each level from `starts_at` on, for `bucket_seconds`."""

    starts_at = InstantOut()


class HistogramOut(OutputShape):
    """At most sixty buckets, up to the last that is not empty; `newest_seq` is the last record
    that is counted."""

    began_at = InstantOut(allow_null=True)
    bucket_seconds = serializers.IntegerField()
    newest_seq = serializers.IntegerField()
    buckets = BucketOut(many=True)


class WordCountOut(OutputShape):
    value = serializers.CharField()
    count = serializers.IntegerField()


class FacetsOut(OutputShape):
    """`levels` are of the whole session, kept at ingest. Kinds and steps were counted among the
    records from `searched_from` to `searched_to`, the most frequent first."""

    events = serializers.IntegerField()
    levels = LevelCountsOut()
    kinds = WordCountOut(many=True)
    steps = WordCountOut(many=True)
    searched_from = serializers.IntegerField(allow_null=True)
    searched_to = serializers.IntegerField(allow_null=True)


class IngestedOut(OutputShape):
    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    first_seq = serializers.IntegerField(allow_null=True)
    last_seq = serializers.IntegerField(allow_null=True)
    desired_state = serializers.CharField()


class ArtifactOut(OutputShape):
    id = IdOut("art")
    session_id = IdOut("sess")
    name = serializers.CharField()
    kind = serializers.CharField()
    media_type = serializers.CharField()
    size_bytes = serializers.IntegerField()
    sha256 = serializers.CharField()
    digest_source = serializers.CharField()
    status = serializers.ChoiceField(ArtifactStatus.choices)
    retention = serializers.ChoiceField(Retention.choices)
    lease_epoch = serializers.IntegerField()
    created_by = serializers.CharField()
    created_at = InstantOut()
    removed_at = InstantOut(allow_null=True)
    removed_by = serializers.CharField()
    removal_reason = serializers.CharField()
    checked_at = InstantOut(allow_null=True)


class ArtifactVerificationOut(OutputShape):
    """What came of reading an artifact's bytes back: what was stored, and what is there now."""

    artifact_id = IdOut("art", source="artifact.id")
    session_id = IdOut("sess", source="artifact.session_id")
    verdict = serializers.ChoiceField(["verified", "broken", "missing"])
    sha256 = serializers.CharField(source="artifact.sha256")
    size_bytes = serializers.IntegerField(source="artifact.size_bytes")
    found_sha256 = serializers.CharField(source="finding.sha256", allow_null=True)
    found_size_bytes = serializers.IntegerField(source="finding.size_bytes")
    checked_at = InstantOut(source="artifact.checked_at")


class UploadStateOut(OutputShape):
    """How far an upload is. `offset` is where the next bytes belong; with `part_size_bytes` it is a
    direct one, whose parts of that size go to the store, the last of what is left."""

    offset = serializers.IntegerField()
    length = serializers.IntegerField(allow_null=True)
    max_size = serializers.IntegerField()
    expires_at = InstantOut()
    part_size_bytes = serializers.IntegerField(allow_null=True)


class ArtifactDetailOut(ArtifactOut):
    """With `upload`, which says how far it is, an artifact is not stored yet: its size and digest
    are those that were announced, if any. It is `uploading`, or directly uploaded and `verifying`
    until it is read back, and `broken` if that found other bytes."""

    size_bytes = serializers.IntegerField(allow_null=True)
    sha256 = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField([*ArtifactStatus.choices, ("uploading", "Uploading")])
    upload = UploadStateOut(allow_null=True)


def upload_out(upload: Upload, offset: int) -> dict[str, Any]:
    """An upload as the artifact that it is to become."""
    state = {
        "offset": offset,
        "length": upload.length_bytes,
        "max_size": upload.max_bytes,
        "expires_at": upload.expires_at,
        "part_size_bytes": upload.part_size_bytes,
    }
    # What is said of an artifact and not of an upload is as in one of which nothing is known yet.
    nothing = Artifact(status="", digest_source="client")
    own = {
        name: getattr(upload if hasattr(upload, name) else nothing, name)
        for name in map(str, ArtifactOut().fields)
    }
    size_and_digest = {"size_bytes": upload.length_bytes, "sha256": upload.sha256 or None}
    return ArtifactDetailOut.render(
        own | size_and_digest | {"status": upload.status, "upload": state}
    )


class ArtifactAnswer(ArtifactDetailOut):
    """A stored artifact, or one that is uploading, and what its session is to become."""

    desired_state = serializers.ChoiceField(DesiredState.choices, source="session.desired_state")


class DirectUploadIn(InputShape):
    """What is to be sent to the store: what it is called, how large it is, and its digest."""

    name = Text(max_length=255)
    kind = Text(max_length=64, required=False)
    media_type = Text(max_length=127, required=False)
    retention = Choice(choices=Retention.choices, required=False)
    size_bytes = Integer(min_value=1)
    sha256 = Text(max_length=64, pattern=r"[0-9a-f]{64}")
    lease_epoch = Integer(min_value=1, required=False)


class PartsIn(InputShape):
    """Which parts' addresses are asked for: `count` of them from number `first` on."""

    first = Integer(min_value=1, max_value=10_000, required=False)
    count = Integer(min_value=1, max_value=1000, required=False)
    lease_epoch = Integer(min_value=1, required=False)


class CompletionIn(InputShape):
    lease_epoch = Integer(min_value=1, required=False)


class PartOut(OutputShape):
    """PUT exactly `size_bytes` bytes to `url`, before it expires. Whoever has it needs no more."""

    number = serializers.IntegerField()
    size_bytes = serializers.IntegerField()
    url = serializers.CharField()
    expires_at = InstantOut()


class PartsOut(OutputShape):
    """Addresses of parts; `next_number` is the first part that has none here."""

    parts = PartOut(many=True)
    next_number = serializers.IntegerField(allow_null=True)


class DirectUploadOut(ArtifactAnswer):
    """An upload that goes to the store, with the addresses of its first parts."""

    parts = PartOut(many=True)
    next_number = serializers.IntegerField(allow_null=True)


class RemovalIn(InputShape):
    """Why the content of an artifact is removed."""

    reason = Text(max_length=2000, lines=True)


class GrantIn(InputShape):
    operation = Text(max_length=200, pattern=OPERATION)
    resource = Text(max_length=512, required=False, allow_blank=True)
    constraints = JsonObject(max_bytes=8 * 1024, required=False)
    reason = Text(max_length=2000, lines=True)
    ttl_seconds = Integer(min_value=1, max_value=_MAX_TTL_SECONDS)
    lease_epoch = Integer(min_value=1, required=False)


class ApproveIn(InputShape):
    operation_digest = Text(max_length=71, pattern="sha256:[0-9a-f]{64}")
    comment = Text(max_length=2000, lines=True, required=False, allow_blank=True)
    ttl_seconds = Integer(min_value=1, max_value=_MAX_TTL_SECONDS, required=False)
    constraints = JsonObject(max_bytes=8 * 1024, required=False)


class DenyIn(InputShape):
    comment = Text(max_length=2000, lines=True)


class UseIn(InputShape):
    target = Text(max_length=512, required=False, allow_blank=True)
    lease_epoch = Integer(min_value=1, required=False)


class RenewIn(InputShape):
    ttl_seconds = Integer(min_value=1, max_value=_MAX_TTL_SECONDS)
    reason = Text(max_length=2000, lines=True, required=False, allow_blank=True)
    lease_epoch = Integer(min_value=1, required=False)


class GrantTokenIn(InputShape):
    """`audience` names the enforcement point that is to accept the token."""

    audience = Text(max_length=255, pattern=r"[\x21-\x7e]+")
    lease_epoch = Integer(min_value=1, required=False)


def decisions_out(grant: PermissionGrant) -> list[dict[str, Any]]:
    """The decisions on a request, in their order."""
    return [
        {
            "by": ids.encode("user", decision.by_id),
            "at": rfc3339(decision.at),
            "decision": decision.decision,
            "comment": decision.comment,
            "operation_digest": decision.operation_digest,
            "ttl_seconds": decision.ttl_seconds,
            "constraints": decision.constraints,
        }
        for decision in sorted(grant.decisions.all(), key=lambda decision: decision.at)
    ]


class GrantOut(OutputShape):
    id = IdOut("grant")
    session_id = IdOut("sess")
    operation = serializers.CharField()
    resource = serializers.CharField()
    constraints = serializers.JSONField()
    reason = serializers.CharField()
    state = serializers.ChoiceField(GrantState.choices)
    ttl_seconds = serializers.IntegerField()
    operation_digest = serializers.CharField()
    policy_version = serializers.IntegerField()
    approvals_required = serializers.IntegerField()
    approvals = serializers.SerializerMethodField()
    single_use = serializers.BooleanField()
    lease_epoch = serializers.IntegerField(allow_null=True)
    requested_by = serializers.CharField()
    requested_at = InstantOut()
    request_lapses_at = InstantOut()
    renews = IdOut("grant", source="renews_id", allow_null=True)
    activated_at = InstantOut(allow_null=True)
    expires_at = InstantOut(allow_null=True)
    renewable_until = InstantOut(allow_null=True)
    ended_at = InstantOut(allow_null=True)
    end_reason = serializers.CharField()
    ended_by = serializers.CharField()
    uses = serializers.IntegerField()

    def get_approvals(self, obj: PermissionGrant) -> list[dict[str, Any]]:
        """Each decision: by, at, decision, comment, and what it narrowed."""
        return decisions_out(obj)


class GrantAnswer(GrantOut):
    """A requested or issued grant, and what its session is to become."""

    desired_state = serializers.ChoiceField(DesiredState.choices, source="session.desired_state")


class UseOut(OutputShape):
    id = IdOut("grant")
    allowed = serializers.BooleanField()
    uses = serializers.IntegerField()
    expires_at = InstantOut(allow_null=True)
    state = serializers.ChoiceField(GrantState.choices)
    desired_state = serializers.ChoiceField(DesiredState.choices)


class GrantTokenOut(OutputShape):
    """A signed grant, and how long it is good for at most."""

    grant_id = IdOut("grant", source="grant.id")
    token = serializers.CharField()
    audience = serializers.CharField()
    expires_at = InstantOut()
    expires_in = serializers.IntegerField()


def grant_out(grant: PermissionGrant, now: Any, shape: type[GrantOut] = GrantOut) -> dict[str, Any]:
    """The grant as it is at this instant: one that is over never shows as active, even where
    nothing has written its end down yet."""
    return shape.render(grant) | {"state": access.current_state(grant, now)}


class RecordRangeOut(OutputShape):
    """Numbers of a session's records, both included."""

    first_seq = serializers.IntegerField()
    last_seq = serializers.IntegerField()


class SessionInclusionOut(InclusionOut):
    """A proof that the log has a session's newest anchored record, and what came after it."""

    pending = RecordRangeOut(allow_null=True)
