"""Events through the API, one and in batches, beside the same rows put plainly into a table.

The plain table has what a client says of an event, the indexes of the ledger, and nothing else: no
chain, no lock, no organization, no account. It is what storing the rows alone would cost.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import psycopg

from bench.figures import Benchmark, Figure, Size, Target, figure
from bench.http import Http
from bench.load import Operation, Side, interleave
from bench.reference import Reference
from keeptrusts_runners import ids

if TYPE_CHECKING:
    from bench.stage import Organization, Stage

SESSIONS = "/v1/runners/sessions"
RUNNING = 16
BATCHES = (1, 100, 500)
PLAIN = 500

_TABLE = """
CREATE TABLE bench_event (
  session_id uuid NOT NULL, seq bigint GENERATED ALWAYS AS IDENTITY, id uuid NOT NULL DEFAULT
  kt_uuid7(), kind text NOT NULL, level text NOT NULL, step text, message text, data jsonb,
  client_seq bigint, client_id text, lease_epoch bigint NOT NULL DEFAULT 1,
  recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (session_id, seq));
CREATE UNIQUE INDEX ON bench_event (session_id, id);
CREATE UNIQUE INDEX ON bench_event (session_id, client_id) WHERE client_id IS NOT NULL;
CREATE INDEX ON bench_event (session_id, kind, seq);
CREATE INDEX ON bench_event (session_id, lease_epoch, client_seq) WHERE client_seq IS NOT NULL;
CREATE INDEX ON bench_event (session_id, level, seq)
  WHERE level IN ('warning', 'error', 'critical');
GRANT SELECT, INSERT ON bench_event TO keeptrusts_app;
"""
_BY_JSON = """
INSERT INTO bench_event (session_id, kind, level, step, message, data, client_seq)
SELECT %s, e.* FROM jsonb_to_recordset(%s::jsonb)
    AS e (kind text, level text, step text, message text, data jsonb, client_seq bigint)
"""
_BY_UNNEST = """
INSERT INTO bench_event (session_id, kind, level, step, message, data, client_seq)
SELECT %b, kind, level, step, message, data::jsonb, client_seq
  FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bigint[])
    AS e (kind, level, step, message, data, client_seq)
"""
_BY_COPY = """
COPY bench_event (session_id, kind, level, step, message, data, client_seq) FROM STDIN
"""
_COLUMNS = ("kind", "level", "step", "message", "data", "client_seq")


def events(number: int) -> list[dict[str, Any]]:
    """What a runner says: a line of a log, and what it is about."""
    return [
        {
            "kind": "log",
            "level": "info",
            "step": "collect",
            "message": f"Read {count} rows from ledger_{count % 7}.csv in {count % 40} ms",
            "data": {"rows": count, "file": f"in/ledger_{count % 7}.csv"},
            "client_seq": count + 1,
        }
        for count in range(number)
    ]


# --- the product -----------------------------------------------------------------------------


def product(given: Mapping[str, Any], number: int) -> Operation:
    http, batch = Http(given["url"]), events(given["batch"])
    in_turn = itertools.cycle(given["running"][number :: given["processes"]])
    body = batch[0] if len(batch) == 1 else {"events": batch}

    def operation() -> None:
        session, token = next(in_turn)
        http.post(f"{SESSIONS}/{session}/events", body, token)

    return operation


def reference(given: Mapping[str, Any], number: int) -> Operation:
    """One event, statement by statement the product's work."""
    own = Reference(given)
    mine = given["running"][number :: given["processes"]]
    in_turn = itertools.cycle([ids.decode("sess", session) for session, _ in mine])

    def operation() -> None:
        own.begin()
        own.event(next(in_turn), 1)
        own.commit()

    return operation


# --- plainly ---------------------------------------------------------------------------------


