"""How much is stored, as it is answered."""

from __future__ import annotations

from rest_framework import serializers

from keeptrusts_runners.api.shapes import IdOut, OutputShape


class OrganizationUsageOut(OutputShape):
    """`stored_bytes` counts the same content once, as the quota does; no quota is null."""

    stored_bytes = serializers.IntegerField()
    artifacts = serializers.IntegerField()
    quota_bytes = serializers.IntegerField(source="max_stored_bytes", allow_null=True)


class ProfileUsageOut(OutputShape):
    """`stored_bytes` is the sum of what its sessions have, as `limits.max_stored_bytes` counts."""

    profile_id = IdOut("prof")
    name = serializers.CharField()
    status = serializers.CharField()
    stored_bytes = serializers.IntegerField()
    artifacts = serializers.IntegerField()
    max_stored_bytes = serializers.IntegerField(allow_null=True)


class UsageOut(OutputShape):
    """The largest profiles first; `truncated`: there are more."""

    organization = OrganizationUsageOut()
    profiles = ProfileUsageOut(many=True)
    truncated = serializers.BooleanField()
