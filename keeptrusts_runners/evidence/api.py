"""/v1/runners/audit: what was done and what was denied."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners.api import etag
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.evidence.audit_models import AuditRecord
from keeptrusts_runners.evidence.filters import AuditFilters
from keeptrusts_runners.evidence.serializers import AuditDetailOut, AuditOut
from keeptrusts_runners.identity.scopes import Scope


class AuditViewSet(ApiViewSet):
    """The organization's audit log."""

    tag = "Audit"
    scopes: ClassVar = {"list": Scope.AUDIT, "retrieve": Scope.AUDIT}
    outputs: ClassVar = {"list": AuditOut, "retrieve": AuditDetailOut}
    tagged_actions: ClassVar = frozenset({"retrieve"})
    filters: ClassVar = {"list": AuditFilters}

    def list(self, request: Request) -> HttpResponse:
        """List what was done and denied in the organization, newest first.

        Every mutation has a record, written in its own transaction; denials of one kind to one
        principal within a minute are one record with a count, once the minute is over. What
        executing code says in events is on the session's chain alone.
        """
        found = AuditRecord.objects.filter(organization_id=self.organization_id)
        return self.answer(list_answer(*page(self.filtered(found), request), AuditOut))

    def retrieve(self, request: Request, audit_id: UUID) -> HttpResponse:
        """Get one record with the bytes that its digest is of."""
        found = AuditRecord.objects.filter(
            organization_id=self.organization_id, id=audit_id
        ).first()
        if found is None:
            raise NotFound
        return self.answer(AuditDetailOut.render(found), tag=etag.strong(found.id, 1))
