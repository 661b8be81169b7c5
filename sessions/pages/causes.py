"""Failures of a list by what they have in common, each group with the list of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.urls import reverse

from keeptrusts_runners import clock, ids
from keeptrusts_runners.console import panels
from keeptrusts_runners.console.access import Page
from keeptrusts_runners.console.panels import Panel
from sessions import queries, summary
from sessions.filters import SessionFilters
from sessions.listing import Tab
from sessions.models import View
from sessions.pages.searching import Asked
from sessions.summary import Cause, Window


@dataclass(frozen=True, slots=True)
class Causes:
    """Failures of a window, each group with the list of it; `more` groups are not shown."""

    window: Window
    groups: list[tuple[Cause, str]]
    more: bool


def of(request: Page, tab: Tab, asked: Asked) -> Panel[Causes] | None:
    """Within what is asked for; by default of the last 24 hours."""
    if tab.view not in (View.ATTENTION, View.COMPLETED):
        return None
    found = SessionFilters.narrow(asked.filters, queries.sessions(by=request.principal))
    window = _window(request, asked)
    return panels.load(lambda: _grouped(request, summary.causes(found, window), window, asked))


def _window(request: Page, asked: Asked) -> Window:
    """What the filter leaves, of at most as long as a summary takes."""
    minute = request.now.replace(second=0, microsecond=0)
    before = _instant(asked, "ended_before") or minute + timedelta(minutes=1)
    after = _instant(asked, "ended_after") or before - summary.WINDOW
    return Window(max(after, before - summary.MAX_WINDOW), before)


def _instant(asked: Asked, name: str) -> datetime | None:
    given = asked.parameters.get(name)
    return datetime.fromisoformat(given) if given else None


def _grouped(request: Page, found: list[Cause], window: Window, asked: Asked) -> Causes:
    shown = found[: summary.MAX_CAUSES]
    groups = [(cause, _of_cause(cause, window, asked)) for cause in shown]
    return Causes(window, groups, len(found) > len(shown))


def _of_cause(cause: Cause, window: Window, asked: Asked) -> str:
    """The list of one group, in the completed tab: a failure has ended."""
    given = asked.filters
    given.setdefault("state", ",".join(summary.FAILED))
    given["ended_after"], given["ended_before"] = (str(clock.rfc3339(at)) for at in window)
    if cause.reason:
        given["reason"] = cause.reason
    if cause.harness_id:
        given["harness_id"] = ids.encode("harn", cause.harness_id)
    if cause.executor_id:
        given["executor_id"] = ids.encode("exec", cause.executor_id)
    return f"{reverse('sessions')}?view={View.COMPLETED}&{given.urlencode(safe=':,')}"
