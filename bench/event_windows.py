"""Reading and adding to a short ledger and to a very long one: it has to cost the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.figures import Benchmark, Figure, Size, Target, figure
from bench.http import Http
from bench.ingest import events
from bench.load import Operation, Side, interleave
from keeptrusts_runners import ids

if TYPE_CHECKING:
    from bench.stage import Stage
    from sessions.models import RunnerSession

SESSIONS = "/v1/runners/sessions"
BATCH = 100
# Reads by what they are called; `{deep}` is a number far into the ledger.
READS = {
    "a window": "events?limit=200&after_seq={deep}",
    "the last window": "events?limit=200&before_seq=9007199254740991",
    "errors from a number on": "events?level=error,critical&limit=5&after_seq={deep}",
    "a search that finds nothing": "events?q=nowhere&after_seq={deep}",
    "facets": "events/facets",
    "the histogram": "events/histogram",
}
_SAME = Target(most=1.2)


def read(given: Mapping[str, Any], number: int) -> Operation:
    http = Http(given["url"], given["token"])

    def operation() -> None:
        http.get(given["path"])

    return operation


def add(given: Mapping[str, Any], number: int) -> Operation:
    http, body = Http(given["url"], given["token"]), {"events": events(BATCH)}

    def operation() -> None:
        http.post(given["path"], body)

    return operation


def measure(stage: Stage, size: Size) -> list[Figure]:
    few, many = _session(stage, "Few", size.few_events), _session(stage, "Many", size.many_events)
    sides = [
        side
        for length, (url, reading, writing, deep) in (("few", few), ("many", many))
        for side in _sides(length, url, reading, writing, deep, stage)
    ]
    turns = interleave(1, sides, size.rounds, size.seconds / 2)
    medians = {name: [1000 * turn.median for turn in of] for name, of in turns.items()}
    against = f"at {size.few_events:,} events"
    return [
        figure(
            f"{name}, {size.many_events:,} events", "ms", medians[f"many {name}"],
            medians[f"few {name}"], against, _SAME,
        )
        for name in [*READS, f"a batch of {BATCH}"]
    ]  # fmt: skip


def _session(stage: Stage, name: str, number: int) -> tuple[str, str, str, int]:
    """A running session with so many events: its address, who reads it, its own token, and the
    number of a record far inside."""
    from bench.stage import Organization
    from grants.reading import LOOKED_AT
    from keeptrusts_runners import clock
    from keeptrusts_runners.identity.tenancy import organization_scope
    from keeptrusts_runners.seeding import seeder
    from sessions.models import RunnerSession

    organization = Organization(name)
    seeder.seed(
        organization.id, sessions=1, events=number, seed=1, now=clock.now(), course="running"
    )
    stage.settle()
    with organization_scope(organization.id):
        session = RunnerSession.objects.get(organization_id=organization.id)
    address = f"{SESSIONS}/{ids.encode('sess', session.id)}"
    # As much is behind it as one request looks at, so that both do the same.
    deep = max(0, (number - LOOKED_AT) // 2)
    return address, organization.dispatcher.token, _token(session), deep


def _token(session: RunnerSession) -> str:
    """What the executing code would hold."""
    from keeptrusts_runners.identity import tokens
    from keeptrusts_runners.identity.principal import Principal, PrincipalKind

    holder = Principal(
        PrincipalKind.SERVICE_ACCOUNT, None, session.organization_id, frozenset(),
        account=session.lease_account,
    )  # fmt: skip
    return tokens.issue_session(session.id, holder, session.lease_epoch, 3600)


def _sides(
    length: str, address: str, reading: str, writing: str, deep: int, stage: Stage
) -> list[Side]:
    reads = [
        Side(
            f"{length} {name}", read,
            {"url": stage.url, "token": reading, "path": f"{address}/{path.format(deep=deep)}"},
        )
        for name, path in READS.items()
    ]  # fmt: skip
    given = {"url": stage.url, "token": writing, "path": f"{address}/events"}
    return [*reads, Side(f"{length} a batch of {BATCH}", add, given)]


BENCHMARK = Benchmark(
    "event_windows", "A short ledger and a very long one, read and added to.", measure
)
