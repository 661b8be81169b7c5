"""One session's events as a stream of lines: NDJSON for machines, text for people.

It is read by keys, a bounded range at a time and each in a transaction of its own: an export of any
length costs the same memory, and a slow reader keeps no snapshot open. What is exported ends where
the ledger ended when it was asked for; records do not change, so nothing is lost by that but the
place of a redaction that comes meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from uuid import UUID

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from grants.models import Event
from grants.reading import Needle, Span
from grants.serializers import EventOut
from keeptrusts_runners import ids
from keeptrusts_runners.api import answers
from keeptrusts_runners.api.answers import NDJSON, TEXT
from keeptrusts_runners.clock import rfc3339
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from keeptrusts_runners.plain_text import plain

_STEP = 250


def as_json(event: Event) -> bytes:
    """The event as lists show it, on one line."""
    return answers.encode(EventOut.render(event)) + b"\n"


def as_text(event: Event) -> bytes:
    """Number, time, level, kind, step, message and data. What follows a line break is indented:
    no message can pretend to be another record."""
    start = f"{event.seq} {rfc3339(event.recorded_at)}"
    if event.is_redacted:
        return f"{start} {event.kind} redacted\n".encode()
    words = [start, event.level or "", event.kind]
    if event.step:
        words.append(f"[{event.step}]")
    if event.message:
        words.append(event.message)
    if event.data:
        words.append(json.dumps(event.data, ensure_ascii=False, separators=(",", ":")))
    line = plain(" ".join(words)).rstrip("\n").replace("\n", "\n    ")
    return f"{line}\n".encode()


_WRITERS: dict[str, Callable[[Event], bytes]] = {NDJSON: as_json, TEXT: as_text}
_SUFFIXES = {NDJSON: "ndjson", TEXT: "txt"}


def stream(
    found: QuerySet[Event],
    span: Span,
    organization_id: UUID,
    media_type: str,
    needle: Needle | None = None,
) -> Iterator[bytes]:
    """The lines of what is found in the span, in order, a range of records at a time."""
    write, left = _WRITERS[media_type], span
    while not left.is_empty:
        step = left.first(_STEP)
        with organization_scope(organization_id):
            rows = [row for row in step.of(found) if needle is None or needle.is_of(row)]
            lines = b"".join(map(write, rows))
        if lines:
            yield lines
        left = left.beyond(step.last)


def searched(looked: Span) -> dict[str, int | None]:
    """The records that were looked at, as answers tell them."""
    if looked.is_empty:
        return {"searched_from": None, "searched_to": None}
    return {"searched_from": looked.after + 1, "searched_to": looked.before - 1}


def export(
    session_id: UUID,
    found: QuerySet[Event],
    span: Span,
    media_type: str,
    *,
    by: Principal,
    needle: Needle | None = None,
) -> StreamingHttpResponse:
    """The lines as a download. They are read while they are sent, after the request's own
    transaction; in this one it is put on record, before a line is read."""
    exported = ids.encode("sess", session_id)
    detail = {**searched(span), "media_type": media_type}
    entry = audit.Entry("events.exported", exported, by.actor, detail=detail)
    audit.record(by.organization_id, [entry])
    name = f"{exported}.events.{_SUFFIXES[media_type]}"
    response = StreamingHttpResponse(
        stream(found, span, by.organization_id, media_type, needle),
        content_type=f"{media_type}; charset=utf-8",
    )
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["X-Content-Type-Options"] = "nosniff"
    response["Cache-Control"] = "no-store"
    return response
