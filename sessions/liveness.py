"""Liveness as figures: is anything stuck, and does the reaper look?

`keeptrusts_sessions_overdue` must read 0. What a brake holds back on purpose is a figure of its
own. All is read by kt_session_figures, which tells the application sums over all organizations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from django.db import connection
from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from sessions import reaper

# Two passes, and what the loop's other duties may take meanwhile.
OVERDUE_AFTER_SECONDS = 2 * reaper.EVERY_SECONDS + 3
# Without a pass for so long the maintenance loop is said to be away.
AWAY_AFTER = timedelta(minutes=1)

_FIGURES = "SELECT figure, label, value FROM kt_session_figures(make_interval(secs => %s))"
_PULSE_AGE = "SELECT statement_timestamp() - pulse_at FROM runner_reaper_pulse"


class Family(NamedTuple):
    """How a figure is published: its metric, what it means, and the name of its label, if any."""

    name: str
    meaning: str
    label: str = ""
    kind: type[GaugeMetricFamily | CounterMetricFamily] = GaugeMetricFamily


FAMILIES = {
    "overdue": Family(
        "keeptrusts_sessions_overdue",
        "Open sessions whose lease or deadline has been over for more than two passes of the "
        "reaper, those held back by a brake aside. Must read 0.",
    ),
    "held_back": Family(
        "keeptrusts_sessions_held_back",
        "Open sessions whose lease or deadline is over and that a brake of the reaper holds back.",
    ),
    "sessions": Family("keeptrusts_sessions", "Open sessions.", "state"),
    "live_leases": Family("keeptrusts_leases_live", "Sessions that an executor holds."),
    "pulse_age": Family(
        "keeptrusts_reaper_pulse_age_seconds", "Time since the reaper last began a pass."
    ),
    "brake": Family("keeptrusts_reaper_brake", "1 while a brake is in force, by reason.", "reason"),
    "settled": Family(
        "keeptrusts_reaper_settled",
        "Sessions that passes of the reaper have settled, by the state they came to, and "
        "failed_to_settle.",
        "outcome",
        CounterMetricFamily,
    ),
}


def figures() -> dict[str, dict[str, float]]:
    """Every figure by its name and label, as they are now."""
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, [OVERDUE_AFTER_SECONDS])
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for figure, label, value in cursor.fetchall():
            found[figure][label] = value
    return found


def metrics() -> Iterator[Metric]:
    """The figures as Prometheus reads them."""
    found = figures()
    for figure, (name, meaning, label, kind) in FAMILIES.items():
        family = kind(name, meaning, labels=[label] if label else [])
        for value_of, value in found[figure].items():
            family.add_metric([value_of] if label else [], value)
        yield family


def loop_is_away() -> str | None:
    """For `/readyz`: says when nobody settles what is overdue. A server can do its work without."""
    with connection.cursor() as cursor:
        cursor.execute(_PULSE_AGE)
        (age,) = cursor.fetchone()
    if age <= AWAY_AFTER:
        return None
    return f"The maintenance loop has not looked for {age.total_seconds():.0f} s."
