"""Ingest: what executors and people record of a session, one event or a batch of a thousand.

Validation is one pass over plain dicts, not a serializer for each event: with serializers a batch
of 500 spends six times as long in Python as PostgreSQL needs to store it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from grants import ledger
from grants.ledger import Record
from grants.models import Event, Level
from keeptrusts_runners import clock
from keeptrusts_runners.errors import ClientIdReused, FieldError, Invalid, PayloadTooLarge
from keeptrusts_runners.identity.principal import Principal
from sessions import claims, transitions
from sessions.models import RunnerSession

MAX_EVENTS = 1000
MAX_BYTES = 5 * 1024 * 1024
MAX_MESSAGE = 16 * 1024
MAX_DATA_BYTES = 64 * 1024
MAX_AHEAD = timedelta(minutes=5)

KINDS = frozenset(
    ["step.started", "step.finished", "log", "progress", "metric", "warning", "approval", "failure"]
)
_CUSTOM = re.compile(r"x(\.[a-z0-9_]{1,30}){1,4}")
_LEVELS = frozenset(level.value for level in Level)
_DEFAULT_LEVEL = {"warning": "warning", "failure": "error"}
_MEMBERS = frozenset(
    ["kind", "level", "step", "message", "data", "occurred_at", "client_id", "client_seq"]
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came of a batch; `rows` are its new records in their order, as ledger.store gives
    them."""

    session: RunnerSession
    accepted: int
    duplicates: int
    rows: list[tuple[Any, ...]]

    @property
    def first_seq(self) -> int | None:
        return self.rows[0][2] if self.rows else None

    @property
    def last_seq(self) -> int | None:
        return self.rows[-1][2] if self.rows else None

    def first(self) -> Event:
        """The first new record, without asking the database for what was just written."""
        return Event(**dict(zip(ledger.COLUMNS, self.rows[0], strict=True)))


class RefusalError(Exception):
    """One member of one event, or the event itself (None), cannot be accepted."""

    def __init__(self, member: str | None, code: str, detail: str) -> None:
        super().__init__(detail)
        self.member, self.code, self.detail = member, code, detail


def ingest(
    session_id: UUID,
    items: Sequence[Any],
    *,
    by: Principal,
    lease_epoch: int | None = None,
    pointer: str = "/events",
) -> Ingested:
    """Record events under the current lease: all of them or none.

    A `client_id` that is recorded already with the same content is a duplicate and no error.
    Raises Invalid naming the index, ClientIdReused, and as claims.require_lease does.
    """
    if len(items) > MAX_EVENTS:
        raise PayloadTooLarge(f"At most {MAX_EVENTS} events at once.", limit_events=MAX_EVENTS)
    session = transitions.lock(session_id, by=by)
    claims.require_lease(session, by=by, named_epoch=lease_epoch)
    # Without an `occurred_at` nothing has to know the time, and it is a round trip.
    records = _validated(items, cache(clock.now), pointer)
    actor, epoch = by.actor, session.lease_epoch
    for record in records:
        record.actor, record.lease_epoch = actor, epoch
    fresh = _without_repeats(session, records)
    rows = ledger.store({session.id: fresh})[session.id] if fresh else []
    return Ingested(session, len(fresh), len(records) - len(fresh), rows)


Now = Callable[[], datetime]


def _validated(items: Sequence[Any], now: Now, pointer: str) -> list[Record]:
    records, errors = [], []
    for index, item in enumerate(items):
        try:
            records.append(_record(item, now))
        except RefusalError as refusal:
            member = "" if refusal.member is None else f"/{refusal.member}"
            place = f"{pointer}/{index}{member}"
            errors.append(FieldError(place, refusal.code, refusal.detail))
            if len(errors) == 20:
                break
    if errors:
        raise Invalid(errors=errors)
    return records


