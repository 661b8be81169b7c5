"""Query parameters of the lists of sessions, executors and batches."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from keeptrusts_runners.api.filters import (
    InstantFilter,
    LabelFilter,
    StrictFilterSet,
    TextFilter,
    TypeIDFilter,
    WordFilter,
    WordsFilter,
)
from sessions.batch_models import BatchItem, BatchState, BatchVerb, Outcome, RunnerBatch
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession, SessionQuerySet, View
from sessions.states import FAILURES, State


class ExecutorFilters(StrictFilterSet):
    name = TextFilter(max_length=120)
    account = TextFilter(max_length=64)
    draining = WordsFilter(["true", "false"], method="that_drain")
    seen_after = InstantFilter(field_name="last_seen_at", lookup_expr="gt")

    class Meta:
        model = RunnerExecutor
        fields: list[str] = []

    def that_drain(
        self, queryset: QuerySet[RunnerExecutor], name: str, value: list[str]
    ) -> QuerySet[RunnerExecutor]:
        wanted = Q()
        for word in value:
            wanted |= Q(draining_at__isnull=word == "false")
        return queryset.filter(wanted)


class SessionFilters(StrictFilterSet):
    state = WordsFilter([state.value for state in State])
    # One of them, since each has an order of its own.
    view = WordFilter(View.values, method="in_view")
    profile_id = TypeIDFilter("prof")
    harness_id = TypeIDFilter("harn")
    executor_id = TypeIDFilter("exec")
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

    def in_view(self, queryset: SessionQuerySet, name: str, value: str) -> QuerySet[RunnerSession]:
        return queryset.in_view(value)


class BatchFilters(StrictFilterSet):
    state = WordFilter(BatchState.values)
    verb = WordFilter(BatchVerb.values)

    class Meta:
        model = RunnerBatch
        fields: list[str] = []


class BatchItemFilters(StrictFilterSet):
    outcome = WordsFilter(Outcome.values)

    class Meta:
        model = BatchItem
        fields: list[str] = []


class SummaryFilters(SessionFilters):
    """Those of the list, of failures alone. The window is not a filter: it has a default."""

    state = WordsFilter([state.value for state in State if state in FAILURES])
    view = ended_after = ended_before = None  # type: ignore[assignment]  # not taken here
