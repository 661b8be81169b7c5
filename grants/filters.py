"""Query parameters of the event, artifact and grant lists."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from grants.models import Artifact, Event, GrantState, Level, PermissionGrant
from keeptrusts_runners.api.filters import (
    InstantFilter,
    IntegerFilter,
    StrictFilterSet,
    TextFilter,
    TypeIDFilter,
    WordsFilter,
)
from keeptrusts_runners.clock import DatabaseNow

_WAITING, _ACTIVE = Q(state=GrantState.REQUESTED), Q(state=GrantState.ACTIVE)
_NOW_IN = {
    "requested": _WAITING & Q(request_lapses_at__gt=DatabaseNow()),
    "lapsed": Q(state=GrantState.LAPSED) | (_WAITING & Q(request_lapses_at__lte=DatabaseNow())),
    "active": _ACTIVE & Q(expires_at__gt=DatabaseNow()),
    "expired": Q(state=GrantState.EXPIRED) | (_ACTIVE & Q(expires_at__lte=DatabaseNow())),
}


class EventStreamFilters(StrictFilterSet):
    """Those that a stream can go on with."""

    kind = TextFilter(max_length=64)
    level = WordsFilter([level.value for level in Level])
    step = TextFilter(max_length=200)
    lease_epoch = IntegerFilter()

    class Meta:
        model = Event
        fields: list[str] = []


class EventFilters(EventStreamFilters):
    after_seq = IntegerFilter(field_name="seq", lookup_expr="gt")
    before_seq = IntegerFilter(field_name="seq", lookup_expr="lt")
    recorded_after = InstantFilter(field_name="recorded_at", lookup_expr="gt")
    recorded_before = InstantFilter(field_name="recorded_at", lookup_expr="lt")


class ArtifactFilters(StrictFilterSet):
    kind = TextFilter(max_length=64)
    name = TextFilter(max_length=255)

    class Meta:
        model = Artifact
        fields: list[str] = []


class GrantFilters(StrictFilterSet):
    state = WordsFilter([state.value for state in GrantState], method="now_in")
    operation = TextFilter(max_length=200)
    session_id = TypeIDFilter("sess")

    class Meta:
        model = PermissionGrant
        fields: list[str] = []

    def now_in(
        self, queryset: QuerySet[PermissionGrant], name: str, value: list[str]
    ) -> QuerySet[PermissionGrant]:
        """By what a grant is at this instant, as answers show it, not by what was last written."""
        found = Q()
        for state in value:
            found |= _NOW_IN.get(state, Q(state=state))
        return queryset.filter(found)
