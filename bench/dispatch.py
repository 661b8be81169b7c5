"""Dispatch: a new pending session, its ledger begun, for a profile with a published harness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier, Placeholder
from psycopg.types.json import Jsonb

from bench.figures import Benchmark, Figure, Size, Target, figure
from bench.http import Http
from bench.load import Operation, Side, interleave
from bench.reference import Reference
from keeptrusts_runners import ids
from keeptrusts_runners.evidence import chain

if TYPE_CHECKING:
    from bench.stage import Stage

PATH = "/v1/runners/sessions"
_PROFILE = "SELECT * FROM runner_profile WHERE organization_id = %s AND id = %s"
_HARNESS = """
SELECT * FROM runner_harness WHERE organization_id = %s AND profile_id = %s AND status = 'active'
 ORDER BY id DESC LIMIT 1
"""
_OPEN_HEAD = """
INSERT INTO runner_ledger_head (session_id, organization_id, seq, hash, events, warnings, errors)
VALUES (%s, %s, 0, %s, 0, 0, 0)
"""


def product(given: Mapping[str, Any], number: int) -> Operation:
    http = Http(given["url"], given["token"])
    body = {"profile_id": given["profile"], "task_id": "bench", "input": {"number": number}}

    def operation() -> None:
        http.post(PATH, body)

    return operation


def reference(given: Mapping[str, Any], number: int) -> Operation:
    """Inserts what a dispatched session is like, column by column."""
    own = Reference(given)
    own.begin()
    with own.connection.cursor(row_factory=dict_row) as cursor:
        like = cursor.execute("SELECT * FROM runner_session WHERE id = %s", [given["like"]])
        row = like.fetchone() or {}
    own.commit()
    values = {name: _adapted(row[name]) for name in given["columns"]}
    insert = SQL("INSERT INTO runner_session ({}) VALUES ({}) RETURNING id").format(
        SQL(", ").join(map(Identifier, values)), SQL(", ").join(map(Placeholder, values))
    )
    statement = insert.as_string(own.connection)

    def operation() -> None:
        own.begin()
        own.one(_PROFILE, [own.organization, row["profile_id"]])
        own.one(_HARNESS, [own.organization, row["profile_id"]])
        now = own.now()
        values.update(created_at=now, updated_at=now)
        session = own.one(statement, values)[0]
        own.execute(_OPEN_HEAD, [session, own.organization, chain.GENESIS])
        own.transition(session, 0, "dispatch", "", "pending", ["state.pending"])
        own.commit()

    return operation


def _adapted(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict | list) else value


def measure(stage: Stage, size: Size) -> list[Figure]:
    from bench.stage import Organization, columns
    from sessions.models import RunnerSession

    organization = Organization("Dispatch")
    profile = organization.profile()
    organization.publish(profile)
    like = organization.pend(profile, size.few)
    stage.settle()
    machine = organization.dispatcher
    given = stage.product(machine) | {"profile": ids.encode("prof", profile.id)}
    by_psycopg = stage.reference(machine) | {"like": like, "columns": columns(RunnerSession)}
    both = [Side("product", product, given), Side("reference", reference, by_psycopg)]
    turns = interleave(size.connections, both, size.rounds, size.seconds)
    ours = turns["product"]
    rates, limits = [turn.rate for turn in ours], [turn.rate for turn in turns["reference"]]
    return [
        figure("dispatches", "1/s", rates, limits, target=Target(least=0.20)),
        figure("one dispatch", "ms", [1000 * turn.median for turn in ours]),
    ]


BENCHMARK = Benchmark("dispatch", "New sessions through the API.", measure)
