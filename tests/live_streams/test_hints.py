"""The organization's stream: hints over real HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from keeptrusts_runners import ids
from sessions.models import RunnerSession
from tests import factories
from tests.live import LiveApi
from tests.live_streams.reading import Message, Stream, complete, record
from tests.people import Org, token_of

PATH = "/runners/events/stream"


@pytest.fixture
def org(django_db_setup: None) -> Org:
    made = Org()
    assert all((made.viewer, made.operator, made.runner))
    return made


def hint_of(session: RunnerSession, seq: int, state: str) -> dict[str, Any]:
    return {"session_id": ids.encode("sess", session.id), "seq": seq, "state": state}


def until(stream: Stream, wanted: dict[str, Any]) -> list[Message]:
    """What comes, up to this hint."""
    read: list[Message] = []
    for message in stream:
        read.append(message)
        if message.data == wanted:
            return read
    raise AssertionError(f"{wanted} is not among {read}")


@pytest.mark.proves("live.hints")
def test_a_reset_comes_first_and_then_what_goes_on_in_the_organization(
    live_url: str, org: Org
) -> None:
    other = Org()
    with Stream(live_url, PATH, token_of(org.viewer.principal)) as stream:
        (first,) = stream.take(1)
        assert (first.name, first.id) == ("reset", None)
        theirs, ours = factories.running(other), factories.running(org)
        complete(org, ours)
        read = until(stream, hint_of(ours, 5, "completed"))
        assert {message.name for message in read} == {"hint"}
        assert ids.encode("sess", theirs.id) not in {each.data["session_id"] for each in read}


def test_hints_of_one_session_are_coalesced(live_url: str, org: Org) -> None:
    session = factories.running(org)
    with Stream(live_url, PATH, token_of(org.viewer.principal)) as stream:
        stream.take(1)
        for _ in range(30):
            record(org, session, 1)
        read = until(stream, hint_of(session, 34, "running"))
        assert len(read) < 30


def test_a_reconnection_begins_with_a_reset(live_url: str, org: Org) -> None:
    for _ in range(2):
        with Stream(
            live_url, PATH, token_of(org.viewer.principal), {"Last-Event-ID": "7"}
        ) as stream:
            assert stream.take(1)[0].name == "reset"


def test_refusals_come_as_problems(live_url: str, org: Org) -> None:
    viewer = token_of(org.viewer.principal)
    refused = {
        400: LiveApi(live_url, viewer).get(f"{PATH}?session_id=x"),
        401: LiveApi(live_url).get(PATH),
        403: LiveApi(live_url, token_of(org.viewer.principal, frozenset())).get(PATH),
        406: LiveApi(live_url, viewer).get(PATH, Accept="application/json"),
    }
    for status, answer in refused.items():
        assert answer.status_code == status, answer.content
        assert answer.headers["Content-Type"] == "application/problem+json"
