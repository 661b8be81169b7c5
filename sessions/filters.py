"""Query parameters of the session list."""

from __future__ import annotations

from django.db.models import QuerySet

from keeptrusts_runners.api.filters import (
    InstantFilter,
    LabelFilter,
    StrictFilterSet,
    TextFilter,
    TypeIDFilter,
    WordsFilter,
)
from sessions.models import RunnerSession, SessionQuerySet, View
from sessions.states import State


class SessionFilters(StrictFilterSet):
    state = WordsFilter([state.value for state in State])
    view = WordsFilter(View.values, method="in_view")
    profile_id = TypeIDFilter("prof")
    harness_id = TypeIDFilter("harn")
    task_id = TextFilter(max_length=200)
    reason = TextFilter(max_length=64)
    label = LabelFilter()
    created_after = InstantFilter(field_name="created_at", lookup_expr="gt")
    created_before = InstantFilter(field_name="created_at", lookup_expr="lt")
    ended_after = InstantFilter(field_name="ended_at", lookup_expr="gt")
    ended_before = InstantFilter(field_name="ended_at", lookup_expr="lt")

    class Meta:
        model = RunnerSession
        fields: list[str] = []

    def in_view(
        self, queryset: SessionQuerySet, name: str, value: list[str]
    ) -> QuerySet[RunnerSession]:
        return queryset.in_view(value[0])
