"""Bodies and answers of introspection, of revoking many grants, and of authority at an instant."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from grants.models import PermissionGrant
from grants.serializers import OPERATION, GrantOut, decisions_out
from keeptrusts_runners.api.inputs import Id, InputShape, Text
from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape

_ONE = ErrorDetail("Name either a grant_id or a token.", code="required")
_WHICH = ErrorDetail("Name an operation, a profile_id or an executor_id.", code="required")
_CHOSEN_BY = frozenset({"operation", "profile_id", "executor_id"})


class IntrospectIn(InputShape):
    """Either of the two. Whatever text it is that is no grant is not active."""

    grant_id = Text(max_length=64, required=False)
    token = Text(max_length=8192, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise ValidationError([_ONE])
        return attrs


class IntrospectOut(OutputShape):
    """RFC 7662, for the schema. Only `active` where it is false. `exp`, in seconds, is the first
    end to come of grant, lease and token."""

    active = serializers.BooleanField()
    grant_id = serializers.CharField(required=False)
    session_id = serializers.CharField(required=False)
    operation = serializers.CharField(required=False)
    resource = serializers.CharField(required=False)
    constraints = serializers.JSONField(required=False)
    single_use = serializers.BooleanField(required=False)
    lease_epoch = serializers.IntegerField(required=False)
    exp = serializers.IntegerField(required=False)
    approvers = serializers.ListField(child=serializers.CharField(), required=False)


class RevokeIn(InputShape):
    """All of what is named must fit. `operation` is a name, or a prefix that ends in `*`."""

    operation = Text(max_length=200, pattern=rf"{OPERATION}\*?|\*", required=False)
    profile_id = Id("prof", required=False)
    executor_id = Id("exec", required=False)
    reason = Text(max_length=2000, lines=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not _CHOSEN_BY & attrs.keys():
            raise ValidationError([_WHICH])
        return attrs


class RevokedOut(OutputShape):
    """What ended, and whether there are more to end: then send it again."""

    items = GrantOut(many=True)
    more = serializers.BooleanField()


class AuthorityOut(OutputShape):
    """What a session could do at the instant that was asked for, and on whose decision.

    `held_until` is when that ended, or will. `holder` is the account whose code executed the
    session; `requested_by` whoever asked for the grant or issued it; `rule` what the policy said.
    """

    grant_id = IdOut("grant", source="id")
    session_id = IdOut("sess")
    profile_id = IdOut("prof")
    lease_epoch = serializers.IntegerField()
    holder = serializers.CharField(allow_null=True)
    operation = serializers.CharField()
    resource = serializers.CharField()
    constraints = serializers.JSONField()
    reason = serializers.CharField()
    requested_by = serializers.CharField()
    approvals_required = serializers.IntegerField()
    approvals = serializers.SerializerMethodField()
    rule = serializers.DictField(allow_null=True)
    policy_version = serializers.IntegerField()
    activated_at = InstantOut()
    held_until = InstantOut()
    end_reason = serializers.CharField()
    uses = serializers.IntegerField()

    def get_approvals(self, obj: PermissionGrant) -> list[dict[str, Any]]:
        """Each decision: by, at, decision, comment, and what it narrowed."""
        return decisions_out(obj)
