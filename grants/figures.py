"""How many decisions are asked of people, over all organizations, for `/metrics`."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily


def requests_pending() -> int:
    """Served by runner_grant_waiting."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT kt_grant_requests_pending()")
        return int(cursor.fetchone()[0])


def metrics() -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "keeptrusts_grant_requests_pending",
        "Requests for permission grants that wait for a decision and have not lapsed.",
        value=requests_pending(),
    )
