"""What bodies about people and machines must be, and what answers look like."""

from __future__ import annotations

from rest_framework import serializers

from keeptrusts_runners.api.inputs import Choice, Id, InputShape, Integer, Text
from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape
from keeptrusts_runners.identity.scopes import SERVICE_ACCOUNT_ROLES, USER_ROLES


class WhoAmIOut(OutputShape):
    principal_type = serializers.CharField()
    id = serializers.CharField()
    name = serializers.CharField()
    organization = IdOut("org")
    role = serializers.CharField(allow_null=True)
    scopes = serializers.ListField(child=serializers.CharField())
    lease_epoch = serializers.IntegerField(allow_null=True)


class MemberIn(InputShape):
    email = Text(max_length=254)
    role = Choice(sorted(str(role) for role in USER_ROLES))


class RoleIn(InputShape):
    role = Choice(sorted(str(role) for role in USER_ROLES))


class MemberOut(OutputShape):
    user_id = IdOut("user")
    email = serializers.CharField(source="user.email")
    name = serializers.CharField(source="user.name")
    role = serializers.CharField()
    created_at = InstantOut()


class ServiceAccountIn(InputShape):
    name = Text(max_length=120)
    role = Choice(sorted(str(role) for role in SERVICE_ACCOUNT_ROLES))
    owner_user_id = Id("user", required=False)


class RotateIn(InputShape):
    keep_old_seconds = Integer(min_value=0, max_value=30 * 24 * 3600, required=False)


class ServiceAccountOut(OutputShape):
    id = IdOut("sa")
    client_id = IdOut("sa", source="id")
    name = serializers.CharField()
    role = serializers.CharField()
    owner_user_id = IdOut("user", allow_null=True, source="owner_id")
    created_at = InstantOut()
    revoked_at = InstantOut(allow_null=True)


class ServiceAccountWithSecretOut(ServiceAccountOut):
    """The only answer that ever holds the secret."""

    client_secret = serializers.CharField()
