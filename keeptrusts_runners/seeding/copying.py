"""Whole rows by COPY, as the owner of the tables.

COPY FROM is refused on tables with row-level security, but for their owner, whom no policy binds.
That is the migrating role, which a server never has; the ledger's triggers refuse changes and not
new rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from django.db import connections
from django.db.models import JSONField, Model
from psycopg.types.json import Jsonb

from grants import ledger

_EVENT_TYPES = (
    "uuid", "uuid", "int8", "uuid", "varchar", "varchar", "int8", "timestamptz", "bytea", "bytea",
    "bytea", "bytea", "varchar", "varchar", "varchar", "int8", "timestamptz",
)  # fmt: skip
_MONTHS = "SELECT kt_make_event_partitions(%s, now() + interval '1 year')"
_TABLES = (
    "runner_profile", "runner_harness", "runner_executor", "runner_session", "runner_transition",
    "runner_checkpoint", "runner_ledger_head", "runner_event", "runner_artifact", "runner_blob",
    "runner_storage_usage", "runner_grant", "runner_grant_decision",
)  # fmt: skip


def connection() -> psycopg.Connection:
    """psycopg's own, since Django's cursor has no COPY."""
    connections["migrate"].ensure_connection()
    raw: psycopg.Connection = connections["migrate"].connection
    return raw


def make_months(since: Any) -> None:
    """Partitions from then on; those that are there stay."""
    with connections["migrate"].cursor() as cursor:
        cursor.execute(_MONTHS, [since])


def analyze() -> None:
    """The planner knows what has come."""
    with connections["migrate"].cursor() as cursor:
        for table in _TABLES:
            cursor.execute(f"ANALYZE {table}")


def copy_events(rows: Iterable[Sequence[Any]]) -> None:
    """Rows in the columns of ledger.COLUMNS."""
    columns = ", ".join(ledger.COLUMNS)
    statement = f"COPY runner_event ({columns}) FROM STDIN (FORMAT BINARY)"
    with connection().cursor() as cursor, cursor.copy(statement.encode()) as copy:
        copy.set_types(_EVENT_TYPES)
        for row in rows:
            copy.write_row(row)


def copy_models(rows: Sequence[Model]) -> None:
    """Instances of one model, whole: every column has its value."""
    if not rows:
        return
    fields = [field for field in rows[0]._meta.concrete_fields if not field.generated]
    columns = ", ".join(f'"{field.column}"' for field in fields)
    statement = f"COPY {rows[0]._meta.db_table} ({columns}) FROM STDIN"
    with connection().cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row([_written(field, getattr(row, field.attname)) for field in fields])


def _written(field: Any, value: Any) -> Any:
    return Jsonb(value) if isinstance(field, JSONField) and value is not None else value
