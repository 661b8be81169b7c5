"""How the signer fares, over all organizations: for `/metrics` and `/readyz`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from django.db import connection
from prometheus_client import Metric
from prometheus_client.metrics_core import GaugeMetricFamily

# Twice what the signer may be behind.
AWAY_AFTER_SECONDS = 20

_FIGURES = """
SELECT pending, refused, extract(epoch FROM clock_timestamp() - oldest_pending)::float8
  FROM kt_log_figures()
"""


class Figures(NamedTuple):
    """What waits (counted up to 100,000), in how many logs nothing is signed, and for how many
    seconds the oldest has waited."""

    pending: int
    refused: int
    oldest_seconds: float


def figures() -> Figures:
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES)
        pending, refused, oldest = cursor.fetchone()
    return Figures(pending, refused, max(0.0, oldest or 0.0))


def metrics() -> Iterator[Metric]:
    found = figures()
    for name, meaning, value in (
        ("pending", "Records that wait to be anchored, counted up to 100,000.", found.pending),
        ("oldest_pending_seconds", "How long the oldest of them has waited.", found.oldest_seconds),
        (
            "refused",
            "Organizations whose log is not signed: rolled back, damaged, or failing. Must read 0.",
            found.refused,
        ),
    ):
        yield GaugeMetricFamily(f"keeptrusts_log_{name}", meaning, value=value)


def signer_is_away() -> str | None:
    """For `/readyz`: a server can do its work without, but somebody should look."""
    found = figures()
    if found.refused:
        return f"The logs of {found.refused} organizations are not signed: see the signer's log."
    if found.oldest_seconds > AWAY_AFTER_SECONDS:
        return f"The signer is {found.oldest_seconds:.0f} s behind."
    return None
