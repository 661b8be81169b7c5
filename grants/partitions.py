"""Months of the ledger: made ahead by maintenance, and looked at by readiness."""

from __future__ import annotations

from collections import Counter

from django.db import connection, connections

from keeptrusts_runners.api.health import NotReadyError

_MAKE = "SELECT kt_make_event_partitions(now(), now() + interval '1 year')"
_NEXT_MONTH = "SELECT to_regclass(to_char(now() + interval '1 month', '\"runner_event_\"YYYY_MM'))"


def make_ahead() -> Counter[str]:
    """Have a year of months ready; counts those that were made."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_MAKE)
        return Counter(made=cursor.fetchone()[0])


def covers_next_month() -> None:
    """The readiness check. Raises NotReadyError when less than a month is left."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT_MONTH)
        (partition,) = cursor.fetchone()
    if partition is None:
        raise NotReadyError("The ledger has no partition for next month: run manage.py maintain.")
