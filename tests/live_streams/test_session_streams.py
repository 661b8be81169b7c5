"""A session's stream: real HTTP against a real server process."""

from __future__ import annotations

import random
import threading
from typing import Any

import pytest

from sessions.models import RunnerSession
from tests import factories
from tests.live import LiveApi
from tests.live_streams.reading import Message, Stream, complete, follow, record
from tests.people import Org, token_of


@pytest.fixture(scope="module")
def org(django_db_setup: None) -> Org:
    made = Org()
    assert all((made.viewer, made.operator, made.runner))
    return made


@pytest.fixture
def session(org: Org) -> RunnerSession:
    return factories.running(org)


def listed(org: Org, session: RunnerSession, query: str = "limit=200") -> list[dict[str, Any]]:
    answer = org.viewer.api.get(factories.path(session, f"events?{query}"))
    assert answer.status_code == 200, answer.content
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def data(messages: list[Message]) -> list[Any]:
    return [message.data for message in messages]


def test_history_and_what_comes_are_one_stream_of_what_the_list_shows(
    live_url: str, org: Org, session: RunnerSession
) -> None:
    record(org, session, 3)
    past = listed(org, session)
    with follow(live_url, org, session) as stream:
        assert data(stream.take(len(past))) == past
        record(org, session, 2, data={"text": "two\nlines\r\u2028", "n": 1})
        came = stream.take(2)
        assert data(came) == listed(org, session, f"after_seq={len(past)}")
        assert {message.name for message in came} == {"event"}
        assert [message.id for message in came] == [item["seq"] for item in data(came)]


def test_it_ends_when_the_session_has_ended_and_all_was_sent(
    live_url: str, org: Org, session: RunnerSession
) -> None:
    with follow(live_url, org, session) as stream:
        stream.take(1)
        complete(org, session)
        *rest, end = list(stream)
    every = listed(org, session)
    assert data(rest) == every[1:]
    assert (end.name, end.data) == ("end", {"seq": len(every)})
    with follow(live_url, org, session, Last_Event_ID=str(len(every) - 1)) as stream:
        last, end = list(stream)
    assert (last.data, end.name) == (every[-1], "end")


def test_a_long_history_is_sent_whole(live_url: str, org: Org, session: RunnerSession) -> None:
    for _ in range(3):
        record(org, session, 300)
    record(org, session, 12, data={"large": "x" * 60_000})
    complete(org, session)
    with follow(live_url, org, session) as stream:
        *events, end = list(stream)
    assert [event.id for event in events] == list(range(1, end.data["seq"] + 1))
    assert [len(event.data["data"]["large"]) for event in events[-13:-1]] == [60_000] * 12


@pytest.mark.proves("live.no-gap")
def test_no_gap_and_no_repeat_while_others_write_and_the_reader_comes_and_goes(
    quick_url: str, org: Org, session: RunnerSession
) -> None:
    """Each reconnection is made behind the last event that was read, wherever that was. The server
    reads a few events at a time, so that most of its reads are beside a write."""
    random_, batches = random.Random(7), 200
    writer = threading.Thread(
        target=_write, args=(quick_url, token_of(org.runner.principal), session, batches)
    )
    seen: list[int] = []
    reconnections = 0
    writer.start()
    try:
        ended = False
        while not ended:
            place = {"Last_Event_ID": str(seen[-1])} if seen else {}
            leaves_after = random_.randint(1, 80)
            with follow(quick_url, org, session, **place) as stream:
                for message in stream:
                    ended = message.name == "end"
                    if message.name == "event":
                        assert message.id is not None
                        seen.append(message.id)
                        leaves_after -= 1
                    if ended or not leaves_after:
                        break
            reconnections += 1
    finally:
        writer.join()
    assert seen == list(range(1, len(listed_all(org, session)) + 1))
    assert reconnections > 5


def _write(url: str, token: str, session: RunnerSession, batches: int) -> None:
    """One batch after the other, then the end."""
    api, random_ = LiveApi(url, token), random.Random(11)
    for _ in range(batches):
        events = [{"kind": "log"}] * random_.randint(1, 7)
        api.post(factories.path(session, "events"), {"events": events})
    api.patch(factories.path(session), {"state": "completed"})


def listed_all(org: Org, session: RunnerSession) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    while page := listed(org, session, f"limit=200&after_seq={len(items)}"):
        items += page
    return items


