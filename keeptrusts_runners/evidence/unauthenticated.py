"""How many requests nobody was authenticated for, for `/metrics`: they are no organization's.

A refused token costs no question to the database, and must not: whoever sends many would have
work done. So each process counts by itself, and writes its count down every ten seconds at most.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

from django.db import connection
from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily

EVERY_SECONDS = 10.0

_ADD = """
INSERT INTO evidence_unauthenticated AS u (code, total)
SELECT * FROM unnest(%s::text[], %s::bigint[])
    ON CONFLICT (code) DO UPDATE SET total = u.total + excluded.total
"""
_TOTALS = "SELECT code, total FROM evidence_unauthenticated ORDER BY code"


class Tally:
    """What a process has counted and not yet written down."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._due = 0.0

    def add(self, code: str) -> None:
        """Count one; call outside any scope."""
        if due := self._count(code):
            # In the order of the codes, so that two processes do not wait for each other.
            codes = sorted(due)
            with connection.cursor() as cursor:
                cursor.execute(_ADD, [codes, [due[each] for each in codes]])

    def _count(self, code: str) -> Counter[str]:
        """What is to be written down now."""
        with self._lock:
            self._counts[code] += 1
            if time.monotonic() < self._due:
                return Counter()
            due, self._counts = self._counts, Counter()
            self._due = time.monotonic() + EVERY_SECONDS
            return due


tally = Tally()


def metrics() -> Iterator[Metric]:
    found = CounterMetricFamily(
        "keeptrusts_unauthenticated",
        "Requests without a token that is in force, by the code of the answer.",
        labels=["code"],
    )
    with connection.cursor() as cursor:
        cursor.execute(_TOTALS)
        for code, total in cursor.fetchall():
            found.add_metric([code], total)
    yield found
