"""Query parameters of the event, artifact and grant lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Q, QuerySet

from grants import reading
from grants.events import KINDS
from grants.models import Artifact, Event, GrantState, Level, PermissionGrant
from grants.reading import LOUD, Bounds, Found, Span
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


class SpanFilters(StrictFilterSet):
    """Which records are looked at; see `span`."""

    after_seq = IntegerFilter(method="as_it_is")
    before_seq = IntegerFilter(method="as_it_is")

    class Meta:
        model = Event
        fields: list[str] = []

    def as_it_is(self, queryset: QuerySet[Event], name: str, value: Any) -> QuerySet[Event]:
        """Nothing to add to the query: it decides how the query is read."""
        return queryset


class EventStreamFilters(StrictFilterSet):
    """Those that a stream can go on with."""

    kind = TextFilter(max_length=64)
    level = WordsFilter([level.value for level in Level])
    step = TextFilter(max_length=200)
    lease_epoch = IntegerFilter()

    class Meta:
        model = Event
        fields: list[str] = []


class EventFilters(EventStreamFilters, SpanFilters):
    recorded_after = InstantFilter(field_name="recorded_at", lookup_expr="gt")
    recorded_before = InstantFilter(field_name="recorded_at", lookup_expr="lt")
    q = TextFilter(max_length=200, method="as_it_is")

    class Meta(SpanFilters.Meta):
        pass


_OF_CLIENTS = Q(kind__in=sorted(KINDS)) | Q(kind__startswith="x.")


class LedgerFilters(EventFilters):
    """Those of the console's page: also by who wrote, which the kind says, since the server's own
    kinds cannot be posted."""

    source = WordsFilter(["client", "server"], method="written_by")

    def written_by(self, queryset: QuerySet[Event], name: str, value: list[str]) -> QuerySet[Event]:
        if len(set(value)) != 1:
            return queryset
        return queryset.filter(_OF_CLIENTS if value[0] == "client" else ~_OF_CLIENTS)


# An index has what these find, in order.
_INDEXED = frozenset({"kind", "level"})


def span(query: Mapping[str, str], newest: int) -> Span:
    """What `after_seq` and `before_seq` leave of a ledger with so many records; the latter reads
    backwards from there. Once the filters have been applied both are numbers."""
    after, before = int(query.get("after_seq", 0)), int(query.get("before_seq", newest + 1))
    return Span(after, min(before, newest + 1), backwards="before_seq" in query)


def find(
    query: Mapping[str, str],
    found: QuerySet[Event],
    within: Span,
    limit: int,
    bounds: Bounds | None = None,
) -> Found:
    """The first rows of an already filtered ledger, in the way that fits what is asked."""
    bounds = bounds or reading.of_request()
    if text := query.get("q"):
        return reading.by_text(found, within, limit, text, bounds)
    asked = query.keys() & (LedgerFilters.base_filters.keys() - SpanFilters.base_filters.keys())
    levels = query["level"].split(",") if "level" in query else []
    if len(asked) > 1 or not asked <= _INDEXED or not LOUD.issuperset(levels):
        return reading.by_slice(found, within, limit, bounds)
    return reading.by_index(found, within, limit, levels)


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


class AuthorityFilters(StrictFilterSet):
    operation = TextFilter(max_length=200)
    session_id = TypeIDFilter("sess")
    profile_id = TypeIDFilter("prof", field_name="session__profile_id")

    class Meta:
        model = PermissionGrant
        fields: list[str] = []
