"""Append to a session's hash chain: the only way an event comes to be.

A record's body is serialised once; those bytes are hashed, stored and exported, so that what is
proved is what was kept. Callers hold the session's row lock; the head's lock orders whoever does
not.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection

from grants.histogram import Histogram
from grants.models import Level
from keeptrusts_runners import ids
from keeptrusts_runners.evidence import audit, chain
from sessions import wakeups
from sessions.signals import Recorded

# What a record may be about beside its session.
_SUBJECTS = frozenset({"grant_id", "artifact_id", "number", "reason"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WARNINGS = frozenset({Level.WARNING})
_ERRORS = frozenset({Level.ERROR, Level.CRITICAL})


@dataclass(slots=True)
class Record:
    """What is to be recorded of one session. `content` is the body's remaining members."""

    kind: str
    actor: str
    lease_epoch: int
    level: str = Level.INFO
    step: str | None = None
    message: str | None = None
    data: Any = None
    source: str = "server"
    client_id: str | None = None
    client_seq: int | None = None
    occurred_at: datetime | None = None


@dataclass(slots=True)
class Head:
    """A locked head: where the chain stands and the database's time under the lock."""

    organization_id: UUID
    session_id: UUID
    seq: int
    hash: bytes
    histogram: Histogram
    now: datetime


# The row is made by the dispatch, in the same transaction as the session.
_OPEN_HEADS = """
INSERT INTO runner_ledger_head (session_id, organization_id, seq, hash, events, warnings, errors)
SELECT unnest(%s::uuid[]), %s, 0, %s, 0, 0, 0
"""
_LOCK_HEADS = """
SELECT organization_id, session_id, seq, hash, began_at, bucket_seconds, buckets, clock_timestamp()
  FROM runner_ledger_head WHERE session_id = ANY(%s) ORDER BY session_id FOR UPDATE
"""

# COPY is refused under row-level security; binary arrays through unnest are as fast, and half of
# the cost of text (figures in docs/decisions.md).
COLUMNS = (
    "organization_id", "session_id", "seq", "id", "kind", "actor", "lease_epoch", "recorded_at",
    "body", "salt", "body_digest", "hash", "level", "step", "client_id", "client_seq",
    "occurred_at",
)  # fmt: skip
_INSERT = f"""
INSERT INTO runner_event ({", ".join(COLUMNS)})
SELECT * FROM unnest(
       %b::uuid[], %b::uuid[], %b::bigint[], %b::uuid[], %b::text[], %b::text[], %b::bigint[],
       %b::timestamptz[], %b::bytea[], %b::bytea[], %b::bytea[], %b::bytea[], %b::text[],
       %b::text[], %b::text[], %b::bigint[], %b::timestamptz[])
"""
_ADVANCE = """
UPDATE runner_ledger_head h
   SET seq = v.seq, hash = v.hash, events = h.events + v.events,
       warnings = h.warnings + v.warnings, errors = h.errors + v.errors, began_at = v.began_at,
       bucket_seconds = v.bucket_seconds, buckets = v.buckets::integer[]
  FROM unnest(%b::uuid[], %b::bigint[], %b::bytea[], %b::bigint[], %b::bigint[], %b::bigint[],
       %b::timestamptz[], %b::integer[], %b::text[])
       AS v (session_id, seq, hash, events, warnings, errors, began_at, bucket_seconds, buckets)
 WHERE h.session_id = v.session_id
"""


def open_heads(organization_id: UUID, session_ids: Sequence[UUID]) -> None:
    """Begin the chains of new sessions."""
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_HEADS, [list(session_ids), organization_id, chain.GENESIS])


def lock_heads(session_ids: Sequence[UUID]) -> dict[UUID, Head]:
    """The heads, locked in the order of their ids; the time is read under the locks."""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_HEADS, [list(session_ids)])
        return {
            session_id: Head(organization_id, session_id, seq, hash_, Histogram(*kept), now)
            for organization_id, session_id, seq, hash_, *kept, now in cursor.fetchall()
        }


def append(records: Mapping[UUID, Sequence[Record]]) -> dict[UUID, list[Recorded]]:
    """Chain and store the records of one or more sessions, each list in its order.

    Answers where each stands. Nothing is kept of any if the transaction fails.
    """
    heads = lock_heads(list(records))
    rows: list[tuple[Any, ...]] = []
    advances: list[tuple[Any, ...]] = []
    places: dict[UUID, list[Recorded]] = {}
    for session_id, of_session in records.items():
        head = heads[session_id]
        added = chained(head, of_session, itertools.repeat(head.now))
        rows += added
        places[session_id] = [Recorded(row[2], row[7]) for row in added]
        advances.append(_advance(head, of_session, added[-1]))
    _execute(_INSERT, rows)
    _execute(_ADVANCE, advances)
    _audit(records, heads, rows)
    # A transaction is one organization's.
    organization_id = next(iter(heads.values())).organization_id
    grown = {session_id: recorded[-1].seq for session_id, recorded in places.items()}
    wakeups.announce_growth(organization_id, grown)
    return places


