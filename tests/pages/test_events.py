"""Events by the windowful: every place is reachable, and costs the same."""

from __future__ import annotations

import re
from typing import Any

import pytest

from grants import events, windows
from sessions import outcomes
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browsers import at_most, browser, page_of, text_of
from tests.people import Org

LEVELS = ["info", "warning", "error", "debug", "critical"]


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def session(org: Org, monkeypatch: pytest.MonkeyPatch) -> RunnerSession:
    """A ledger of 53 records and windows of 20."""
    monkeypatch.setattr(windows, "ROWS", 20)
    found = factories.running(org)
    given = [
        {"kind": "log", "level": LEVELS[number % 5], "message": f"line {number}"}
        for number in range(49)
    ]
    with org.scope():
        events.ingest(found.id, given, by=org.runner.principal, lease_epoch=1)
    return found


def numbers(response: Any) -> list[int]:
    return [int(seq) for seq in re.findall(r'<li id="e(\d+)">', response.content.decode())]


def follow(client: Any, response: Any, word: str) -> Any:
    (address,) = set(re.findall(rf'href="([^"]*)"[^>]*>{word}</a>', response.content.decode()))
    return client.get(address.replace("&amp;", "&"))


def test_from_the_first_to_the_last_and_back(org: Org, session: RunnerSession) -> None:
    client = browser(org.viewer)
    response = client.get(page_of(session, "events") + "?after=0")
    seen = numbers(response)
    while b">Newer</a>" in response.content:
        response = follow(client, response, "Newer")
        seen += numbers(response)
    assert seen == list(range(1, 54))
    response = follow(client, response, "Older")
    assert numbers(response) == list(range(21, 41))
    assert numbers(follow(client, response, "First")) == list(range(1, 21))
    assert numbers(follow(client, response, "Last"))[-1] == 53


def test_an_event_stands_in_the_middle_of_its_window(org: Org, session: RunnerSession) -> None:
    found = numbers(browser(org.viewer).get(page_of(session, "events") + "?at=30"))
    assert found == list(range(21, 41))


def test_a_linked_event_is_there_although_the_filter_would_hide_it(
    org: Org, session: RunnerSession
) -> None:
    response = browser(org.viewer).get(page_of(session, "events") + "?at=30&level=error")
    assert 30 in numbers(response)
    assert 31 not in numbers(response)


def test_levels_are_links_with_exact_counts(org: Org, session: RunnerSession) -> None:
    client = browser(org.viewer)
    text = text_of(client.get(page_of(session, "events")))
    assert "All 53" in text
    assert "Warnings and errors 29" in text
    assert "Errors 19" in text
    response = client.get(page_of(session, "events") + "?level=error&after=0")
    assert len(numbers(response)) == 19


def test_a_running_session_opens_at_its_end_and_grows_in_place(
    org: Org, session: RunnerSession
) -> None:
    response = browser(org.viewer).get(page_of(session, "events"))
    assert numbers(response) == list(range(44, 54))
    assert f'data-refresh="{page_of(session, "events")}?after=43"' in response.content.decode()


def test_an_ended_one_opens_at_its_first_error_and_rests(org: Org, session: RunnerSession) -> None:
    with org.scope():
        outcomes.end(session.id, Verb.COMPLETE, {}, by=org.runner.principal)
    response = browser(org.viewer).get(page_of(session, "events"))
    assert 7 in numbers(response)
    assert b"data-refresh" not in response.content


@pytest.mark.parametrize("query", ["after=-1", "at=x", "level=loud", "unknown=1", "before="])
def test_a_wrong_place_is_refused(org: Org, session: RunnerSession, query: str) -> None:
    assert browser(org.viewer).get(page_of(session, "events") + f"?{query}").status_code == 400


@pytest.mark.parametrize("query", ["after=99999999999999", "at=999999", "before=0"])
def test_a_place_beyond_the_ledger_is_empty(org: Org, session: RunnerSession, query: str) -> None:
    response = browser(org.viewer).get(page_of(session, "events") + f"?{query}")
    assert response.status_code == 200
    assert numbers(response) == []
    assert "No event here." in text_of(response)


def test_large_records_are_a_link_away(org: Org) -> None:
    session = factories.running(org)
    given = [{"kind": "log", "message": "y" * 5000, "data": {"x": "z" * 5000}}]
    with org.scope():
        events.ingest(session.id, given, by=org.runner.principal, lease_epoch=1)
    client = browser(org.viewer)
    response = client.get(page_of(session, "events"))
    assert b"y" * 2001 not in response.content
    assert "Show all (4.9 KiB)" in text_of(response)
    assert "Payload (" in text_of(response)
    seq = numbers(response)[-1]
    assert b"y" * 5000 in client.get(page_of(session, "events", str(seq))).content


def test_no_record_has_this_number(org: Org) -> None:
    session = factories.running(org)
    for number in ("999", str(2**64)):
        assert browser(org.viewer).get(page_of(session, "events", number)).status_code == 404


@pytest.mark.parametrize("query", ["", "?after=0", "?at=30", "?tail=1&level=error"])
def test_a_window_costs_the_same_anywhere(org: Org, session: RunnerSession, query: str) -> None:
    client = browser(org.viewer)
    with at_most(8):
        assert client.get(page_of(session, "events") + query).status_code == 200
