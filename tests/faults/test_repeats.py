"""Requests that arrive twice, at once, or long after their time end as if sent once."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from keeptrusts_runners import ids
from profiles.models import RunnerProfile
from tests import factories
from tests.live import LiveAnswer, LiveApi
from tests.people import Org, token_of
from tests.sessions import records

AT_ONCE = 5
VOLATILE = {"session_token", "expires_at"}


@dataclass(frozen=True)
class Ask:
    """A request as a client sends it, over and over: `who` sends it, and `{id}` is the session."""

    name: str
    who: str
    method: str
    place: str
    body: Any = None
    keyed: bool = False


CLAIM = Ask("claim", "runner", "POST", "{id}/claim", {"claim_id": "{run}"})
HEARTBEAT = Ask("heartbeat", "code", "POST", "{id}/heartbeat", {})
EVENTS = Ask(
    "events", "code", "POST", "{id}/events",
    {"events": [{"kind": "log", "message": str(n), "client_id": str(n)} for n in range(5)]},
)  # fmt: skip
CHECKPOINT = Ask("checkpoint", "code", "POST", "{id}/checkpoint", {"data": {"n": 1}}, keyed=True)
GRANT = Ask(
    "grant", "operator", "POST", "{id}/permissions",
    {"operation": "network.egress", "reason": "to fetch", "ttl_seconds": 600}, keyed=True,
)  # fmt: skip
PROGRESS = Ask("progress", "code", "PATCH", "{id}", {"progress": {"current": 1, "total": 2}})
PAUSE = Ask("pause", "operator", "POST", "{id}/pause", {"reason": "to look"})
CANCEL = Ask("cancel", "operator", "POST", "{id}/cancel", {"reason": "enough"})
PAUSED = Ask("paused", "code", "PATCH", "{id}", {"state": "paused"})
CANCELLED = Ask("cancelled", "code", "PATCH", "{id}", {"state": "cancelled"})
COMPLETE = Ask("complete", "code", "PATCH", "{id}", {"state": "completed", "result": {"n": 1}})
FAIL = Ask("fail", "code", "PATCH", "{id}", {"state": "failed", "error": {"code": "no-luck"}})

WORK = (CLAIM, HEARTBEAT, EVENTS, CHECKPOINT, GRANT, PROGRESS)
SCRIPTS = {
    "completed": (*WORK, COMPLETE),
    "failed": (*WORK, FAIL),
    "paused": (*WORK, PAUSE, HEARTBEAT, PAUSED),
    "cancelled": (*WORK, CANCEL, HEARTBEAT, CANCELLED),
}


@dataclass
class Run:
    """One session on its way through a script, and what was answered to each request."""

    url: str
    org: Org
    profile: RunnerProfile
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    token: str | None = None

    def dispatch(self, times: int = 1) -> None:
        body = {"profile_id": ids.encode("prof", self.profile.id), "task_id": "repeated"}
        made = [
            self._send("operator", "POST", "/runners/sessions", body, keyed="dispatch")
            for _ in range(times)
        ]
        assert len({answer.json()["id"] for answer in made}) == 1
        self.id = made[0].json()["id"]

    def ask(self, ask: Ask) -> LiveAnswer:
        place = f"/runners/sessions/{ask.place}".format(id=self.id)
        body = {"claim_id": self.name} if ask is CLAIM else ask.body
        answer = self._send(ask.who, ask.method, place, body, ask.name if ask.keyed else None)
        if ask is CLAIM and answer.status_code == 200:
            self.token = self.token or answer.json()["session_token"]
        return answer

    def _send(
        self, who: str, method: str, place: str, body: Any, keyed: str | None = None
    ) -> LiveAnswer:
        """Until it is no longer in flight elsewhere."""
        people = {"operator": self.org.operator, "runner": self.org.runner}
        token = token_of(people[who].principal) if who in people else self.token
        key = {"Idempotency_Key": f"{self.name}-{keyed}"} if keyed else {}
        while True:
            answer = LiveApi(self.url, token).request(method, place, body, **key)
            if not (answer.status_code == 409 and "Retry-After" in answer.headers):
                return answer

    def end(self) -> dict[str, Any]:
        """What is left of it in the end, but for ids and times."""
        with self.org.scope():
            session = self.profile.sessions.get(id=ids.decode("sess", self.id))
        records.assert_sound(self.org, session)
        events = records.events(self.org, session)
        return {
            "state": session.state,
            "epoch": session.lease_epoch,
            "checkpoints": session.checkpoints_recorded,
            "records": [(e.kind, e.client_id, e.lease_epoch) for e in events],
        }


def told(answer: LiveAnswer) -> Any:
    """An answer but for what may differ in a repeat: how far the lease reaches by now."""

    def stable(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: stable(v) for k, v in value.items() if k not in VOLATILE}
        return [stable(each) for each in value] if isinstance(value, list) else value

    return answer.status_code, stable(answer.json())


@pytest.fixture(scope="module")
def org() -> Org:
    org = Org()
    assert org.operator.principal.id
    assert org.runner.principal.id
    return org


@pytest.fixture(scope="module")
def profile(org: Org) -> RunnerProfile:
    return factories.profile(org)


@pytest.fixture(params=SCRIPTS.values(), ids=SCRIPTS)
def script(request: pytest.FixtureRequest) -> tuple[Ask, ...]:
    return tuple(request.param)


@pytest.fixture
def start(live_url: str, org: Org, profile: RunnerProfile) -> Callable[[], Run]:
    return lambda: Run(live_url, org, profile)


def once(start: Callable[[], Run], script: Iterable[Ask]) -> tuple[dict[str, Any], list[int]]:
    run = start()
    run.dispatch()
    statuses = [run.ask(ask).status_code for ask in script]
    return run.end(), statuses


@pytest.mark.proves("repeat.same", "crash.retry-once")
def test_each_twice_is_answered_twice_and_done_once(
    start: Callable[[], Run], script: tuple[Ask, ...]
) -> None:
    run = start()
    run.dispatch(times=2)
    statuses = []
    for ask in script:
        first, again = run.ask(ask), run.ask(ask)
        assert _same(ask, told(again), told(first)), ask
        statuses.append(first.status_code)
    assert (run.end(), statuses) == once(start, script)


def _same(ask: Ask, again: Any, first: Any) -> bool:
    if ask is EVENTS:
        # It says itself what it is: a repeat of so many.
        return bool(again[1]["duplicates"] == first[1]["accepted"] and again[0] == first[0])
    return bool(again == first)


@pytest.mark.proves("repeat.same", "crash.retry-once")
def test_five_at_once_are_done_once(start: Callable[[], Run], script: tuple[Ask, ...]) -> None:
    run = start()
    run.dispatch()
    statuses = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for ask in script:
            answers = list(pool.map(run.ask, [ask] * AT_ONCE))
            (status,) = {answer.status_code for answer in answers}
            statuses.append(status)
    assert (run.end(), statuses) == once(start, script)


@pytest.mark.proves("repeat.same", "fence.every-write", "life.final")
def test_what_arrives_again_long_after_its_time_changes_nothing(
    start: Callable[[], Run], script: tuple[Ask, ...]
) -> None:
    """After each request some of those before it come again, in any order."""
    dice, run = Random(), start()
    run.dispatch()
    statuses = []
    for number, ask in enumerate(script, 1):
        statuses.append(run.ask(ask).status_code)
        earlier = list(script[:number])
        for late in dice.sample(earlier, dice.randint(0, number)):
            answer = run.ask(late)
            assert answer.status_code < 500, answer.content
    for late in dice.sample(script, len(script)):
        run.ask(late)
    assert (run.end(), statuses) == once(start, script)
