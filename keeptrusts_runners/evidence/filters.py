"""Query parameters of the audit log."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import QuerySet

from keeptrusts_runners import ids
from keeptrusts_runners.api.filters import InstantFilter, StrictFilterSet, TextFilter, WordFilter
from keeptrusts_runners.evidence.audit_models import AuditRecord, Outcome


class AuditFilters(StrictFilterSet):
    actor = TextFilter(max_length=64)
    verb = TextFilter(max_length=64)
    object = TextFilter(max_length=200)
    outcome = WordFilter(Outcome.values)
    request_id = TextFilter(max_length=128)
    created_after = InstantFilter(method="since")
    created_before = InstantFilter(method="until")

    class Meta:
        model = AuditRecord
        fields: list[str] = []

    # By the id too, since the indexes are by it: what lies outside is never looked at.

    def since(
        self, queryset: QuerySet[AuditRecord], name: str, value: datetime
    ) -> QuerySet[AuditRecord]:
        return queryset.filter(id__gte=ids.floor(value), at__gt=value)

    def until(
        self, queryset: QuerySet[AuditRecord], name: str, value: datetime
    ) -> QuerySet[AuditRecord]:
        return queryset.filter(id__lt=ids.floor(value + timedelta(milliseconds=1)), at__lt=value)