def _audit(
    records: Mapping[UUID, Sequence[Record]],
    heads: Mapping[UUID, Head],
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """What the server records of a session is a mutation, and on the organization's audit log by
    the hashes before and after it. What executing code says is on the chain alone."""
    entries: dict[UUID, list[audit.Entry]] = {}
    hashes = {session_id: bytes(head.hash) for session_id, head in heads.items()}
    of_rows = (record for of_session in records.values() for record in of_session)
    for record, row in zip(of_rows, rows, strict=True):
        organization_id, session_id, seq, after = row[0], row[1], row[2], row[11]
        before, hashes[session_id] = hashes[session_id], after
        if record.source == "server":
            entries.setdefault(organization_id, []).append(
                _entry(record, session_id, seq, before, after)
            )
    for organization_id, of_organization in entries.items():
        audit.record(organization_id, of_organization)


def _entry(record: Record, session_id: UUID, seq: int, before: bytes, after: bytes) -> audit.Entry:
    about = {name: record.data[name] for name in _SUBJECTS & (record.data or {}).keys()}
    session = ids.encode("sess", session_id)
    return audit.Entry(record.kind, session, record.actor, before, after, {"seq": seq, **about})


def _advance(head: Head, records: Sequence[Record], last: tuple[Any, ...]) -> tuple[Any, ...]:
    """What the records make of the head, in the columns of _ADVANCE."""
    levels = Counter(str(record.level) for record in records)
    histogram = head.histogram
    histogram.add(head.now, levels)
    return (
        head.session_id, last[2], last[11], len(records),
        sum(levels[level] for level in _WARNINGS), sum(levels[level] for level in _ERRORS),
        histogram.began_at, histogram.width_seconds, f"{{{','.join(map(str, histogram.counts))}}}",
    )  # fmt: skip


class Mint:
    """Where the ids and the salts of records come from."""

    def event_id(self, at: datetime) -> UUID:
        return ids.new()

    def salt(self) -> bytes:
        return os.urandom(chain.SALT_BYTES)


_MINT = Mint()


def chained(
    head: Head, records: Iterable[Record], instants: Iterable[datetime], mint: Mint = _MINT
) -> list[tuple[Any, ...]]:
    """The rows of one session's records behind its head, each recorded at its instant, in the
    columns of COLUMNS."""
    organization, session = head.organization_id, head.session_id
    bodies, headers = [], []
    for record, at in zip(records, instants, strict=False):
        event_id, salt = mint.event_id(at), mint.salt()
        body = _body(event_id, record)
        digest = chain.body_digest(salt, body)
        headers.append((microseconds(at), record.kind, record.actor, record.lease_epoch, digest))
        bodies.append((record, at, event_id, body, salt))
    hashes = chain.extend(organization.bytes, session.bytes, head.seq, bytes(head.hash), headers)
    return [
        (
            organization, session, seq, event_id, record.kind, record.actor, record.lease_epoch, at,
            body, salt, header[4], hash_, str(record.level), record.step, record.client_id,
            record.client_seq, record.occurred_at,
        )
        for seq, (record, at, event_id, body, salt), header, hash_ in zip(
            itertools.count(head.seq + 1), bodies, headers, hashes, strict=False
        )
    ]  # fmt: skip


def _body(event_id: UUID, record: Record) -> bytes:
    content = {
        "id": ids.encode("evt", event_id),
        "level": str(record.level),
        "step": record.step,
        "message": record.message,
        "data": record.data,
        "source": record.source,
        "occurred_at": microseconds(record.occurred_at) if record.occurred_at else None,
        "client_id": record.client_id,
        "client_seq": record.client_seq,
    }
    return serialise({name: value for name, value in content.items() if value is not None})


# json.dumps makes an encoder for each call that is not by its defaults.
_ENCODER = json.JSONEncoder(
    separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False
)


def serialise(content: Any) -> bytes:
    """Compact JSON with sorted keys: the stored bytes."""
    return _ENCODER.encode(content).encode()


def microseconds(instant: datetime) -> int:
    """Since the Unix epoch, exact."""
    delta = instant - _EPOCH
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


def _execute(statement: str, rows: list[tuple[Any, ...]]) -> None:
    """Run a statement whose parameters are binary arrays, one for each column of the rows."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    connection.ensure_connection()
    # Django's own cursor merges parameters on the client, which has no binary form.
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(statement, columns)
