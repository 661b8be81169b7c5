"""What of a runner's own numbering has arrived, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db import connection

from grants.models import Event
from sessions.models import RunnerSession, Transition
from sessions.states import Verb

MAX_RANGES = 100

# One walk over the session's records. A number may arrive twice; it counts once.
_NUMBERED = """
WITH numbered AS (
    SELECT DISTINCT lease_epoch, client_seq FROM runner_event
     WHERE session_id = %(session)s AND client_seq IS NOT NULL
), stepped AS (
    SELECT lease_epoch, client_seq, lag(client_seq, 1, 0::bigint) OVER of_epoch AS before
      FROM numbered WINDOW of_epoch AS (PARTITION BY lease_epoch ORDER BY client_seq)
)
SELECT lease_epoch, count(*), max(client_seq),
       array_agg(ARRAY[before + 1, client_seq - 1] ORDER BY client_seq)
           FILTER (WHERE client_seq > before + 1)
  FROM stepped GROUP BY lease_epoch
"""


def completeness(session: RunnerSession) -> list[dict[str, Any]]:
    """For each epoch how many numbered events its runner declared, how many arrived, and which
    did not. Undeclared is unknown: then only the gaps between those that arrived are told."""
    if session.lease_epoch == 0:
        return []
    received, declared = _received(session.id), _declared(session.id)
    return [
        _entry(epoch, declared.get(epoch), *received.get(epoch, (0, 0, [])))
        for epoch in range(1, session.lease_epoch + 1)
    ]


def _entry(
    epoch: int, declared: int | None, received: int, last: int, gaps: list[list[int]]
) -> dict[str, Any]:
    missing = gaps[:MAX_RANGES]
    if declared is not None and declared > last:
        missing = [*missing, [last + 1, declared]]
    return {"epoch": epoch, "declared": declared, "received": received, "missing": missing}


def _received(session_id: UUID) -> dict[int, tuple[int, int, list[list[int]]]]:
    with connection.cursor() as cursor:
        cursor.execute(_NUMBERED, {"session": session_id})
        return {epoch: (count, last, gaps or []) for epoch, count, last, gaps in cursor.fetchall()}


def _declared(session_id: UUID) -> dict[int, int]:
    """What each epoch's outcome said, from the record of it."""
    return dict(_declarations(session_id))


def _declarations(session_id: UUID) -> Iterator[tuple[int, int]]:
    ended = Transition.objects.filter(session_id=session_id, verb__in=[Verb.COMPLETE, Verb.FAIL])
    places = list(ended.values_list("seq", flat=True))
    for event in Event.objects.filter(session_id=session_id, seq__in=places):
        count = (event.data or {}).get("event_count")
        if count is not None:
            yield event.lease_epoch, count