def test_several_who_watch_the_same_are_all_sent_everything(
    live_url: str, org: Org, session: RunnerSession
) -> None:
    streams = [follow(live_url, org, session, "?after_seq=4") for _ in range(5)]
    for number in range(1, 4):
        record(org, session, number)
    for stream in streams:
        with stream:
            assert [message.id for message in stream.take(6)] == list(range(5, 11))


def test_filters_leave_out_events_and_the_id_goes_on(
    live_url: str, org: Org, session: RunnerSession
) -> None:
    first = len(listed(org, session)) + 1
    record(org, session, 2)
    record(org, session, 1, kind="warning")
    with follow(live_url, org, session, "?level=warning") as stream:
        (warning,) = stream.take(1)
        assert warning.id == first + 2
        record(org, session, 4)
        (place,) = stream.take(1)
        assert (place.name, place.id, place.data) == ("", first + 6, None)
        record(org, session, 1, kind="warning")
        assert stream.take(1)[0].id == first + 7


def test_the_header_wins_over_the_parameter(
    live_url: str, org: Org, session: RunnerSession
) -> None:
    with follow(live_url, org, session, "?after_seq=1") as stream:
        assert stream.take(1)[0].id == 2
    with follow(live_url, org, session, "?after_seq=1", Last_Event_ID="2") as stream:
        assert stream.take(1)[0].id == 3
    with follow(live_url, org, session, "?after_seq=1", Last_Event_ID="") as stream:
        assert stream.take(1)[0].id == 2


def test_the_answer_is_for_no_cache_and_no_buffer(
    live_url: str, org: Org, session: RunnerSession
) -> None:
    with follow(live_url, org, session) as stream:
        headers = stream.answer.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert headers["X-Request-Id"]
        assert stream.answer.readline() == b"retry: 2000\n"


# --- refusals, which are those of every view -------------------------------------------------


@pytest.mark.proves("api.bad-input")
@pytest.mark.parametrize(
    "place", ["-1", "x", "1.0", "1e3", "٣", "1, 2", "9" * 17, "9" * 400, " ", "999"]
)
def test_a_place_that_no_event_has_is_refused(
    live_url: str, org: Org, session: RunnerSession, place: str
) -> None:
    """A forged id, or one of a ledger that is longer than this: the client must know of it."""
    answer = org.viewer.api.get(
        factories.path(session, "events/stream"),
        **{"Last-Event-ID": place.encode().decode("latin-1")},
    )
    if place.strip():
        assert answer.status_code == 400, answer.content
        assert answer.json()["code"] == "invalid_parameter"
        assert "Last-Event-ID" in answer.json()["detail"]
    for text in ("999", "x"):
        answer = org.viewer.api.get(factories.path(session, f"events/stream?after_seq={text}"))
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


def test_refusals_come_as_problems_before_any_stream(
    live_url: str, org: Org, session: RunnerSession
) -> None:
    path = factories.path(session, "events/stream")
    refused = {
        400: LiveApi(live_url, token_of(org.viewer.principal)).get(f"{path}?before_seq=3"),
        401: LiveApi(live_url).get(path),
        403: LiveApi(live_url, token_of(org.viewer.principal, frozenset())).get(path),
        404: LiveApi(live_url, token_of(Org().admin.principal)).get(path),
        406: LiveApi(live_url, token_of(org.viewer.principal)).get(path, Accept="application/json"),
    }
    for status, answer in refused.items():
        assert answer.status_code == status, answer.content
        assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.proves("api.not-yours")
def test_an_outsider_is_answered_as_for_an_unknown_id(
    live_url: str, org: Org, session: RunnerSession
) -> None:
    api = LiveApi(live_url, token_of(Org().admin.principal))
    unknown = "/runners/sessions/sess_01h455vb4pex5vsknk084sn02q/events/stream"
    theirs, nobodys = (
        api.get(path, **{"X-Request-Id": "the-same"})
        for path in (factories.path(session, "events/stream"), unknown)
    )
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.content == nobodys.content


def test_a_session_token_follows_its_own_session_and_no_other(
    live_url: str, org: Org, session: RunnerSession
) -> None:
    other = factories.running(org)
    token = factories.session_api(org, session).token or ""
    with Stream(live_url, factories.path(session, "events/stream"), token) as stream:
        assert stream.take(1)[0].id == 1
    for path in (factories.path(other, "events/stream"), "/runners/events/stream"):
        answer = LiveApi(live_url, token).get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "outside_session")
