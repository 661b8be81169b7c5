"""Query parameters of the lists of sessions, executors and batches."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import reduce
from operator import or_

from django.db.models import DurationField, ExpressionWrapper, F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Greatest
from django.db.models.lookups import LessThanOrEqual
from django.http import QueryDict

from keeptrusts_runners import ids
from keeptrusts_runners.api.filters import (
    InstantFilter,
    IntegerFilter,
    LabelFilter,
    StrictFilterSet,
    TextFilter,
    TypeIDFilter,
    TypeIDsFilter,
    WordFilter,
    WordsFilter,
)
from keeptrusts_runners.clock import DatabaseNow
from sessions import attention
from sessions.batch_models import BatchItem, BatchState, BatchVerb, Outcome, RunnerBatch
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession, SessionQuerySet, View
from sessions.states import FAILURES, Health, Reason, State

_Sessions = QuerySet[RunnerSession]


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


# What no index of sessions serves: a list that is narrowed by one of them looks at so many rows at
# a time, and its cursor goes on from there.
UNINDEXED = frozenset(
    [
        "reason",
        "label",
        "harness_version",
        "task_prefix",
        "error",
        "longer_than_seconds",
        "shorter_than_seconds",
        "past_queue_target",
    ]
)
# What is found by an index that does not have a list's order.
_ELSEWHERE = ("state", "session_id", "health", "attention")
# No transaction of a dispatch takes longer.
LONGEST_DISPATCH = timedelta(hours=1)
# Ten years: beyond them no session ran.
_LONGEST = 315_360_000


class SessionFilters(StrictFilterSet):
    session_id = TypeIDsFilter("sess", field_name="id")
    state = WordsFilter([state.value for state in State])
    # One of them, since each has an order of its own.
    view = WordFilter(View.values, method="in_view")
    # Of those that hold a lease; all others are n/a.
    health = WordsFilter([word.value for word in Health], method="of_health")
    # Why it needs somebody, for one of these reasons.
    attention = WordsFilter([word.value for word in Reason], method="needing")
    profile_id = TypeIDFilter("prof")
    harness_id = TypeIDFilter("harn")
    executor_id = TypeIDFilter("exec")
    # A version, or with * behind it the beginning of one.
    harness_version = TextFilter(max_length=120, method="of_version")
    task_id = TextFilter(max_length=200)
    task_prefix = TextFilter(max_length=200, field_name="task_id", lookup_expr="startswith")
    reason = TextFilter(max_length=64)
    # Within the reason, or the code or the message of the error; capitals or not.
    error = TextFilter(max_length=200, method="saying")
    label = LabelFilter()
    # From the first start to the end, or to now.
    longer_than_seconds = IntegerFilter(maximum=_LONGEST, method="that_ran")
    shorter_than_seconds = IntegerFilter(maximum=_LONGEST, method="that_ran")
    # Pending for longer than its profile's limits.queue_target_seconds.
    past_queue_target = WordFilter(["true"], method="that_wait")
    created_after = InstantFilter(method="since")
    created_before = InstantFilter(method="until")
    ended_after = InstantFilter(field_name="ended_at", lookup_expr="gt")
    ended_before = InstantFilter(field_name="ended_at", lookup_expr="lt")

    class Meta:
        model = RunnerSession
        fields: list[str] = []

    def in_view(self, queryset: SessionQuerySet, name: str, value: str) -> QuerySet[RunnerSession]:
        if value == View.ATTENTION:
            return attention.needing(queryset, list(Reason))
        return queryset.in_view(value)

    def of_health(self, queryset: _Sessions, name: str, value: list[str]) -> _Sessions:
        return attention.of_health(queryset, value)

    def needing(self, queryset: _Sessions, name: str, value: list[str]) -> _Sessions:
        return attention.needing(queryset, value)

    def that_wait(self, queryset: _Sessions, name: str, value: str) -> _Sessions:
        """As the figures of the fleet count them."""
        may = ExpressionWrapper(
            F("profile__queue_target_seconds") * Value(timedelta(seconds=1)),
            output_field=DurationField(),
        )
        since = Greatest("created_at", "not_before")
        return queryset.filter(state=State.PENDING).filter(
            LessThanOrEqual(since + may, DatabaseNow())
        )

    def of_version(self, queryset: _Sessions, name: str, value: str) -> _Sessions:
        if value.endswith("*"):
            return queryset.filter(harness__version__startswith=value[:-1])
        return queryset.filter(harness__version=value)

    def saying(self, queryset: _Sessions, name: str, value: str) -> _Sessions:
        said = ("reason", "error__code", "error__message")
        return queryset.filter(reduce(or_, (Q((f"{where}__icontains", value)) for where in said)))

    def that_ran(self, queryset: _Sessions, name: str, value: int) -> _Sessions:
        began = Coalesce("ended_at", DatabaseNow()) - timedelta(seconds=value)
        lookup = "lt" if name == "longer_than_seconds" else "gt"
        return queryset.filter(**{f"started_at__{lookup}": began})

    def since(self, queryset: _Sessions, name: str, value: datetime) -> _Sessions:
        """Where the walk ends: an id is made after `created_at`, by the same clock."""
        return queryset.filter(created_at__gt=value, id__gte=ids.floor(value))

    def until(self, queryset: _Sessions, name: str, value: datetime) -> _Sessions:
        """Where it begins: an id is made in the transaction of the dispatch."""
        latest = ids.floor(value + LONGEST_DISPATCH)
        return queryset.filter(created_at__lt=value, id__lt=latest)


def is_unbounded(given: QueryDict) -> bool:
    """Whether a list must be told how far to look. Failures of a window need it not, however they
    are narrowed: runner_session_failed has nothing else, and a summary's links list them."""
    states = {State(word) for word in given.get("state", "").split(",") if word in set(State)}
    of_window = bool(states) and states <= FAILURES and "ended_after" in given
    return bool(UNINDEXED & given.keys()) and not of_window


def indexed(given: QueryDict, queryset: QuerySet[RunnerSession]) -> QuerySet[RunnerSession]:
    """Narrowed only by those of the filters that an index of sessions serves in a list's order."""
    kept = given.copy()
    for name in [*UNINDEXED, *_ELSEWHERE, "ended_after", "ended_before"]:
        kept.pop(name, None)
    if kept.get("view") != View.QUEUE:
        kept.pop("view", None)
    return SessionFilters.narrow(kept, queryset)


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
