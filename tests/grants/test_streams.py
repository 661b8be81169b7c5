"""What streams carry without an event loop behind the view: a part, from which clients poll."""

from __future__ import annotations

import json
from typing import Any

import pytest

from grants import following, streams
from sessions.models import RunnerSession
from tests import factories
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def session(org: Org) -> RunnerSession:
    return factories.running(org)


def part(org: Org, session: RunnerSession, query: str = "", last: int = 0) -> list[dict[str, str]]:
    """The fields of each message of one answer, without the first, which says when to retry."""
    headers = {"Last-Event-ID": str(last)} if last else {}
    answer = org.viewer.api.get(factories.path(session, f"events/stream{query}"), **headers)
    assert answer.status_code == 200, answer.content
    assert answer["Content-Type"] == "text/event-stream"
    retry, *messages = answer.content.decode().removesuffix("\n\n").split("\n\n")
    assert retry == "retry: 2000"
    return [dict(line.split(": ", 1) for line in each.split("\n")) for each in messages if each]


def poll(org: Org, session: RunnerSession, query: str = "") -> list[dict[str, str]]:
    """As a client of server-sent events does, until it is told of the end."""
    read: list[dict[str, str]] = []
    last = 0
    for _ in range(50):
        read += part(org, session, query, last)
        last = max(int(each.get("id", 0)) for each in read)
        if read[-1].get("event") == "end":
            return read
    raise AssertionError("there was no end")


def fill(org: Org, session: RunnerSession, *events: dict[str, Any]) -> None:
    path = factories.path(session, "events")
    assert org.runner.api.post(path, {"events": list(events)}).status_code == 200
    patched = org.runner.api.patch(factories.path(session), {"state": "completed"})
    assert patched.status_code == 200


@pytest.mark.proves("live.no-gap")
def test_polling_loses_and_repeats_nothing(
    org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "ROWS", 3)
    fill(org, session, *({"kind": "log", "message": f"{n}"} for n in range(10)))
    *events, end = poll(org, session)
    listed = org.viewer.api.get(factories.path(session, "events?limit=200")).json()["items"]
    assert [json.loads(event["data"]) for event in events] == listed
    assert [int(event["id"]) for event in events] == list(range(1, 16))
    assert json.loads(end["data"]) == {"seq": 15}


def test_what_is_filtered_out_is_searched_in_stretches_that_are_not_searched_again(
    org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "SPAN", 4)
    fill(org, session, *[{"kind": "log"}] * 9, {"kind": "warning", "message": "at last"})
    read = poll(org, session, "?kind=warning")
    assert [each["id"] for each in read if "event" not in each] == ["4", "8", "12", "15"]
    assert [each["id"] for each in read if each.get("event") == "event"] == ["14"]


def test_large_events_come_in_parts_of_a_bounded_size(
    org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 10_000)
    large = {"kind": "log", "data": {"large": "x" * 6_000}}
    fill(org, session, *[large] * 7)
    sizes = []
    last = 0
    while last < 12:
        read = part(org, session, "", last)
        last = max(int(each.get("id", 0)) for each in read)
        sizes.append(sum(len(each.get("data", "")) for each in read))
    assert last == 12
    assert max(sizes) < 10_000 + 7_000


def test_the_organizations_part_is_a_reset(org: Org) -> None:
    answer = org.viewer.api.get("/runners/events/stream")
    assert answer.content == b"retry: 2000\n\nevent: reset\ndata: {}\n\n"
