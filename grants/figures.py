"""How many decisions are asked of people, how much is stored and how it fares, over all
organizations, for `/metrics`."""

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


def storage() -> tuple[int, int, int]:
    """Artifacts with content, the bytes that they hold, and blobs that nobody names."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM kt_storage_figures()")
        artifacts, size, unnamed = cursor.fetchone()
    return int(artifacts), int(size), int(unnamed)


def artifact_integrity() -> tuple[int, int, float]:
    """How many artifacts are broken and missing, and for how many seconds the one whose bytes were
    read back the longest ago has been waiting for it. Served by the two partial indexes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM kt_artifact_integrity()")
        broken, missing, oldest = cursor.fetchone()
        return int(broken), int(missing), float(oldest)


def metrics() -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "keeptrusts_grant_requests_pending",
        "Requests for permission grants that wait for a decision and have not lapsed.",
        value=requests_pending(),
    )
    artifacts, size, unnamed = storage()
    yield GaugeMetricFamily(
        "keeptrusts_artifacts_stored", "Artifacts whose content is kept.", value=artifacts
    )
    yield GaugeMetricFamily(
        "keeptrusts_artifact_bytes", "Bytes that the stores of artifacts hold.", value=size
    )
    yield GaugeMetricFamily(
        "keeptrusts_artifact_blobs_unnamed",
        "Blobs that no artifact names: being received, or to be collected.",
        value=unnamed,
    )
    broken, missing, oldest = artifact_integrity()
    damaged = GaugeMetricFamily(
        "keeptrusts_artifacts_damaged",
        "Artifacts whose stored bytes were found to be others, or gone.",
        labels=["finding"],
    )
    damaged.add_metric(["broken"], broken)
    damaged.add_metric(["missing"], missing)
    yield damaged
    yield GaugeMetricFamily(
        "keeptrusts_artifact_oldest_check_seconds",
        "For how long the bytes of some artifact have not been read back: the longest such time.",
        value=oldest,
    )
