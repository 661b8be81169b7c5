"""Who of the sessions needs somebody, and why; and how the heartbeats of those that run are.

The one definition, for the lists of the API and of the pages, by the database's clock. What is
said of one row is an annotation (`told`); a list of them gathers ids first (`needing`,
`of_health`): each reason by an index of its own, so that the cost is what needs attention and
what runs, whatever else there is and wherever it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Case, Exists, F, Func, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.db.models.lookups import In

from keeptrusts_runners.clock import DatabaseNow
from sessions.models import RunnerSession
from sessions.states import LEASED, Health, Reason, State

# The database says it (see kt_session_health in the migrations), for raw statements as well.
_HEALTH = Func(
    F("lease_expires_at"),
    Coalesce("heartbeat_at", "dispatched_at"),
    F("heartbeat_interval_seconds"),
    function="kt_session_health",
    output_field=models.TextField(),
)


def _held(*health: str) -> Q:
    """Served by runner_session_state."""
    return Q(state__in=sorted(LEASED)) & Q(In(_HEALTH, list(health)))


# The first and the last are served by runner_session_attention.
_CONDITIONS = {
    Reason.LOST: Q(state=State.LOST, disposition=""),
    Reason.SILENT: _held(Health.SILENT),
    Reason.CANCEL_UNCONFIRMED: Q(state=State.CANCELLING, deadline_at__lte=DatabaseNow()),
    Reason.LATE: _held(Health.LATE),
    Reason.RETRYING: Q(state=State.PENDING, failures__gt=0),
}
_approvals: list[Callable[[], QuerySet[Any]]] = []


def approvals(waiting: Callable[[], QuerySet[Any]]) -> None:
    """Say which approvals wait: rows with a `session_id`. Whoever keeps grants calls it once."""
    _approvals[:] = [waiting]


def _waiting() -> QuerySet[Any]:
    (waiting,) = _approvals
    return waiting().order_by()


def _condition(reason: Reason) -> Q:
    if reason is Reason.APPROVAL_WAITING:
        return Q(Exists(_waiting().filter(session_id=OuterRef("id"))))
    return _CONDITIONS[reason]


def told(found: QuerySet[RunnerSession]) -> QuerySet[RunnerSession]:
    """Each with its `health`, and with `attention`, the reasons why it needs somebody."""
    reasons = [Case(When(_condition(each), then=Value(each.value))) for each in Reason]
    words = Func(
        *reasons,
        template="array_remove(ARRAY[%(expressions)s]::text[], NULL)",
        output_field=ArrayField(models.TextField()),
    )
    return found.annotate(health=_HEALTH, attention=words)


def with_health(found: QuerySet[RunnerSession]) -> QuerySet[RunnerSession]:
    """Each with its `health` alone."""
    return found.annotate(health=_HEALTH)


# --- lists -----------------------------------------------------------------------------------


def needing(found: QuerySet[RunnerSession], reasons: Collection[str]) -> QuerySet[RunnerSession]:
    """Those that need somebody for one of these reasons."""
    return found.filter(_among(*(_ids(Reason(each)) for each in reasons)))


def of_health(found: QuerySet[RunnerSession], words: Collection[str]) -> QuerySet[RunnerSession]:
    """Those whose health is one of these words."""
    wanted = Q(_among(_sessions(_held(*words))))
    if Health.NOT_APPLICABLE in words:
        wanted |= ~Q(state__in=sorted(LEASED))
    return found.filter(wanted)


def _ids(reason: Reason) -> QuerySet[Any]:
    if reason is Reason.APPROVAL_WAITING:
        return _waiting().values("session_id")
    return _sessions(_CONDITIONS[reason])


def _sessions(condition: Q) -> QuerySet[Any]:
    """Of this organization alone, as its policy has it."""
    return RunnerSession.objects.filter(condition).order_by().values("id")


def _among(*found: QuerySet[Any]) -> Func:
    """An id in one of these, gathered once before anything else: to a planner an array is short,
    so that it never walks a list to its end in search of a few."""
    arrays = Func(
        *(ArraySubquery(each) for each in found),
        template="(%(expressions)s)",
        arg_joiner=" || ",
        output_field=ArrayField(models.UUIDField()),
    )
    return Func(
        F("id"),
        arrays,
        template="%(expressions)s",
        arg_joiner=" = ANY ",
        output_field=models.BooleanField(),
    )
