"""Heartbeats of running sessions, by their session tokens; and whether they stay HOT updates."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bench.figures import Benchmark, Figure, Size, Target, figure
from bench.http import Http
from bench.ingest import start
from bench.load import Operation, Side, interleave
from bench.reference import Reference
from keeptrusts_runners import ids

if TYPE_CHECKING:
    from bench.stage import Stage

SESSIONS = "/v1/runners/sessions"
RUNNING = 100
LEASE = timedelta(minutes=15)
# How late a backend of PostgreSQL may report what it did, and a bit more.
REPORTED_WITHIN_SECONDS = 15

_LOCK = "SELECT * FROM runner_session WHERE id = %s FOR NO KEY UPDATE"
_EXTEND = "UPDATE runner_session SET heartbeat_at = %s, lease_expires_at = %s WHERE id = %s"


def product(given: Mapping[str, Any], number: int) -> Operation:
    http = Http(given["url"])
    in_turn = itertools.cycle(given["running"][number :: given["processes"]])

    def operation() -> None:
        session, token = next(in_turn)
        http.post(f"{SESSIONS}/{session}/heartbeat", {}, token)

    return operation


def reference(given: Mapping[str, Any], number: int) -> Operation:
    own = Reference(given)
    mine = given["running"][number :: given["processes"]]
    in_turn = itertools.cycle([ids.decode("sess", session) for session, _ in mine])

    def operation() -> None:
        session = next(in_turn)
        own.begin()
        own.one(_LOCK, [session])
        now = own.now()
        own.execute(_EXTEND, [now, now + LEASE, session])
        own.commit()

    return operation


def measure(stage: Stage, size: Size) -> list[Figure]:
    from bench.stage import Organization

    organization = Organization("Heartbeats")
    running = start(stage, organization, RUNNING)
    before = stage.updates()
    given = {"running": running, "processes": size.connections}
    turns = interleave(
        size.connections,
        [
            Side("product", product, given | {"url": stage.url}),
            Side("reference", reference, given | stage.reference(organization.runner)),
        ],
        size.rounds,
        size.seconds,
    )
    ours, theirs = turns["product"], turns["reference"]
    hot = _hot(stage, before, sum(turn.done for turn in (*ours, *theirs)))
    rates, limits = [turn.rate for turn in ours], [turn.rate for turn in theirs]
    return [
        figure("heartbeats", "1/s", rates, limits, target=Target(least=0.30)),
        figure("one heartbeat", "ms", [1000 * turn.median for turn in ours]),
        figure("updates that are HOT", "%", [hot], target=Target(least=99, of_ratio=False)),
    ]


def _hot(stage: Stage, before: tuple[int, int], made: int) -> float:
    """The share of HOT updates in per cent, once PostgreSQL has counted all that were made."""
    ends = time.monotonic() + REPORTED_WITHIN_SECONDS
    while True:
        updates, hot = (now - then for now, then in zip(stage.updates(), before, strict=True))
        if updates >= made or time.monotonic() > ends:
            return 100 * hot / updates
        time.sleep(0.5)


BENCHMARK = Benchmark("heartbeat", "Leases extended by their holders.", measure)
