"""A session's records as the lines of events.ndjson, which bundles carry and verification reads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from grants import queries
from grants.ledger import microseconds
from grants.models import Event
from keeptrusts_runners.evidence.records import encode_record
from sessions.models import RunnerSession

_CHUNK_ROWS = 2000


def of_session(session: RunnerSession, after_seq: int = 0) -> Iterator[bytes]:
    """In order, read in chunks: a session may have millions. Needs a transaction."""
    events = queries.events(session).filter(seq__gt=after_seq).order_by("seq")
    return map(_line, events.iterator(chunk_size=_CHUNK_ROWS))


def in_batches(session: RunnerSession, after_seq: int = 0) -> Iterator[list[bytes]]:
    """The same, without their line feeds, as the verifier takes them."""
    lines = (line[:-1] for line in of_session(session, after_seq))
    while batch := list(islice(lines, _CHUNK_ROWS)):
        yield batch


def _line(event: Event) -> bytes:
    """One ledger record, with all that its hash is of."""
    at, digest = microseconds(event.recorded_at), bytes(event.body_digest)
    header = (at, event.kind, event.actor, event.lease_epoch, digest)
    body, salt = _bytes(event.body), _bytes(event.salt)
    return encode_record(event.seq, header, body, salt, bytes(event.hash))


def _bytes(stored: Any) -> bytes | None:
    return None if stored is None else bytes(stored)
