"""Reading a ledger at a bounded cost, whatever is looked for and however long the ledger is.

What an index answers is read straight from it. Everything else looks at a bounded slice of records,
which is exact because `seq` has no gaps, and says how far it came.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from grants.histogram import Histogram
from grants.models import Event, LedgerHead, Level
from sessions.models import RunnerSession

# How many records one request looks at, and at most how many bytes of them.
LOOKED_AT = 10_000
LOOKED_AT_BYTES = 8 * 1024 * 1024
_STEP = 250
# Behind every record.
END = 2**63 - 1
FACET_RECORDS = 20_000
FACET_WORDS = 100


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one reading looks at, at most; `seconds` where a person waits for it."""

    records: int
    bytes: int
    seconds: float = 60.0


def of_request() -> Bounds:
    """What a request of the API may look at."""
    return Bounds(LOOKED_AT, LOOKED_AT_BYTES)


# Levels that runner_event_level has.
LOUD = frozenset({Level.WARNING.value, Level.ERROR.value, Level.CRITICAL.value})


@dataclass(frozen=True, slots=True)
class Span:
    """The records between two numbers, neither of them included; read from either end."""

    after: int
    before: int
    backwards: bool = False

    @property
    def is_empty(self) -> bool:
        return self.before - self.after < 2

    def first(self, number: int) -> Span:
        """So many records of the end that reading begins with."""
        if self.backwards:
            return Span(max(self.after, self.before - number - 1), self.before, True)
        return Span(self.after, min(self.before, self.after + number + 1))

    def beyond(self, seq: int) -> Span:
        """What is left when everything up to this record has been looked at."""
        if self.backwards:
            return Span(self.after, min(self.before, seq), True)
        return Span(max(self.after, seq), self.before)

    @property
    def last(self) -> int:
        """The record that reading ends with."""
        return self.after + 1 if self.backwards else self.before - 1

    def of(self, found: QuerySet[Event]) -> QuerySet[Event]:
        inside = found.filter(seq__gt=self.after, seq__lt=self.before)
        return inside.order_by("-seq" if self.backwards else "seq")


@dataclass(frozen=True, slots=True)
class Found:
    """`rows` in the order of reading; `looked` is what was looked at, `left` what was not."""

    rows: list[Event]
    looked: Span
    left: Span


def by_index(found: QuerySet[Event], span: Span, limit: int, levels: Sequence[str] = ()) -> Found:
    """The first rows that match, from an index that has them in order. With several levels each
    is one bounded range of it, and one part of a union: asked for together the whole ledger might
    be read."""
    reads = [found.filter(level=level) for level in levels] or [found]
    first, *others = (span.of(each)[: limit + 1] for each in reads)
    rows = list(first.union(*others, all=True) if others else first)
    rows = sorted(rows, key=lambda event: event.seq, reverse=span.backwards)[: limit + 1]
    return _found(rows[:limit], span, len(rows) <= limit)


def by_slice(found: QuerySet[Event], span: Span, limit: int, bounds: Bounds) -> Found:
    """The rows that match among the first so many records."""
    slice_ = span.first(bounds.records)
    rows = list(slice_.of(found)[: limit + 1])
    return _found(rows[:limit], span, len(rows) <= limit, slice_.last)


def by_text(found: QuerySet[Event], span: Span, limit: int, text: str, bounds: Bounds) -> Found:
    """The rows with this text, in any case, in kind, step, message, or in a key, a string or a
    number of data. A pattern means nothing: it is found as it is written."""
    needle, until = Needle(text), time.monotonic() + bounds.seconds
    seqs: list[int] = []
    left, bytes_read, end = span.first(bounds.records), 0, span.after
    while not left.is_empty and len(seqs) <= limit and bytes_read < bounds.bytes:
        if time.monotonic() > until and end != span.after:
            break
        step = left.first(_STEP)
        for seq, kind, of_step, body in step.of(found).values_list("seq", "kind", "step", "body"):
            bytes_read += len(body or b"")
            if needle.is_in(kind, of_step, body):
                seqs.append(seq)
        end, left = step.last, left.beyond(step.last)
    rows = list(span.of(found.filter(seq__in=seqs[:limit]))) if seqs else []
    return _found(rows, span, len(seqs) <= limit, end)


def _found(rows: list[Event], span: Span, all_found: bool, end: int | None = None) -> Found:
    """`end`: the last that was looked at, where not all of the span was."""
    end = (span.last if end is None else end) if all_found else rows[-1].seq
    if span.is_empty:
        return Found([], span, span)
    left = span.beyond(end)
    looked = Span(end - 1, span.before, True) if span.backwards else Span(span.after, end + 1)
    return Found(rows, looked, left)


class Needle:
    """What is looked for, also as it would stand in a stored body."""

    def __init__(self, text: str) -> None:
        self.text = text.casefold()
        self.written = json.dumps(self.text, ensure_ascii=False)[1:-1]

    def is_of(self, event: Event) -> bool:
        return self.is_in(event.kind, event.step, event.body)

    def is_in(self, kind: str, step: str | None, body: Any) -> bool:
        if self.text in kind or (step is not None and self.text in step.casefold()):
            return True
        if body is None:
            return False
        # Most bodies do not hold it anywhere and need not be parsed.
        stored = bytes(body).decode()
        if self.written not in stored.casefold():
            return False
        content = json.loads(stored)
        return any(
            self.text in word.casefold() for name in ("message", "data")
            for word in _words(content.get(name))
        )  # fmt: skip


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from value
        for each in value.values():
            yield from _words(each)
    elif isinstance(value, list):
        for each in value:
            yield from _words(each)
    elif value is not None:
        yield json.dumps(value)


# --- figures ---------------------------------------------------------------------------------


def histogram(head: LedgerHead) -> Histogram:
    """The session's buckets of time, as ingest has kept them."""
    return Histogram(head.began_at, head.bucket_seconds, head.buckets)


# One range of the primary key, read once: each row is of one kind, one step or one epoch.
_FACETS = """
SELECT grouped, coalesce(kind, step, lease_epoch::text), number FROM (
    SELECT kind, step, lease_epoch, count(*) AS number,
           GROUPING(kind, step, lease_epoch) AS grouped,
           row_number() OVER (PARTITION BY GROUPING(kind, step, lease_epoch)
                              ORDER BY count(*) DESC, kind, step, lease_epoch) AS place
      FROM runner_event
     WHERE organization_id = %(organization)s AND session_id = %(session)s
       AND seq > %(after)s AND seq < %(before)s
     GROUP BY GROUPING SETS (kind, step, lease_epoch)) counted
 WHERE place <= %(words)s AND coalesce(kind, step, lease_epoch::text) IS NOT NULL
 ORDER BY grouped, place
"""
_GROUPED = {0b011: "kinds", 0b101: "steps", 0b110: "epochs"}


def facets(session: RunnerSession, span: Span) -> dict[str, list[tuple[str, int]]]:
    """How often each kind, each step and each epoch occurs in the span, the most frequent
    FACET_WORDS of each first."""
    parameters: dict[str, Any] = {
        "organization": session.organization_id,
        "session": session.id,
        "after": span.after,
        "before": span.before,
        # Records without a step are a group too.
        "words": FACET_WORDS + 1,
    }
    counted: dict[str, list[tuple[str, int]]] = {name: [] for name in _GROUPED.values()}
    with connection.cursor() as cursor:
        cursor.execute(_FACETS, parameters)
        for grouped, word, number in cursor.fetchall():
            counted[_GROUPED[grouped]].append((word, number))
    return counted
