"""What answers about the audit log look like."""

from __future__ import annotations

from rest_framework import serializers

from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape
from keeptrusts_runners.evidence.audit_models import AuditRecord, Outcome


class AuditOut(OutputShape):
    """One record. `before` and `after` are SHA-256 of the object's state; a session's are the
    hashes of its chain. `digest` is what stands in the organization's log: of `body`, which the
    single record has, with the id and the instant."""

    id = IdOut("aud")
    at = InstantOut()
    actor = serializers.CharField()
    verb = serializers.CharField()
    object = serializers.CharField()
    outcome = serializers.ChoiceField(Outcome.choices)
    before = serializers.CharField(allow_null=True)
    after = serializers.CharField(allow_null=True)
    detail = serializers.JSONField()
    request_id = serializers.CharField(allow_blank=True)
    source_address = serializers.CharField(allow_null=True)
    digest = serializers.SerializerMethodField()

    def get_digest(self, obj: AuditRecord) -> str:
        """In hex."""
        return bytes(obj.digest).hex()


class AuditDetailOut(AuditOut):
    body = serializers.SerializerMethodField()

    def get_body(self, obj: AuditRecord) -> str:
        """The stored bytes, which are JSON text."""
        return bytes(obj.body).decode()