def by_json(given: Mapping[str, Any], number: int) -> Operation:
    connection, batch, session = psycopg.connect(given["database"]), events(PLAIN), ids.new()

    def operation() -> None:
        connection.execute(_BY_JSON, [session, json.dumps(batch)])
        connection.commit()

    return operation


def by_unnest(given: Mapping[str, Any], number: int) -> Operation:
    connection, batch, session = psycopg.connect(given["database"]), events(PLAIN), ids.new()

    def operation() -> None:
        columns = [list(column) for column in zip(*map(_row, batch), strict=True)]
        connection.execute(_BY_UNNEST, [session, *columns])
        connection.commit()

    return operation


def by_copy(given: Mapping[str, Any], number: int) -> Operation:
    connection, batch, session = psycopg.connect(given["database"]), events(PLAIN), ids.new()

    def operation() -> None:
        with connection.cursor() as cursor, cursor.copy(_BY_COPY) as copy:
            for event in batch:
                copy.write_row((session, *_row(event)))
        connection.commit()

    return operation


def _row(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(json.dumps(event[name]) if name == "data" else event[name] for name in _COLUMNS)


# --- the measurement -------------------------------------------------------------------------


def measure(stage: Stage, size: Size) -> list[Figure]:
    from django.db import connections

    from bench.stage import Organization

    with connections["migrate"].cursor() as cursor:
        cursor.execute(_TABLE)
    organization = Organization("Events")
    running = start(stage, organization, RUNNING)
    stage.settle()
    return [
        each
        for clients in (1, size.connections)
        for each in _with(stage, organization, running, clients, size)
    ]


def _with(
    stage: Stage,
    organization: Organization,
    running: list[tuple[str, str]],
    clients: int,
    size: Size,
) -> list[Figure]:
    given = {"running": running, "processes": clients}
    plain = {"database": stage.database}
    sides = [
        Side(f"product {batch}", product, given | {"url": stage.url, "batch": batch})
        for batch in BATCHES
    ] + [
        Side("R", reference, given | stage.reference(organization.runner)),
        Side("jsonb", by_json, plain),
        Side("unnest", by_unnest, plain),
        Side("COPY", by_copy, plain),
    ]
    turns = interleave(clients, sides, size.rounds, size.seconds)
    rates = {name: [turn.rate * _rows(name) for turn in of_side] for name, of_side in turns.items()}
    said = "1 client" if clients == 1 else f"{clients} clients"
    whole = rates["product 500"]
    return [
        figure(
            f"single events, {said}", "1/s", rates["product 1"], rates["R"],
            target=Target(least=0.15),
        ),
        figure(
            f"events in batches of 100, {said}", "1/s", rates["product 100"], rates["jsonb"],
            "jsonb",
        ),
        figure(
            f"events in batches of 500, {said}", "1/s", whole, rates["jsonb"], "jsonb",
            target=Target(least=0.5),
        ),
        figure(f"… beside unnest, {said}", "1/s", whole, rates["unnest"], "unnest"),
        figure(f"… beside COPY, {said}", "1/s", whole, rates["COPY"], "COPY"),
    ]  # fmt: skip


def _rows(side: str) -> int:
    """How many events one operation of the side stores."""
    if side.startswith("product "):
        return int(side.removeprefix("product "))
    return 1 if side == "R" else PLAIN


def start(stage: Stage, organization: Organization, number: int) -> list[tuple[str, str]]:
    """So many sessions that run, each with its token."""
    organization.pend(organization.profile(), number)
    http = Http(stage.url, organization.runner.token)
    running: list[tuple[str, str]] = []
    while len(running) < number:
        claimed = http.post(f"{SESSIONS}/claim", {"max": 50})["items"]
        running += [(item["id"], item["session_token"]) for item in claimed]
    for session, token in running:
        http.post(f"{SESSIONS}/{session}/heartbeat", {}, token)
    return running


BENCHMARK = Benchmark("ingest", "Events recorded, one by one and in batches.", measure)
