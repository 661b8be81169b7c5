"""Writes the audit log: who did what to which object, on which request, and what was denied.

Each mutation writes its record in its own transaction, so that there is none without it. What the
database cannot be asked for beforehand, the id and the instant, it puts in itself and hashes with
the rest, so that a record costs one statement and its time is the database's.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Model

from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence.audit_models import Outcome
from keeptrusts_runners.identity.principal import Principal

FORMAT = b"kt.audit.v1"
SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Source:
    """The request that something is done on; empty for commands and for the loop."""

    request_id: str = ""
    address: str = ""
    actor: str = SYSTEM


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be recorded. `before` and `after` are digests of the object's state; `detail`
    is what else an auditor reads first, and small."""

    verb: str
    object: str
    actor: str
    before: bytes | None = None
    after: bytes | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome = Outcome.DONE


_NONE = Source()
_source: ContextVar[Source] = ContextVar("audit_source", default=_NONE)


@contextmanager
def on_request(request_id: str, address: str) -> Iterator[None]:
    """What is recorded within came with this request."""
    token = _source.set(Source(request_id, address))
    try:
        yield
    finally:
        _source.reset(token)


def acting(actor: str) -> None:
    """From here to the request's end this principal acts, also for verbs that are not told."""
    _source.set(replace(_source.get(), actor=actor))


def actor() -> str:
    """Who acts now: the request's principal, or `system` in commands and in the loop."""
    return _source.get().actor


# The id and the instant stand in a subquery of their own, since each is needed twice.
_INSERT = """
INSERT INTO evidence_audit
       (organization_id, id, at, actor, verb, object, outcome, request_id, body, digest)
SELECT %(organization)s, id, at, actor, verb, object, outcome, %(request_id)s, body,
       kt_audit_digest(%(organization)s, id, at, body)
  FROM (SELECT kt_uuid7() AS id, clock_timestamp() AS at, new.*
          FROM unnest(%(actors)s::text[], %(verbs)s::text[], %(objects)s::text[],
                      %(outcomes)s::text[], %(bodies)s::bytea[])
               AS new (actor, verb, object, outcome, body)) dated
"""


def record(organization_id: UUID, entries: Sequence[Entry]) -> None:
    """Append to the organization's log, in the present transaction and scope."""
    if not entries:
        return
    source = _source.get()
    given: dict[str, Any] = {
        "organization": organization_id,
        "request_id": source.request_id,
        "actors": [entry.actor for entry in entries],
        "verbs": [entry.verb for entry in entries],
        "objects": [entry.object[:200] for entry in entries],
        "outcomes": [entry.outcome.value for entry in entries],
        "bodies": [_body(entry, source) for entry in entries],
    }
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, given)


_STAFF = "SELECT kt_record_act_of_staff(%s::uuid[], %s, %s, %s, %s, %s::bytea[])"


def record_staff(
    verb: str, organizations: Mapping[UUID, Mapping[str, Any]], *, staff: str, subject: str
) -> None:
    """What staff did in the admin (`staff.viewed`, `staff.exported`), on the record of each
    organization that it showed, with what is to be said to that one. Needs no scope."""
    if not organizations:
        return
    source, subject = _source.get(), subject[:200]
    told = sorted(organizations.items(), key=lambda each: str(each[0]))
    bodies = [_body(Entry(verb, subject, staff, detail=detail), source) for _, detail in told]
    given: list[Any] = [[each for each, _ in told], verb, staff, subject, source.request_id, bodies]
    with connection.cursor() as cursor:
        cursor.execute(_STAFF, given)


def _body(entry: Entry, source: Source) -> bytes:
    content = {
        "actor": entry.actor,
        "verb": entry.verb,
        "object": entry.object,
        "outcome": entry.outcome.value,
        "before": entry.before.hex() if entry.before else None,
        "after": entry.after.hex() if entry.after else None,
        "detail": dict(entry.detail) or None,
        "request_id": source.request_id or None,
        "source_address": source.address or None,
    }
    return canonical({name: value for name, value in content.items() if value is not None})


