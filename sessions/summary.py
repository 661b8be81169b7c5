"""The failures of a window, grouped by what they have in common. Reads alone, and never more than
MAX_FAILURES rows, whatever there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.contrib.postgres.aggregates import ArrayAgg
from django.contrib.postgres.fields import ArrayField
from django.db.models import Count, Func, Max, Min, Q, QuerySet, UUIDField

from keeptrusts_runners import ids
from keeptrusts_runners.identity.principal import Principal
from sessions import queries
from sessions.models import RunnerSession
from sessions.states import FAILURES, State

WINDOW, MAX_WINDOW = timedelta(hours=24), timedelta(days=31)
MAX_FAILURES, MAX_GROUPS, MAX_SAMPLES = 100_000, 200, 5

FAILED = [state.value for state in State if state in FAILURES]


class Grouping(NamedTuple):
    """The column that failures are grouped by, what people call its values, the list's filter for
    them, and the prefix of its ids, where it has ids."""

    column: str
    name: str | None
    parameter: str
    prefix: str | None


GROUPINGS = {
    "reason": Grouping("reason", None, "reason", None),
    "harness_id": Grouping("harness_id", "harness__version", "harness_id", "harn"),
    "profile_id": Grouping("profile_id", "profile__name", "profile_id", "prof"),
    "executor": Grouping("executor_id", "executor__name", "executor_id", "exec"),
}


class Window(NamedTuple):
    """What ended after the one and before the other, both exclusive as in the list."""

    after: datetime
    before: datetime


@dataclass(frozen=True, slots=True)
class Group:
    """`key` as the list takes it, None where no filter can name it; the newest `samples`."""

    key: str | None
    name: str | None
    count: int
    states: Mapping[str, int]
    first_ended_at: datetime
    last_ended_at: datetime
    samples: list[UUID]


@dataclass(frozen=True, slots=True)
class Summary:
    """`window` is what was looked at: with `capped` the newest part of what was asked for. With
    `truncated` there are more groups than these; `total` counts them as well."""

    window: Window
    capped: bool
    total: int
    groups: list[Group]
    truncated: bool


def summarise(
    found: QuerySet[RunnerSession], group_by: str, asked: Window, *, by: Principal
) -> Summary:
    """The failures among `found` that ended in the window, the largest group first.

    Served by runner_session_failed.
    """
    window = _bounded(asked, by)
    failures = _in(window, found)
    grouping = GROUPINGS[group_by]
    rows = list(_grouped(failures, grouping))
    groups = [_group(row, grouping) for row in rows[:MAX_GROUPS]]
    truncated = len(rows) > MAX_GROUPS
    total = failures.count() if truncated else sum(group.count for group in groups)
    return Summary(window, window != asked, total, groups, truncated)


@dataclass(frozen=True, slots=True)
class Cause:
    """What failures have in common; `profile_id` is the harness's."""

    reason: str
    harness_id: UUID | None
    profile_id: UUID | None
    version: str | None
    executor_id: UUID | None
    executor: str | None
    count: int
    last_ended_at: datetime


MAX_CAUSES = 8


def causes(found: QuerySet[RunnerSession], window: Window) -> list[Cause]:
    """The failures among the newest MAX_FAILURES of the window by reason, harness and executor, the
    most frequent first; at most MAX_CAUSES + 1. One query, served by runner_session_failed."""
    newest = _in(window, found).order_by("-ended_at")[:MAX_FAILURES]
    harness = ("harness_id", "harness__profile_id", "harness__version")
    columns = ("reason", *harness, "executor_id", "executor__name")
    grouped = (
        RunnerSession.objects.filter(id__in=newest.values("id"))
        .order_by()
        .values_list(*columns)
        .annotate(count=Count("id"), last=Max("ended_at"))
        .order_by("-count", "-last")
    )
    return [Cause(*row) for row in grouped[: MAX_CAUSES + 1]]


def _in(window: Window, found: QuerySet[RunnerSession]) -> QuerySet[RunnerSession]:
    return found.filter(
        state__in=FAILED, ended_at__gt=window.after, ended_at__lt=window.before
    ).order_by()


def _bounded(asked: Window, by: Principal) -> Window:
    """So much of the window, from its end, as has no more than MAX_FAILURES, whatever filters."""
    newest = _in(asked, queries.sessions(by=by)).order_by("-ended_at")
    ends = newest.values_list("ended_at", flat=True)
    beyond = ends[MAX_FAILURES : MAX_FAILURES + 1].first()
    return asked._replace(after=beyond) if beyond else asked


def _grouped(failures: QuerySet[RunnerSession], grouping: Grouping) -> Iterator[dict[str, Any]]:
    columns = [grouping.column, *([grouping.name] if grouping.name else [])]
    by_state = {state: Count("id", filter=Q(state=state)) for state in FAILED}
    newest = Func(
        ArrayAgg("id", order_by="-ended_at"),
        template=f"(%(expressions)s)[1:{MAX_SAMPLES}]",
        output_field=ArrayField(UUIDField()),
    )
    grouped = (
        failures.values(*columns)
        .annotate(count=Count("id"), first=Min("ended_at"), last=Max("ended_at"))
        .annotate(samples=newest, **by_state)
        .order_by("-count", "-last", grouping.column)
    )
    yield from grouped[: MAX_GROUPS + 1]


def _group(row: Mapping[str, Any], grouping: Grouping) -> Group:
    key = row[grouping.column]
    if key is not None and grouping.prefix is not None:
        key = ids.encode(grouping.prefix, key)
    return Group(
        key=key or None,
        name=row[grouping.name] if grouping.name else None,
        count=row["count"],
        states={state: row[state] for state in FAILED if row[state]},
        first_ended_at=row["first"],
        last_ended_at=row["last"],
        samples=row["samples"],
    )
