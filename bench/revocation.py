"""How soon a revoked grant is dead for those who ask about it, while others ask all the time.

One grant after the other is revoked and asked about at once: the time counts from before the
revocation is sent until the answer that the grant is not active has come. What is measured includes
both requests whole; in between nobody may be told that the grant is active, or the run fails.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.figures import Benchmark, Figure, Size, Target, figure
from bench.http import Http
from bench.load import Operation, Side, Team, interleave
from keeptrusts_runners.identity.scopes import Role

if TYPE_CHECKING:
    from bench.stage import Machine, Organization, Stage

SESSIONS = "/v1/runners/sessions"
INTROSPECT = "/v1/runners/permissions/introspect"
REVOKE = "/v1/runners/permissions/revoke"
REVOKED, KEPT = "network.egress:packages.example:443", "network.egress:mirror.example:443"
RULE = {"operation": "network.egress:*", "auto": True}
# As many as one call revokes.
RUNNING = 100
# Between two questions of one enforcement point that is busy, and not all there is to the server.
PAUSE_SECONDS = 0.03
SOON = Target(most=100, of_ratio=False)


def ask(given: Mapping[str, Any], number: int) -> Operation:
    http, body = Http(given["url"], given["token"]), {"grant_id": given["grants"][number]}
    pause = given.get("pause", 0)

    def operation() -> None:
        time.sleep(pause)
        if not http.post(INTROSPECT, body)["active"]:
            raise AssertionError("a grant that nobody has ended is not active")

    return operation


def who_am_i(given: Mapping[str, Any], number: int) -> Operation:
    """A route that does nothing but know its bearer."""
    http = Http(given["url"], given["token"])

    def operation() -> None:
        http.get("/v1/auth/whoami")

    return operation


class Holders:
    """Sessions that run under a policy which grants by itself."""

    def __init__(self, stage: Stage, organization: Organization, number: int) -> None:
        self._http = Http(stage.url, organization.runner.token)
        organization.pend(organization.profile(grant_policy=[RULE]), number)
        self._tokens: dict[str, str] = {}
        while len(self._tokens) < number:
            claimed = self._http.post(f"{SESSIONS}/claim", {"max": 50})["items"]
            self._tokens |= {item["id"]: item["session_token"] for item in claimed}
        for session, token in self._tokens.items():
            self._http.post(f"{SESSIONS}/{session}/heartbeat", {}, token)

    def grants(self, operation: str = REVOKED) -> list[tuple[str, str]]:
        """A new grant of each: its own address, and its id."""
        wanted = {"operation": operation, "reason": "bench", "ttl_seconds": 600}
        made = []
        for session, token in self._tokens.items():
            place = f"{SESSIONS}/{session}/permissions"
            grant = self._http.post(place, wanted, token)["id"]
            made.append((f"{place}/{grant}", grant))
        return made


def measure(stage: Stage, size: Size) -> list[Figure]:
    from bench.stage import Organization

    organization = Organization("Revocations")
    operator = organization.person(Role.OPERATOR)
    holders = Holders(stage, organization, min(RUNNING, size.few // 10))
    asking = stage.product(organization.dispatcher) | {
        "grants": [grant for _, grant in holders.grants(KEPT)]
    }
    sides = [Side("introspection", ask, asking), Side("whoami", who_am_i, asking)]
    turns = interleave(1, sides, size.rounds, size.seconds)
    alone = {name: [1000 * turn.median for turn in of] for name, of in turns.items()}
    others = size.connections - 1
    with _load(others, Side("busy", ask, asking | {"pause": PAUSE_SECONDS})):
        busy = [_one_by_one(stage, operator, holders) for _ in range(size.rounds)]
    with _load(others, sides[0]):
        flooded = [_one_by_one(stage, operator, holders) for _ in range(size.rounds)]
    many = [_all_at_once(stage, operator, holders) for _ in range(size.rounds)]
    return [
        figure("one introspection", "ms", alone["introspection"], alone["whoami"], "whoami"),
        figure("from a revocation to the answer that says so", "ms", _medians(busy)),
        figure("the same, 99th percentile", "ms", _slowest(busy), target=SOON),
        figure(f"while {others} ask without pause", "ms", _medians(flooded)),
        figure("the same, 99th percentile", "ms", _slowest(flooded)),
        figure(f"revoking {len(asking['grants'])} at once", "ms", many),
    ]


@contextmanager
def _load(processes: int, side: Side) -> Iterator[None]:
    """Others ask all the time, until the block is left."""
    over = threading.Event()
    failed: list[Exception] = []

    def ask_on(team: Team) -> None:
        try:
            while not over.is_set():
                team.turn(side.name, 0.5)
        except Exception as error:  # told when the block is left
            failed.append(error)

    with Team(processes, [side]) as team:
        asking = threading.Thread(target=ask_on, args=(team,))
        asking.start()
        try:
            yield
        finally:
            over.set()
            asking.join()
    if failed:
        raise failed[0]


def _one_by_one(stage: Stage, operator: Machine, holders: Holders) -> list[float]:
    """Seconds for each grant."""
    by, point = (Http(stage.url, operator.token) for _ in range(2))
    took = []
    for place, grant in holders.grants():
        began = time.perf_counter()
        by.delete(place)
        answer = point.post(INTROSPECT, {"grant_id": grant})
        took.append(time.perf_counter() - began)
        assert answer == {"active": False}, answer
    return took


def _all_at_once(stage: Stage, operator: Machine, holders: Holders) -> float:
    """Milliseconds of the one call; whoever asks after it is told."""
    by, made = Http(stage.url, operator.token), holders.grants()
    began = time.perf_counter()
    by.post(REVOKE, {"operation": REVOKED, "reason": "bench"})
    took = time.perf_counter() - began
    answers = [by.post(INTROSPECT, {"grant_id": grant}) for _, grant in made]
    assert answers == [{"active": False}] * len(made)
    return 1000 * took


def _medians(rounds: list[list[float]]) -> list[float]:
    return [1000 * statistics.median(each) for each in rounds]


def _slowest(rounds: list[list[float]]) -> list[float]:
    return [1000 * statistics.quantiles(each, n=100)[98] for each in rounds]


BENCHMARK = Benchmark(
    "revocation", "Grants that are revoked, and asked about at once while others ask.", measure
)
