"""Composed reads of the audit log, for the pages."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from keeptrusts_runners import ids
from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.evidence.audit_models import AuditRecord
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.queries import actors, spoken


def records(*, by: Principal) -> QuerySet[AuditRecord]:
    """Every record of the organization."""
    return AuditRecord.objects.filter(organization_id=by.organization_id)


def record(audit_id: UUID, *, by: Principal) -> AuditRecord:
    """Raises NotFound."""
    found = records(by=by).filter(id=audit_id).first()
    if found is None:
        raise NotFound
    return found


def last_actor(prefix: str, subject: UUID, *, by: Principal) -> str:
    """Who changed this object last, by name; "" if nobody is on record. Served by
    evidence_audit_object."""
    found = records(by=by).filter(object=ids.encode(prefix, subject))
    actor = found.order_by("-id").values_list("actor", flat=True).first()
    return spoken(actor, actors({actor})) if actor else ""
