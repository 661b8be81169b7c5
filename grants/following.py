"""Reads for those who follow ledgers: what comes next in one, and which have grown.

What opens its own scope is for the threads of the stream room, outside any request.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from django.db import close_old_connections, connection
from django.db.models import QuerySet

from grants.models import Event
from keeptrusts_runners.api.event_stream import Bearer
from keeptrusts_runners.errors import NotAuthenticated
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions.states import FINAL

ROWS = 200
# How much of a ledger a filter is let search in one go.
SPAN = 20_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """What follows a place in a ledger: the events in order, and how far it was looked.

    `head` is where the ledger ended then; `is_final` says that its session had ended.
    """

    rows: list[Event]
    reaches: int
    head: int
    is_final: bool


class Position(NamedTuple):
    """A session as a hint tells of it."""

    session_id: UUID
    seq: int
    state: str


# One statement, so that the end of the session and of its ledger are seen together.
_HEADS_WITH_STATES = """
SELECT h.session_id, h.seq, s.state
  FROM runner_ledger_head h JOIN runner_session s ON s.id = h.session_id
 WHERE h.session_id = ANY(%s)
"""
_HEADS = "SELECT session_id, seq FROM kt_ledger_heads(%s)"


def stretch(found: QuerySet[Event], session_id: UUID, after: int) -> Stretch:
    """What follows `after` among these events of one session; call within its organization.

    The head is read first. Events commit together with it and in order, so that whatever it counts
    can be read, and nothing in between can come later.
    """
    ((_, head, state),) = _positions([session_id])
    reach = min(head, after + SPAN)
    rows = list(found.filter(seq__gt=after, seq__lte=reach).order_by("seq")[:ROWS])
    reaches = rows[-1].seq if len(rows) == ROWS else max(after, reach)
    return Stretch(rows, reaches, head, state in FINAL)


def _positions(session_ids: list[UUID]) -> list[Position]:
    with connection.cursor() as cursor:
        cursor.execute(_HEADS_WITH_STATES, [session_ids])
        return [Position(*row) for row in cursor.fetchall()]


def stretch_of(
    organization_id: UUID, found: QuerySet[Event], session_id: UUID, after: int
) -> Stretch:
    """As `stretch`, in a scope of its own."""
    close_old_connections()
    with organization_scope(organization_id):
        return stretch(found, session_id, after)


def positions(organization_id: UUID, session_ids: Iterable[UUID]) -> list[Position]:
    """Where these sessions of one organization stand. Opens its own scope."""
    close_old_connections()
    with organization_scope(organization_id):
        return _positions(list(session_ids))


def heads(session_ids: Iterable[UUID]) -> dict[UUID, int]:
    """How far these ledgers go, whosever they are."""
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute(_HEADS, [list(session_ids)])
        return dict(cursor.fetchall())


def bearers(organization_id: UUID, of: Iterable[Bearer]) -> dict[Bearer, Principal | None]:
    """Who these bearers are now; None for one that is not in force. Opens its own scope."""
    close_old_connections()
    with organization_scope(organization_id):
        return {bearer: _resolved(bearer) for bearer in of}


def _resolved(bearer: Bearer) -> Principal | None:
    try:
        return bearer.resolve()
    except NotAuthenticated:
        return None
