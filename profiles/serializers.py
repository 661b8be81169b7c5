"""What profile and harness bodies must be, and what answers look like."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from keeptrusts_runners.api.inputs import (
    Boolean,
    Choice,
    InputShape,
    Integer,
    Items,
    Labels,
    Text,
)
from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape
from keeptrusts_runners.identity.scopes import Role
from profiles import models

_DAY_SECONDS = 24 * 3600


class LimitsIn(InputShape):
    max_concurrent_sessions = Integer(
        min_value=1, max_value=100_000, required=False, allow_null=True
    )
    queue_target_seconds = Integer(
        min_value=1, max_value=30 * _DAY_SECONDS, required=False, allow_null=True
    )
    max_artifact_bytes = Integer(min_value=1, max_value=1 << 40, required=False, allow_null=True)
    max_artifacts = Integer(min_value=0, max_value=100_000, required=False, allow_null=True)
    max_stored_bytes = Integer(min_value=1, max_value=1 << 50, required=False, allow_null=True)


class LeaseIn(InputShape):
    ttl_seconds = Integer(
        min_value=5, max_value=models.MAX_LEASE_TTL_SECONDS, required=False, allow_null=True
    )
    heartbeat_interval_seconds = Integer(
        min_value=1, max_value=300, required=False, allow_null=True
    )


class RetryIn(InputShape):
    max_attempts = Integer(min_value=1, max_value=100, required=False, allow_null=True)
    backoff_seconds = Integer(min_value=0, max_value=3600, required=False, allow_null=True)


class GrantRuleIn(InputShape):
    operation = Text(max_length=200, pattern=r"[\x21-\x29\x2b-\x7e]+\*?|\*")
    max_ttl_seconds = Integer(min_value=1, max_value=7 * _DAY_SECONDS, required=False)
    approvals_required = Integer(min_value=1, max_value=10, required=False)
    approver_roles = Items(Choice([str(role) for role in Role]), max_items=7, required=False)
    separation = Boolean(required=False)
    single_use = Boolean(required=False)
    offline = Boolean(required=False)
    auto = Boolean(required=False)
    request_again = Boolean(required=False)
    risk = Choice(["low", "medium", "high", "critical"], required=False)


class ProfileIn(InputShape):
    """A profile as POST and PUT take it. Left out, the groups keep their value; null resets."""

    name = Text(max_length=120)
    description = Text(max_length=4000, lines=True, required=False, allow_blank=True)
    execution_target = Text(max_length=64)
    labels = Labels(required=False)
    limits = LimitsIn(required=False, allow_null=True)
    lease = LeaseIn(required=False, allow_null=True)
    retry = RetryIn(required=False, allow_null=True)
    grant_policy = Items(GrantRuleIn(), max_items=100, required=False, allow_null=True)
    retention_days = Integer(min_value=1, max_value=36_500, required=False, allow_null=True)
    artifact_retention_days = Integer(
        min_value=1, max_value=36_500, required=False, allow_null=True
    )


class NothingIn(InputShape):
    """An action that takes no members: the body is `{}` or absent."""


# Member of the body → column, with the default that null resets to.
_GROUPS: dict[str, dict[str, tuple[str, Any]]] = {
    "limits": {
        "max_concurrent_sessions": ("max_concurrent_sessions", None),
        "queue_target_seconds": ("queue_target_seconds", models.QUEUE_TARGET_SECONDS),
        "max_artifact_bytes": ("max_artifact_bytes", models.MAX_ARTIFACT_BYTES),
        "max_artifacts": ("max_artifacts", models.MAX_ARTIFACTS),
        "max_stored_bytes": ("max_stored_bytes", None),
    },
    "lease": {
        "ttl_seconds": ("lease_ttl_seconds", models.LEASE_TTL_SECONDS),
        "heartbeat_interval_seconds": (
            "heartbeat_interval_seconds",
            models.HEARTBEAT_INTERVAL_SECONDS,
        ),
    },
    "retry": {
        "max_attempts": ("max_attempts", models.MAX_ATTEMPTS),
        "backoff_seconds": ("backoff_seconds", models.BACKOFF_SECONDS),
    },
}


def columns(body: dict[str, Any]) -> dict[str, Any]:
    """A validated profile body as columns."""
    plain = {name: value for name, value in body.items() if name not in _GROUPS}
    if plain.get("grant_policy", ()) is None:
        plain["grant_policy"] = []
    for group, members in _GROUPS.items():
        if group not in body:
            continue
        given = body[group] or {}
        for member, (column, default) in members.items():
            if body[group] is None or member in given:
                value = given.get(member)
                plain[column] = default if value is None else value
    return plain


class LimitsOut(OutputShape):
    max_concurrent_sessions = serializers.IntegerField(allow_null=True)
    queue_target_seconds = serializers.IntegerField()
    max_artifact_bytes = serializers.IntegerField()
    max_artifacts = serializers.IntegerField()
    max_stored_bytes = serializers.IntegerField(allow_null=True)


class LeaseTermsOut(OutputShape):
    ttl_seconds = serializers.IntegerField(source="lease_ttl_seconds")
    heartbeat_interval_seconds = serializers.IntegerField()


class RetryOut(OutputShape):
    max_attempts = serializers.IntegerField()
    backoff_seconds = serializers.IntegerField()


class ProfileOut(OutputShape):
    id = IdOut("prof")
    name = serializers.CharField()
    description = serializers.CharField()
    execution_target = serializers.CharField()
    status = serializers.ChoiceField(models.ProfileStatus.choices)
    version = serializers.IntegerField()
    labels = serializers.DictField(child=serializers.CharField())
    limits = LimitsOut(source="itself")
    lease = LeaseTermsOut(source="itself")
    retry = RetryOut(source="itself")
    grant_policy = serializers.ListField(child=serializers.JSONField())
    grant_policy_version = serializers.IntegerField()
    retention_days = serializers.IntegerField(allow_null=True)
    artifact_retention_days = serializers.IntegerField(allow_null=True)
    created_at = InstantOut()
    updated_at = InstantOut()


class HarnessIn(InputShape):
    version = Text(max_length=120)
    image_ref = Text(max_length=512)
    image_digest = Text(max_length=71, pattern=r"sha256:[0-9a-f]{64}", required=False)
    entrypoint = Items(Text(max_length=1000), max_items=64, required=False)
    notes = Text(max_length=4000, lines=True, required=False, allow_blank=True)


class DeprecateIn(InputShape):
    reason = Text(max_length=2000, lines=True, required=False, allow_blank=True)


class HarnessOut(OutputShape):
    id = IdOut("harn")
    profile_id = IdOut("prof")
    version = serializers.CharField()
    image_ref = serializers.CharField()
    image_digest = serializers.CharField(allow_null=True)
    mutable_tag = serializers.SerializerMethodField()
    entrypoint = serializers.ListField(child=serializers.CharField())
    status = serializers.ChoiceField(models.HarnessStatus.choices)
    status_reason = serializers.CharField()
    status_changed_at = InstantOut(allow_null=True)
    status_changed_by = serializers.CharField()
    notes = serializers.CharField()
    published_at = InstantOut()
    published_by = serializers.CharField()

    def get_mutable_tag(self, obj: models.HarnessRevision) -> bool:
        """Whether the reference can move, because no digest pins it."""
        return obj.image_digest is None
