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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
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
    """What is to be recorded of one session. `written` is its data as it is stored, where that is
    known already."""

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
    written: str | None = None


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

COLUMNS = (
    "organization_id", "session_id", "seq", "id", "kind", "actor", "lease_epoch", "recorded_at",
    "body", "salt", "body_digest", "hash", "level", "step", "client_id", "client_seq",
    "occurred_at",
)  # fmt: skip
_TYPES = (
    "uuid", "uuid", "bigint", "uuid", "text", "text", "bigint", "timestamptz", "bytea", "bytea",
    "bytea", "bytea", "text", "text", "text", "bigint", "timestamptz",
)  # fmt: skip
# Never the same in two rows.
_OWN = frozenset({"seq", "id", "body", "salt", "body_digest", "hash"})
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
    return {
        session_id: [Recorded(row[2], row[7]) for row in rows]
        for session_id, rows in store(records).items()
    }


def store(records: Mapping[UUID, Sequence[Record]]) -> dict[UUID, list[tuple[Any, ...]]]:
    """The same, answering the rows as they are stored, in the columns of COLUMNS."""
    heads = lock_heads(list(records))
    rows: dict[UUID, list[tuple[Any, ...]]] = {}
    advances: list[tuple[Any, ...]] = []
    for session_id, of_session in records.items():
        head = heads[session_id]
        rows[session_id] = chained(head, of_session, itertools.repeat(head.now))
        advances.append(_advance(head, of_session, rows[session_id][-1]))
    _insert(list(itertools.chain.from_iterable(rows.values())))
    _execute(_ADVANCE, [list(column) for column in zip(*advances, strict=True)])
    # A transaction is one organization's.
    organization_id = next(iter(heads.values())).organization_id
    _audit(organization_id, records, heads, rows)
    grown = {session_id: of_session[-1][2] for session_id, of_session in rows.items()}
    wakeups.announce_growth(organization_id, grown)
    if topics := _topics(itertools.chain.from_iterable(records.values())):
        wakeups.announce_changes(organization_id, topics)
    return rows


def _topics(records: Iterable[Record]) -> frozenset[str]:
    """Which pages show what has happened. What executing code says changes no list."""
    topics: set[str] = set()
    for record in records:
        if record.source == "server":
            topics |= {wakeups.SESSIONS, wakeups.FLEET}
            if record.kind.startswith("grant."):
                topics.add(wakeups.APPROVALS)
    return frozenset(topics)


def _audit(
    organization_id: UUID,
    records: Mapping[UUID, Sequence[Record]],
    heads: Mapping[UUID, Head],
    rows: Mapping[UUID, Sequence[tuple[Any, ...]]],
) -> None:
    """What the server records of a session is a mutation, and on the organization's audit log by
    the hashes before and after it. What executing code says is on the chain alone."""
    entries = []
    for session_id, of_session in records.items():
        before = bytes(heads[session_id].hash)
        for record, row in zip(of_session, rows[session_id], strict=True):
            seq, after = row[2], row[11]
            if record.source == "server":
                entries.append(_entry(record, session_id, seq, before, after))
            before = after
    audit.record(organization_id, entries)


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


_RANDOM_BYTES = 10 + chain.SALT_BYTES


