"""Where the id of an audit record leads."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse

from keeptrusts_runners.evidence.models import AuditRecord
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope


def audit_record(audit_id: UUID, by: Principal) -> str | None:
    found = AuditRecord.objects.filter(organization_id=by.organization_id, id=audit_id)
    known = by.has(Scope.AUDIT) and found.exists()
    return reverse("audit_record", args=[audit_id]) if known else None
