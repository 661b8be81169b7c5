"""/v1/runners/sessions/summary: what failed, by what it has in common."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any, ClassVar

from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners import clock
from keeptrusts_runners.api.fields import parse_instant
from keeptrusts_runners.api.filters import invalid
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries, summary
from sessions.filters import SummaryFilters
from sessions.summary import Group, Window
from sessions.summary_serializers import SummaryOut

_WINDOW = ("ended_after", "ended_before")
_INSTANT = {"type": "string", "format": "date-time"}


class SummaryViewSet(ApiViewSet):
    """What an operator looks at before dispatching again."""

    tag = "Sessions"
    scopes: ClassVar = {"failures": Scope.READ}
    outputs: ClassVar = {"failures": SummaryOut}
    filters: ClassVar = {"failures": SummaryFilters}
    parameters: ClassVar = {
        "failures": {
            "group_by": {"type": "string", "enum": list(summary.GROUPINGS), "default": "reason"},
            "ended_after": {**_INSTANT, "description": "By default a day before `ended_before`."},
            "ended_before": {**_INSTANT, "description": "By default now."},
        }
    }

    def failures(self, request: Request) -> HttpResponse:
        """Sum up what failed in a window: by reason, harness, profile or executor.

        Sessions that ended as failed, timed_out, expired or lost within at most 31 days, by
        default the last 24 hours; of those the newest 100,000, and with `capped` the answer's
        window is the part that they fill. At most 200 groups, the largest first, each with up to
        5 sessions and the query string that lists all of them. The list's filters narrow it.
        """
        group_by = _group_by(request)
        found = self.filtered(queries.sessions(by=self.principal))
        told = summary.summarise(found, group_by, _window(request), by=self.principal)
        groups = [_listable(group, request, group_by, told.window) for group in told.groups]
        answer = {
            "group_by": group_by,
            "ended_after": told.window.after,
            "ended_before": told.window.before,
            "capped": told.capped,
            "total": told.total,
            "groups": groups,
            "truncated": told.truncated,
        }
        return self.answer(SummaryOut.render(answer))


def _group_by(request: Request) -> str:
    given = request.GET.get("group_by", "reason")
    if given not in summary.GROUPINGS:
        raise invalid("group_by", f"must be one of {', '.join(summary.GROUPINGS)}.")
    return given


def _window(request: Request) -> Window:
    """What is asked for, or the last day of it. Raises InvalidParameter."""
    before = _instant(request, "ended_before") or clock.now()
    after = _instant(request, "ended_after") or before - summary.WINDOW
    if not before - summary.MAX_WINDOW <= after < before:
        days = summary.MAX_WINDOW.days
        raise invalid("ended_after", f"must be at most {days} days before ended_before.")
    return Window(after, before)


def _instant(request: Request, name: str) -> datetime | None:
    given = request.GET.get(name)
    try:
        return None if given is None else parse_instant(given)
    except ValueError:
        example = "2026-05-01T09:30:00Z"
        raise invalid(name, f"must be an instant with a zone, such as {example}.") from None


def _listable(group: Group, request: Request, group_by: str, window: Window) -> dict[str, Any]:
    """The group as it is answered, with the query that lists it."""
    query = None
    if group.key is not None:
        given = request.GET.copy()
        for name in ("group_by", *_WINDOW):
            given.pop(name, None)
        given.setdefault("state", ",".join(summary.FAILED))
        given[summary.GROUPINGS[group_by].parameter] = group.key
        for name, instant in zip(_WINDOW, window, strict=True):
            given[name] = str(clock.rfc3339(instant))
        query = given.urlencode(safe=":,")
    return asdict(group) | {"query": query}
