"""Real threads with connections of their own, let go at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from django.db import connections

T = TypeVar("T")


def at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """What each call returned, in the order of the calls. Raises what the first failed one did."""
    start = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        try:
            # Connected before the start, so that the race is over rows and not over connecting.
            connections["default"].ensure_connection()
            start.wait(timeout=60)
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))