def _record(item: Any, now: Now) -> Record:
    if not isinstance(item, dict):
        raise RefusalError(None, "not_an_object", "An event is an object.")
    if not _MEMBERS.issuperset(item):
        unknown = item.keys() - _MEMBERS
        raise RefusalError(
            _as_segment(min(unknown)), "unknown_field", "Events have no such member."
        )
    kind = _kind(item.get("kind"))
    level = item.get("level", _DEFAULT_LEVEL.get(kind, "info"))
    if not isinstance(level, str) or level not in _LEVELS:
        names = ", ".join(level.value for level in Level)
        raise RefusalError("level", "invalid_choice", f"This must be one of: {names}.")
    data, written = _data(item.get("data"))
    return Record(
        kind=kind,
        actor="",
        lease_epoch=0,
        level=level,
        step=_word(item, "step", 200),
        message=_message(item.get("message")),
        data=data,
        source="client",
        client_id=_word(item, "client_id", 120),
        client_seq=_client_seq(item.get("client_seq")),
        occurred_at=_occurred_at(item.get("occurred_at"), now),
        written=written,
    )


def _as_segment(name: str) -> str:
    """As a JSON pointer writes it (RFC 6901)."""
    return name[:64].replace("~", "~0").replace("/", "~1")


def _kind(kind: Any) -> str:
    if not isinstance(kind, str):
        raise RefusalError("kind", "required", "An event has a kind, which is a string.")
    if kind in KINDS or _CUSTOM.fullmatch(kind):
        return kind
    names = ", ".join(sorted(KINDS))
    raise RefusalError(
        "kind", "invalid_choice", f"This must be one of {names}, or a custom x.word."
    )


def _word(item: Mapping[str, Any], member: str, most: int) -> str | None:
    value = item.get(member)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= most or _CONTROL.search(value):
        raise RefusalError(member, "invalid", f"This must be a line of 1 to {most} characters.")
    return value


def _message(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_MESSAGE:
        raise RefusalError("message", "invalid", f"This must be text of at most {MAX_MESSAGE}.")
    return value


def _data(value: Any) -> tuple[Any, str | None]:
    """The data, and as it is stored: it is written once, to be measured and to be kept."""
    if value is None:
        return None, None
    if not isinstance(value, dict):
        raise RefusalError("data", "not_an_object", "This must be an object.")
    written = ledger.written(value)
    # A character has at most four bytes: what is short enough need not be counted out.
    if len(written) * 4 > MAX_DATA_BYTES and len(written.encode()) > MAX_DATA_BYTES:
        raise RefusalError("data", "too_large", f"At most {MAX_DATA_BYTES} bytes as JSON.")
    return value, written


def _client_seq(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**53:
        raise RefusalError("client_seq", "invalid", "This must be an integer from 1.")
    return value


_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)


def _occurred_at(value: Any, now: Now) -> datetime | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str) or not _INSTANT.fullmatch(value):
            raise ValueError
        # Beyond the first and the last year UTC has no name for it.
        instant = datetime.fromisoformat(value.upper()).astimezone(UTC)
        ahead = instant > now() + MAX_AHEAD
    except (ValueError, OverflowError):
        raise RefusalError(
            "occurred_at", "invalid", "This must be an RFC 3339 instant with its zone."
        ) from None
    if ahead:
        raise RefusalError("occurred_at", "in_the_future", "This lies in the future.")
    return instant


# --- repeats ---------------------------------------------------------------------------------


def _without_repeats(session: RunnerSession, records: list[Record]) -> list[Record]:
    """Drop what is recorded already, in the ledger or earlier in this batch."""
    named = [record.client_id for record in records if record.client_id is not None]
    if not named:
        return records
    known = {
        event.client_id: _of_event(event)
        for event in Event.objects.filter(session_id=session.id, client_id__in=named)
    }
    fresh = []
    for index, record in enumerate(records):
        if record.client_id is None:
            fresh.append(record)
            continue
        content = _content(record)
        before = known.setdefault(record.client_id, content)
        if before is content:
            fresh.append(record)
        elif before != content:
            raise ClientIdReused(index=index, client_id=record.client_id)
    return fresh


def _content(record: Record) -> tuple[Any, ...]:
    """What makes two events with one client_id the same."""
    at = ledger.microseconds(record.occurred_at) if record.occurred_at else None
    return (
        record.kind, record.level, record.step, record.message,
        record.written, record.client_seq, at,
    )  # fmt: skip


def _of_event(event: Event) -> tuple[Any, ...]:
    content = event.content
    data = content.get("data")
    return (
        event.kind, content.get("level"), content.get("step"), content.get("message"),
        None if data is None else ledger.written(data), content.get("client_seq"),
        content.get("occurred_at"),
    )  # fmt: skip
