"""What a page has cost so far, for the footer that staff see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection


class Cost:
    """Counts from when it was made; read where the page ends."""

    # Templates call whatever can be called.
    do_not_call_in_templates = True

    def __init__(self) -> None:
        self.queries = 0
        self._began = time.perf_counter()

    @property
    def milliseconds(self) -> int:
        return round((time.perf_counter() - self._began) * 1000)

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        """As Django's execute wrappers are called."""
        self.queries += 1
        return execute(*arguments)


@contextmanager
def counted(request: Any) -> Iterator[None]:
    """While the block lasts; only for staff is there anything to count."""
    if not request.person.is_staff:
        yield
        return
    cost = Cost()
    request.cost = cost
    with connection.execute_wrapper(cost):
        yield
