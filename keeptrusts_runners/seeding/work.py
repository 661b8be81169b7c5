"""What a runner says while it works: steps, logs, figures, and now and then a warning."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random

from grants.ledger import Record
from keeptrusts_runners.identity.principal import Principal

TASKS = ("collect", "rebuild-index", "reconcile", "publish", "import", "compare", "archive")
TEAMS = ("payments", "claims", "platform", "research")
STEPS = ("prepare", "fetch", "check", "transform", "upload")
FAILURES = (
    ("source_unavailable", "The source answered 503 three times."),
    ("validation_failed", "17 of 1,284 rows have no account."),
    ("out_of_memory", "The process was killed at 2 GiB."),
    ("tool_error", "The tool ended with status 2."),
)
_LOGS = (
    "Read {n} rows from ledger_{m}.csv",
    "GET https://files.example/batch/{n} 200 in {m} ms",
    "Compared {n} records, {m} differ",
    "Wrote part {n} of the archive",
    "Waiting for the lock on table accounts_{m}",
    "Prüfsumme {n} stimmt überein",
)
_WARNINGS = ("Slow answer: {n} ms", "Row {n} has no currency, EUR assumed", "Retry {m} of part {n}")
_MILLISECOND = timedelta(milliseconds=1)


def said(
    rng: Random, by: Principal, number: int, start: datetime, end: datetime, numbered: bool
) -> Iterator[tuple[Record, datetime]]:
    """So many events of one attempt with the instants they were recorded at, in order."""
    actor, epoch, between = by.actor, by.lease_epoch or 0, end - start
    for count in range(number):
        at = start + between * ((count + rng.random()) / number)
        record = _one(rng, count, number)
        record.actor, record.lease_epoch = actor, epoch
        record.occurred_at = at - _MILLISECOND * int(rng.random() * 400)
        if numbered:
            record.client_seq = count + 1
        yield record, at


def _one(rng: Random, count: int, number: int) -> Record:
    step = STEPS[count * len(STEPS) // number]
    chance, n, m = rng.random(), int(rng.random() * 5000), int(rng.random() * 40)
    if count * len(STEPS) % number < len(STEPS):
        return Record("step.started", "", 0, "info", step, f"{step} begins", source="client")
    if chance < 0.72:
        text = _LOGS[count % len(_LOGS)].format(n=n, m=m)
        level = "debug" if chance < 0.2 else "info"
        return Record("log", "", 0, level, step, text, source="client")
    if chance < 0.86:
        data = {"name": "rows_per_second", "value": n, "unit": "1/s"}
        return Record("metric", "", 0, "info", step, None, data, source="client")
    if chance < 0.95:
        data = {"current": count, "total": number}
        return Record("progress", "", 0, "info", step, None, data, source="client")
    if chance < 0.99:
        text = _WARNINGS[count % len(_WARNINGS)].format(n=n, m=m)
        return Record("warning", "", 0, "warning", step, text, source="client")
    data = {"tool": "read_file", "arguments": {"path": f"in/{n}.csv"}, "status": m}
    level = "error" if m < 4 else "info"
    return Record("x.tool.call", "", 0, level, step, "read_file", data, source="client")
