"""What stands around every page of a session, and what more than one page says of it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.urls import reverse

from keeptrusts_runners import ids
from keeptrusts_runners.console.access import Page
from keeptrusts_runners.console.navigation import Link
from sessions import diagnosis
from sessions.diagnosis import Waiting
from sessions.executors import Asking
from sessions.limits import Uses
from sessions.models import RunnerSession
from sessions.states import State


def frame(session: RunnerSession, current: str) -> dict[str, Any]:
    """The session's crumbs and tabs, on each of its pages."""
    text = ids.encode("sess", session.id)
    here = reverse("session", args=[session.id])
    tabs = [
        Link("Overview", here, current == "Overview"),
        Link(
            "Events",
            reverse("session_events", args=[session.id]),
            current == "Events",
            f"{session.ledger_head.seq:,}",
        ),
    ]
    crumbs = [Link("Sessions", reverse("sessions"))]
    if current == "Overview":
        crumbs.append(Link(text, here, current=True))
    else:
        crumbs += [Link(text, here), Link(current, "", current=True)]
    return {"session": session, "id": text, "tabs": tabs, "crumbs": crumbs}


def reasons(rows: list[RunnerSession], request: Page) -> dict[UUID, Waiting]:
    """Why those of them wait that do: at most three queries, whatever their number."""
    pending = [row for row in rows if row.state == State.PENDING]
    if not pending:
        return {}
    uses, asking = Uses(pending), Asking(request.principal.organization_id)
    return {each.id: diagnosis.waiting(each, uses, asking, request.now) for each in pending}


def percentage(session: RunnerSession) -> float | None:
    """Only where the runner says of how much."""
    progress = session.progress or {}
    current, total = progress.get("current"), progress.get("total")
    if not total or current is None:
        return None
    return round(min(100.0, 100 * float(current) / float(total)), 1)


def message(session: RunnerSession) -> str:
    return str((session.progress or {}).get("message") or "")