def chained(
    head: Head,
    records: Sequence[Record],
    instants: Iterable[datetime],
    randomness: Callable[[int], bytes] = os.urandom,
) -> list[tuple[Any, ...]]:
    """The rows of one session's records behind its head, each recorded at its instant, in the
    columns of COLUMNS. `randomness` makes the ids and the salts."""
    organization, session = head.organization_id, head.session_id
    random = randomness(_RANDOM_BYTES * len(records))
    bodies, headers = [], []
    for start, record, at in zip(
        itertools.count(0, _RANDOM_BYTES), records, instants, strict=False
    ):
        at_us = microseconds(at)
        event_id = ids.at(at_us // 1000, random[start : start + 10])
        salt = random[start + 10 : start + _RANDOM_BYTES]
        body = body_of(event_id, record)
        digest = chain.body_digest(salt, body)
        headers.append((at_us, record.kind, record.actor, record.lease_epoch, digest))
        bodies.append((record, at, event_id, body, salt, digest))
    hashes = chain.extend(organization.bytes, session.bytes, head.seq, bytes(head.hash), headers)
    return [
        (
            organization, session, seq, event_id, record.kind, record.actor, record.lease_epoch, at,
            body, salt, digest, hash_, str(record.level), record.step, record.client_id,
            record.client_seq, record.occurred_at,
        )
        for seq, (record, at, event_id, body, salt, digest), hash_ in zip(
            itertools.count(head.seq + 1), bodies, hashes, strict=False
        )
    ]  # fmt: skip


def body_of(event_id: UUID, record: Record) -> bytes:
    """The stored bytes: what `serialise` would make of the members that are there. Spelt out in
    their order, since a general writer takes three times as long."""
    members = []
    if record.client_id is not None:
        members.append(f'"client_id":{_quoted(record.client_id)}')
    if record.client_seq is not None:
        members.append(f'"client_seq":{record.client_seq:d}')
    if record.data is not None:
        text = record.written or written(record.data)
        members.append(f'"data":{text}')
    members.append(f'"id":"{ids.encode("evt", event_id)}","level":"{record.level!s}"')
    if record.message is not None:
        members.append(f'"message":{_quoted(record.message)}')
    if record.occurred_at is not None:
        members.append(f'"occurred_at":{microseconds(record.occurred_at)}')
    members.append(f'"source":"{record.source}"')
    if record.step is not None:
        members.append(f'"step":{_quoted(record.step)}')
    return f"{{{','.join(members)}}}".encode()


# json.dumps makes an encoder for each call that is not by its defaults.
_ENCODER = json.JSONEncoder(
    separators=(",", ":"), sort_keys=True, ensure_ascii=False, allow_nan=False
)


# JSON's spelling of a string, without an encoder around it.
_quoted = json.encoder.encode_basestring


def written(content: Any) -> str:
    """Compact JSON with sorted keys: the text of what is stored."""
    return _ENCODER.encode(content)


def serialise(content: Any) -> bytes:
    """The same as bytes."""
    return written(content).encode()


def microseconds(instant: datetime) -> int:
    """Since the Unix epoch, exact."""
    delta = instant - _EPOCH
    return (delta.days * 86400 + delta.seconds) * 1_000_000 + delta.microseconds


# COPY is refused under row-level security; binary arrays through unnest are as fast, and half of
# the cost of text (figures in docs/decisions.md). Each element costs the client as much as hashing
# a record, so that a value which all rows share travels once.
@cache
def insertion(shared: frozenset[str]) -> str:
    """The statement whose rows agree in these columns. Its parameters are the values of those,
    then arrays of the others."""
    types = dict(zip(COLUMNS, _TYPES, strict=True))
    selected = [f"%b::{types[name]}" if name in shared else f"v.{name}" for name in COLUMNS]
    arrays = [name for name in COLUMNS if name not in shared]
    source = ", ".join(f"%b::{types[name]}[]" for name in arrays)
    return f"INSERT INTO runner_event ({', '.join(COLUMNS)}) SELECT {', '.join(selected)}" + (
        f" FROM unnest({source}) AS v ({', '.join(arrays)})" if arrays else ""
    )


def _insert(rows: list[tuple[Any, ...]]) -> None:
    columns = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    shared = {
        name: values[0] for name, values in columns.items()
        if len(rows) == 1 or (name not in _OWN and values.count(values[0]) == len(rows))
    }  # fmt: skip
    arrays = [list(values) for name, values in columns.items() if name not in shared]
    _execute(insertion(frozenset(shared)), [*shared.values(), *arrays])


def _execute(statement: str, parameters: Sequence[Any]) -> None:
    """Run a statement whose parameters are binary."""
    connection.ensure_connection()
    # Django's own cursor merges parameters on the client, which has no binary form.
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute(statement, parameters)
