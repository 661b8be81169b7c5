"""The database's clock, the only one that decides anything, and how instants are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from django.db import connection
from django.db.models import DateTimeField, Func


class DatabaseNow(Func):
    """`clock_timestamp()`: the instant of evaluation, not of the transaction's start."""

    function = "clock_timestamp"
    template = "%(function)s()"
    output_field = DateTimeField()


def now() -> datetime:
    """The database's time now. Read it after taking a lock, never before."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cast(datetime, cursor.fetchone()[0])


def rfc3339(instant: datetime | None) -> str | None:
    """`2026-05-01T09:30:00.000000Z`: UTC, always with microseconds."""
    if instant is None:
        return None
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
