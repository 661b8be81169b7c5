"""Whatever an executor asks, the answer says what its session is to become."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessions.models import DesiredState, RunnerSession
from tests import factories
from tests.factories import path, session_api
from tests.people import Api, Org
from tests.sessions import roads

Ask = Callable[[Api, RunnerSession, str], Any]
GRANT = {"operation": "network.egress", "reason": "to fetch", "ttl_seconds": 60}


def _artifact(api: Api, session: RunnerSession, grant: str) -> Any:
    place = f"{path(session, 'artifacts')}?name=log.txt&kind=log"
    return api.request("POST", place, raw=b"a line", **{"Content-Type": "text/plain"})


ASKS: dict[str, Ask] = {
    "heartbeat": lambda api, session, _: api.post(path(session, "heartbeat")),
    "checkpoint": lambda api, session, _: api.post(path(session, "checkpoint"), {"data": {}}),
    "event": lambda api, session, _: api.post(path(session, "events"), {"kind": "log"}),
    "events": lambda api, session, _: api.post(
        path(session, "events"), {"events": [{"kind": "log"}]}
    ),
    "artifact": _artifact,
    "progress": lambda api, session, _: api.patch(path(session), {"progress": {"current": 1}}),
    "grant request": lambda api, session, _: api.post(path(session, "permissions"), GRANT),
    "grant use": lambda api, session, grant: api.post(path(session, f"permissions/{grant}/use")),
    "reading": lambda api, session, _: api.get(path(session)),
}


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.mark.proves("fence.desired-state")
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
def test_every_answer_says_what_is_wished(org: Org, ask: Ask) -> None:
    session = factories.running(org)
    api = session_api(org, session)
    grant = org.operator.api.post(path(session, "permissions"), GRANT).json()["id"]
    assert ask(api, session, grant).json()["desired_state"] == DesiredState.RUNNING
    roads.pause(org, session)
    assert ask(api, session, grant).json()["desired_state"] == DesiredState.PAUSED


@pytest.mark.proves("fence.desired-state")
@pytest.mark.parametrize("ask", [a for n, a in ASKS.items() if n != "grant request"])
def test_and_that_it_is_to_be_cancelled(org: Org, ask: Ask) -> None:
    session = factories.running(org)
    grant = org.operator.api.post(path(session, "permissions"), GRANT).json()["id"]
    roads.cancel(org, session)
    answer = ask(session_api(org, session), session, grant)
    assert answer.json()["desired_state"] == DesiredState.CANCELLED


@pytest.mark.proves("fence.desired-state")
def test_a_claim_says_it_too(org: Org) -> None:
    session = factories.pending(org)
    answer = org.runner.api.post(path(session, "claim")).json()
    assert answer["desired_state"] == DesiredState.RUNNING