def _as_text(value: Any) -> str:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else str(value)


# Made once: json.dumps would make one for each record.
_ENCODER = json.JSONEncoder(
    separators=(",", ":"), sort_keys=True, ensure_ascii=False, default=_as_text
)


def canonical(content: Any) -> bytes:
    """Compact JSON with sorted keys; what is not JSON is written as text."""
    return _ENCODER.encode(content).encode()


def digest(organization_id: UUID, record_id: UUID, at_us: int, body: bytes) -> bytes:
    """What the database computes as well (`kt_audit_digest`); `at_us` in microseconds."""
    fields = (FORMAT, organization_id.bytes, record_id.bytes, struct.pack(">Q", at_us), body)
    return sha256(b"".join(struct.pack(">I", len(value)) + value for value in fields)).digest()


# --- what was done ---------------------------------------------------------------------------


def changed(
    verb: str,
    prefix: str,
    row: Model,
    *,
    by: Principal,
    before: State | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Record that a row of this principal's organization was made, or changed since `before`;
    nothing where it is the same. `prefix` is that of the row's TypeID."""
    after = State(row)
    if before is not None and before.digest == after.digest:
        return
    told = dict(detail or {})
    if before is not None:
        told["changed"] = after.differences(before)
    entry = Entry(
        verb,
        ids.encode(prefix, row.pk),
        by.actor,
        before.digest if before else None,
        after.digest,
        told,
    )
    record(by.organization_id, [entry])


class State:
    """All columns of a row at one moment, to be compared with another."""

    def __init__(self, row: Model) -> None:
        self._values = {
            each.attname: canonical(getattr(row, each.attname))
            for each in row._meta.concrete_fields
            if not each.generated
        }

    @property
    def digest(self) -> bytes:
        """SHA-256 over the columns and their values."""
        return sha256(canonical({k: v.decode() for k, v in self._values.items()})).digest()

    def differences(self, before: State) -> list[str]:
        """The columns that changed, but for the counters of changes themselves."""
        own = self._values
        return sorted(
            name
            for name in own.keys() - {"version", "updated_at"}
            if own[name] != before._values.get(name)
        )


# --- what was denied -------------------------------------------------------------------------

# Served by evidence_denial_once_a_minute. Losing the race to another request is the update.
_DENY = """
INSERT INTO evidence_denial AS d
       (id, organization_id, actor, route, code, minute, count, first_request_id, source_address)
SELECT kt_uuid7(), %(organization)s, %(actor)s, %(route)s, %(code)s,
       date_trunc('minute', clock_timestamp()), 1, %(request_id)s, %(address)s
    ON CONFLICT (organization_id, actor, route, code, minute) DO UPDATE SET count = d.count + 1
"""
_SEAL = """
DELETE FROM evidence_denial
 WHERE organization_id = %s AND minute < date_trunc('minute', clock_timestamp())
RETURNING actor, route, code, minute, count, first_request_id, source_address
"""


def deny(organization_id: UUID, *, actor: str, route: str, code: str) -> None:
    """Count a denial. Call within the organization's scope."""
    source = _source.get()
    given: dict[str, Any] = {
        "organization": organization_id,
        "actor": actor,
        "route": route[:200],
        "code": code,
        "request_id": source.request_id,
        "address": source.address,
    }
    with connection.cursor() as cursor:
        cursor.execute(_DENY, given)


def seal_denials(organization_id: UUID) -> int:
    """Turn the denials of minutes that are over into records; how many. Call within the scope."""
    with connection.cursor() as cursor:
        cursor.execute(_SEAL, [organization_id])
        found = cursor.fetchall()
    record(organization_id, [_denied(*row) for row in found])
    return len(found)


def _denied(
    actor: str, route: str, code: str, minute: Any, count: int, request_id: str, address: str
) -> Entry:
    detail = {
        "code": code,
        "minute": clock.rfc3339(minute),
        "count": count,
        "first_request_id": request_id or None,
        "first_source_address": address or None,
    }
    return Entry("access.denied", route, actor, detail=detail, outcome=Outcome.DENIED)
