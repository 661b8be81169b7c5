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
    invalid,
)
from sessions.models import RunnerSession, SessionQuerySet, View
from sessions.states import State


class _ViewFilter(WordsFilter):
    """`view=queue`: one of them, since each has an order of its own."""

    def __init__(self) -> None:
        super().__init__(View.values, method="in_view")
        self.openapi = {"type": "string", "enum": list(View.values)}


class SessionFilters(StrictFilterSet):
    state = WordsFilter([state.value for state in State])
    view = _ViewFilter()
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
        if len(value) != 1:
            raise invalid(name, "takes one word.")
        return queryset.in_view(value[0])
