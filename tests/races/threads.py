"""Real threads with connections of their own, let go at the same moment, or kept."""

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


class Connections:
    """So many threads, each with a lasting connection, as a server has them; any number of callers
    may be served by them."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._pool = ThreadPoolExecutor(number)

    def __enter__(self) -> Connections:
        return self

    def serve(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """What each call returned, in the order of the calls."""
        return list(self._pool.map(lambda call: call(), calls))

    def __exit__(self, *_: object) -> None:
        everybody = Barrier(self._number)

        def leave(_: int) -> None:
            everybody.wait(timeout=60)
            connections.close_all()

        list(self._pool.map(leave, range(self._number)))
        self._pool.shutdown()
