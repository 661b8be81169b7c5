"""Reads that take their order from an index, whatever the planner believes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection


def rows(statement: str, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement that reads what it orders from the index that has the order.

    To a planner whose statistics are a minute behind, as they are after every burst of dispatches,
    a queue of thousands looks like three rows, and sorting three rows as good as any index. Needs
    a transaction.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SET LOCAL enable_sort = off; {statement}; SET LOCAL enable_sort TO DEFAULT", given
        )
        cursor.nextset()
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found
