"""A panel that fails alone: the rest of the page stands when one read is too slow.

    context["stats"] = panels.load(lambda: queries.stats(...))
    {% if stats.available %}
      {{ stats.value }}
    {% else %}
      {% include "console/_unavailable.html" with what="Counts" %}
    {% endif %}

Unavailable is not empty: the template says which of the two it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import psycopg
import structlog
from django.db import OperationalError, transaction

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Panel(Generic[T]):
    value: T | None
    available: bool = True


def load(read: Callable[[], T]) -> Panel[T]:
    """Run a read within a savepoint; one that exceeds the page's limit leaves the panel empty.

    `read` must return data, not a lazy queryset. Any other failure is the whole page's.
    """
    try:
        with transaction.atomic():
            return Panel(read())
    except OperationalError as error:
        if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
            raise
        log.warning("panel_timed_out", read=getattr(read, "__qualname__", ""))
        return Panel(None, available=False)
