"""The stream of an open page, over real HTTP with a browser's session."""

from __future__ import annotations

import time

import pytest
from django.test import Client

from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import browser
from tests.grants import asking
from tests.live_streams.reading import Message, Signals, record
from tests.people import Org

ALL = "sessions,approvals,fleet"
ACCEPT = {"Accept": "text/event-stream"}


@pytest.fixture
def org(django_db_setup: None) -> Org:
    made = Org()
    assert all((made.viewer, made.operator, made.runner))
    return made


def topic_of(session: RunnerSession) -> str:
    return f"session:{ids.encode('sess', session.id)}"


def address(*topics: str) -> str:
    return f"/runners/stream?topics={','.join(topics)}"


def watching(url: str, client: Client, topics: str) -> Signals:
    """A page that knows all that has happened so far, and of the next minute what it is told."""
    known = {"Last-Event-ID": str(int((time.time() + 60) * 1000))}
    return Signals(url, topics, str(client.session.session_key), known)


def signals_of(stream: Signals, *topics: str) -> list[Message]:
    """What comes until each of these topics was named."""
    read: list[Message] = []
    for message in stream:
        read.append(message)
        if {each.data["topic"] for each in read} >= {*topics}:
            return read
    raise AssertionError(f"not all of {topics} are among {read}")


@pytest.mark.proves("live.signals")
def test_a_page_is_told_which_topics_of_its_organization_changed_and_no_more(
    live_url: str, org: Org
) -> None:
    other = Org()
    with watching(live_url, browser(org.viewer), "approvals,fleet") as stream:
        asking.requested(other, factories.running(other))
        factories.pending(org)
        (first,) = stream.take(1)
        assert first.data["topic"] == "fleet"
        asking.requested(org, factories.running(org))
        told = [first, *signals_of(stream, "approvals")]
        assert {message.name for message in told} == {"signal"}
        assert all(set(message.data) == {"topic", "version"} for message in told)
        assert all(message.id == message.data["version"] for message in told)


def test_what_a_runner_writes_is_told_of_its_session_alone(live_url: str, org: Org) -> None:
    session, elsewhere = factories.running(org), factories.running(org)
    with watching(live_url, browser(org.viewer), f"sessions,{topic_of(session)}") as stream:
        before = signals_of(stream, topic_of(session))[-1].data["last_seq"]
        record(org, elsewhere, 3)
        record(org, session, 3)
        told = signals_of(stream, topic_of(session))
        assert [message.data for message in told] == [
            {
                "topic": topic_of(session),
                "session": ids.encode("sess", session.id),
                "last_seq": before + 3,
            }
        ]


def test_a_burst_is_told_in_few_signals(live_url: str, org: Org) -> None:
    session = factories.running(org)
    with watching(live_url, browser(org.viewer), topic_of(session)) as stream:
        (first,) = stream.take(1)
        for _ in range(30):
            record(org, session, 1)
        told = []
        for message in stream:
            told.append(message.data["last_seq"])
            if told[-1] == first.data["last_seq"] + 30:
                break
        assert len(told) < 15


def test_who_comes_back_is_told_what_changed_meanwhile(live_url: str, org: Org) -> None:
    key, before = str(browser(org.viewer).session.session_key), str(int(time.time() * 1000))
    factories.pending(org)
    with Signals(live_url, "sessions", key, {"Last-Event-ID": before}) as stream:
        assert stream.take(1)[0].data["topic"] == "sessions"
    with Signals(live_url, ALL, key) as stream:
        assert {message.data["topic"] for message in stream.take(3)} == {*ALL.split(",")}


@pytest.mark.proves("live.signals-end")
def test_a_stream_ends_soon_after_its_browser_is_signed_out(quick_url: str, org: Org) -> None:
    client = browser(org.viewer)
    with watching(quick_url, client, "approvals") as stream:
        client.post("/sign-out")
        (last,) = stream.take(1)
        assert (last.name, last.data) == ("bye", {"reason": "invalid_token"})
        assert list(stream) == []


def test_a_stream_ends_with_the_membership(quick_url: str, org: Org) -> None:
    with watching(quick_url, browser(org.viewer), "approvals") as stream:
        with org.scope():
            accounts.remove_member(org.id, org.viewer.user.id)
        assert stream.take(1)[0].name == "bye"


def test_a_person_has_five_streams_and_then_is_told_to_poll(live_url: str, org: Org) -> None:
    client = browser(org.viewer)
    opened = [watching(live_url, client, "approvals") for _ in range(5)]
    try:
        assert {stream.status for stream in opened} == {200}
        refused = watching(live_url, client, "approvals")
        assert refused.status == 503
        assert refused.answer.headers["Retry-After"] == "10"
        refused.close()
        with watching(live_url, browser(org.operator), "approvals") as another:
            assert another.status == 200
    finally:
        for stream in opened:
            stream.close()


def test_nothing_on_the_way_holds_it_back_or_keeps_it(live_url: str, org: Org) -> None:
    with watching(live_url, browser(org.viewer), "approvals") as stream:
        headers = stream.answer.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert (headers["X-Accel-Buffering"], headers["Cache-Control"]) == ("no", "no-store")
        assert headers["Content-Encoding"] is None


def test_refusals_come_as_parts_of_a_page(org: Org) -> None:
    viewer, stranger = browser(org.viewer), browser()
    own = [topic_of(factories.pending(org)) for _ in range(6)]
    refused = [
        (401, stranger, address("sessions")),
        (400, viewer, "/runners/stream"),
        (400, viewer, address("weather")),
        (400, viewer, address("sessions") + "&since=1"),
        (400, viewer, address(*own)),
        (404, viewer, address("session:sess_1")),
    ]
    assert viewer.get(address(*own[:5]), headers=ACCEPT).status_code == 200
    for status, client, asked in refused:
        answer = client.get(asked, headers=ACCEPT)
        assert answer.status_code == status, (asked, answer.content)
        assert b"<html" not in answer.content


def test_a_foreign_session_is_refused_as_an_unknown_one(org: Org) -> None:
    viewer, headers = browser(org.viewer), ACCEPT | {"X-Request-Id": "same"}
    foreign = topic_of(factories.pending(Org()))
    unknown = f"session:{ids.encode('sess', ids.new())}"
    answers = [viewer.get(address(topic), headers=headers) for topic in (foreign, unknown)]
    assert {answer.status_code for answer in answers} == {404}
    assert answers[0].content == answers[1].content


def test_a_token_opens_no_page_stream(org: Org) -> None:
    bearer = {"Authorization": f"Bearer {org.viewer.api.token}"}
    assert browser().get(address("sessions"), headers=ACCEPT | bearer).status_code == 401
