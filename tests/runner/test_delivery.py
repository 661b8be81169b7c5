"""Output, events and requests under lost answers, overload and expired tokens."""

import time

import pytest

from keeptrusts_runners.runner.output import LINE_LIMIT, LineSplitter
from tests.runner.conftest import Publish, StartRunner
from tests.runner.control_plane import ControlPlane

COUNTS = """
    for number in range(3000):
        print(number)
"""


@pytest.mark.proves("run.runner")
def test_lines_arrive_once_and_in_order_although_answers_are_lost(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish(COUNTS))
    plane.lose_answer("/events")
    plane.lose_answer("/events")
    assert start_runner("--once").wait() == 0
    assert session.lines("stdout") == [str(number) for number in range(3000)]


@pytest.mark.proves("run.runner")
def test_a_lost_answer_to_a_claim_leaves_no_session_behind(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish("print('x')"))
    plane.lose_answer("/claim")
    assert start_runner("--once").wait() == 0
    assert session.epoch == 1
    assert len({claim["claim_id"] for claim in plane.claims}) == 1


def test_a_lost_answer_to_the_ending_changes_nothing(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish("print('x')"))
    plane.lose_answer(session.id)
    assert start_runner("--once").wait() == 0
    assert session.endings == [{"state": "completed", "result": {}}]


def test_a_lost_answer_to_an_upload_stores_one_artifact(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(
        publish("import os; open(os.environ['KEEPTRUSTS_OUTPUT_DIR'] + '/a.txt', 'w').write('a')")
    )
    plane.lose_answer("/artifacts")
    assert start_runner("--once").wait() == 0
    assert [artifact["name"] for artifact in session.artifacts] == ["a.txt"]


@pytest.mark.proves("run.runner")
def test_a_result_survives_an_outage_that_is_longer_than_the_lease(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(
        publish("import os; open(os.environ['KEEPTRUSTS_OUTPUT_DIR'] + '/a.txt', 'w').write('a')"),
        lease_seconds=3.0,
    )
    plane.leave_after = "/artifacts"
    runner = start_runner("--once")
    plane.wait_for(lambda: plane.away, "the outage")
    lease_over = time.monotonic() + 3.5
    plane.wait_for(lambda: time.monotonic() > lease_over, "the lease's end")
    plane.leave_after, plane.away = None, False
    assert runner.wait() == 0
    assert session.endings == [{"state": "completed", "result": {}}]


def test_overload_is_waited_out_as_long_as_the_server_says(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish("print('x')"))
    plane.answer_once("/events", 503, Retry_After="0")
    plane.answer_once("/heartbeat", 429, Retry_After="0")
    assert start_runner("--once").wait() == 0
    assert session.lines("stdout") == ["x"]


def test_a_refused_executor_token_is_renewed(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    start_runner()
    plane.wait_for(lambda: plane.claims, "a claim")
    plane.forget_executor_token()
    session = plane.dispatch(publish("print('x')"))
    plane.wait_for(lambda: session.state == "completed", "completion")
    assert plane.tokens_issued == 2


def test_an_event_that_is_refused_for_good_does_not_stop_the_others(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish("print('before\\nrefuse me\\nafter')"))
    assert start_runner("--once").wait() == 0
    assert session.lines("stdout") == ["before", "after"]
    assert [e["message"] for e in session.events if e["kind"] == "warning"] == [
        "an event of kind log was refused: invalid_event"
    ]


def test_a_long_line_is_cut_and_says_so(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish("print('a' * 20000); print('b')"))
    start_runner("--once").wait()
    cut, after = (event for event in session.events if event["kind"] == "log")
    assert cut["data"]["cut_bytes"] == 20000 - LINE_LIMIT
    assert cut["message"].startswith("a" * LINE_LIMIT + " … [")
    assert after["message"] == "b"


def test_a_line_without_a_line_feed_is_a_line_at_the_end() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [("one", 0)]
    assert splitter.feed(b"o\r\n\nthr") == [("two", 0), ("", 0)]
    assert splitter.finish() == [("thr", 0)]


def test_no_line_breaks_a_json_reader() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"nul \0 and \xff\n") == [("nul \ufffd and \ufffd", 0)]


def test_a_cut_does_not_break_a_character() -> None:
    text = "a" * (LINE_LIMIT - 1) + "é"
    [(line, cut)] = LineSplitter().feed(text.encode() + b"\n")
    assert line == "a" * (LINE_LIMIT - 1)
    assert cut == 2


def test_uncut_lines_of_exactly_the_limit_are_whole() -> None:
    assert LineSplitter().feed(b"a" * LINE_LIMIT + b"\n") == [("a" * LINE_LIMIT, 0)]
