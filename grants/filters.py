"""Query parameters of the event, artifact and grant lists."""

from __future__ import annotations

from grants.models import Artifact, Event, GrantState, Level, PermissionGrant
from keeptrusts_runners.api.filters import (
    InstantFilter,
    IntegerFilter,
    StrictFilterSet,
    TextFilter,
    TypeIDFilter,
    WordsFilter,
)


class EventFilters(StrictFilterSet):
    after_seq = IntegerFilter(field_name="seq", lookup_expr="gt")
    before_seq = IntegerFilter(field_name="seq", lookup_expr="lt")
    kind = TextFilter(max_length=64)
    level = WordsFilter([level.value for level in Level])
    step = TextFilter(max_length=200)
    lease_epoch = IntegerFilter()
    recorded_after = InstantFilter(field_name="recorded_at", lookup_expr="gt")
    recorded_before = InstantFilter(field_name="recorded_at", lookup_expr="lt")

    class Meta:
        model = Event
        fields: list[str] = []


class ArtifactFilters(StrictFilterSet):
    kind = TextFilter(max_length=64)
    name = TextFilter(max_length=255)

    class Meta:
        model = Artifact
        fields: list[str] = []


class GrantFilters(StrictFilterSet):
    state = WordsFilter([state.value for state in GrantState])
    operation = TextFilter(max_length=200)
    session_id = TypeIDFilter("sess")

    class Meta:
        model = PermissionGrant
        fields: list[str] = []
