"""A claim waits for work; what cuts it short, and what must not be held up by it."""

import signal
import socket
import time
from contextlib import closing

import pytest

from keeptrusts_runners.runner.claiming import LAST_WORD_SECONDS
from tests.runner.conftest import Publish, StartRunner
from tests.runner.control_plane import DEADLINE, ControlPlane

# With such a pause between its requests a runner that polls does nothing within a test.
WAITS = ("--wait-seconds", "30", "--poll-seconds", "300")

RUNS_UNTIL_STOPPED = """
    import keeptrusts_harness

    def main(session):
        session.progress(0, 1, "steps", "at work")
        session.wait(600)

    keeptrusts_harness.run(main)
"""


def test_work_is_taken_while_the_claim_for_it_waits(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    start_runner(*WAITS)
    plane.wait_for_a_waiting_claim()
    session = plane.dispatch(publish("print('x')"))
    plane.wait_for(lambda: session.state == "completed", "completion")
    assert plane.claims[0]["wait_seconds"] == 30
    assert plane.claims[0]["claim_id"] not in [claim["claim_id"] for claim in plane.claims[1:]]


def test_a_slot_that_becomes_free_is_offered_at_once(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    revision = publish("print('x')")
    sessions = [plane.dispatch(revision) for _ in range(3)]
    start_runner(*WAITS, "--slots", "1")
    plane.wait_for(lambda: all(s.state == "completed" for s in sessions), "three completions")


def test_a_claim_that_waited_in_vain_is_followed_by_another(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    start_runner("--wait-seconds", "1", "--poll-seconds", "300")
    plane.wait_for(lambda: len(plane.claims) == 3, "three claims")
    assert len({claim["claim_id"] for claim in plane.claims}) == 3
    assert plane.claimed_at[2] - plane.claimed_at[0] >= 2


def test_an_empty_answer_before_its_time_is_no_invitation_to_ask_again_at_once(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    plane.impatient = True
    start_runner("--wait-seconds", "30", "--poll-seconds", "0.4")
    plane.wait_for(lambda: len(plane.claims) == 3, "three claims")
    assert plane.claimed_at[2] - plane.claimed_at[0] >= 2 * 0.75 * 0.4


def test_without_waiting_it_polls(plane: ControlPlane, start_runner: StartRunner) -> None:
    start_runner("--wait-seconds", "0")
    plane.wait_for(lambda: len(plane.claims) == 3, "three claims")
    assert {claim["wait_seconds"] for claim in plane.claims} == {0}
    assert plane.claimed_at[2] - plane.claimed_at[0] >= 2 * 0.75 * 0.1


def test_heartbeats_go_on_beside_a_claim_that_waits(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish(RUNS_UNTIL_STOPPED))
    start_runner(*WAITS, "--slots", "2")
    plane.wait_for(lambda: plane.waiting and session.progress, "a claim beside a session")
    before = session.heartbeats
    plane.wait_for(lambda: session.heartbeats >= before + 10, "ten heartbeats")
    assert (plane.waiting, len(plane.claims)) == (1, 2)
    assert plane.claims[-1]["max"] == 1


# --- stopping --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_runner_whose_claim_waits(
    plane: ControlPlane, start_runner: StartRunner, number: int
) -> None:
    runner = start_runner(*WAITS)
    plane.wait_for_a_waiting_claim()
    signalled = time.monotonic()
    runner.signal(number)
    assert runner.wait() == 0
    assert time.monotonic() - signalled < LAST_WORD_SECONDS
    plane.wait_for(lambda: not plane.waiting, "the end of the waiting")
    runner.wait_until_said("runner.stopped")
    assert runner.occurrences() == ["runner.ready", "runner.stopped"]


def test_what_is_claimed_for_a_runner_that_leaves_is_handed_back_before_it_begins(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    revision = publish("print('x')")
    before = plane.dispatch(revision)
    session = plane.dispatch(revision, state="held", max_attempts=2)
    plane.claims_for_those_who_left = session
    runner = start_runner(*WAITS, "--slots", "3")
    plane.wait_for(lambda: plane.waiting and before.state == "completed", "a claim that waits")
    runner.signal(signal.SIGTERM)
    assert runner.wait() == 0
    assert (session.epoch, session.state, session.heartbeats) == (1, "pending", 0)
    (ending,) = session.endings
    assert (ending["error"]["code"], ending["retryable"]) == ("runner_stopped", True)
    waited, last = plane.claims[-2:]
    assert last["claim_id"] == waited["claim_id"]
    assert (last["wait_seconds"], last["max"]) == (0, 1)


def test_a_stop_ends_the_waiting_claim_and_what_runs_beside_it(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish(RUNS_UNTIL_STOPPED), max_attempts=2)
    runner = start_runner(*WAITS, "--slots", "2")
    plane.wait_for(lambda: plane.waiting and session.progress, "a claim beside a session")
    runner.signal(signal.SIGTERM)
    assert runner.wait() == 0
    assert session.endings[0]["error"]["code"] == "runner_stopped"
    assert runner.wait_until_said("runner.stopping")["message"].startswith("stopping 1 session;")
    assert not plane.waiting


def test_a_runner_that_waits_for_its_one_session_can_be_stopped(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    runner = start_runner(*WAITS, "--once")
    plane.wait_for_a_waiting_claim()
    runner.signal(signal.SIGTERM)
    assert runner.wait() == 0


def test_a_signal_that_interrupts_another_thread_stops_it_too(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    runner = start_runner(*WAITS)
    plane.wait_for_a_waiting_claim()
    runner.signal_another_thread(signal.SIGTERM)
    assert runner.wait() == 0


def test_a_server_that_never_answers_does_not_keep_a_runner_from_stopping(
    start_runner: StartRunner,
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        silent.settimeout(DEADLINE)
        port = silent.getsockname()[1]
        runner = start_runner(*WAITS, "--url", f"http://127.0.0.1:{port}")
        connection, _ = silent.accept()
        with closing(connection):
            signalled = time.monotonic()
            runner.signal(signal.SIGTERM)
            assert runner.wait() == 0
            assert time.monotonic() - signalled < 2 * LAST_WORD_SECONDS


# --- cut off ---------------------------------------------------------------------------------


def test_a_claim_that_a_proxy_cuts_off_is_no_news_and_is_made_again(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    runner = start_runner(*WAITS)
    plane.wait_for_a_waiting_claim()
    plane.cut_waiting()
    plane.wait_for(lambda: len(plane.claims) == 3 and plane.waiting, "another waiting claim")
    cut, plain, again = plane.claims
    assert plain["claim_id"] == cut["claim_id"]
    assert (plain["wait_seconds"], again["wait_seconds"]) == (0, 30)
    session = plane.dispatch(publish("print('x')"))
    plane.wait_for(lambda: session.state == "completed", "completion")
    assert not {"runner.waiting", "runner.back"} & set(runner.occurrences())


def test_a_gateway_that_gives_up_is_as_little_news(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    plane.answer_once("/claim", 504)
    runner = start_runner(*WAITS)
    plane.wait_for_a_waiting_claim()
    assert [claim["wait_seconds"] for claim in plane.claims] == [0, 30]
    assert runner.occurrences() == ["runner.ready"]


def test_a_server_that_goes_away_and_comes_back_is_told_of_once(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    runner = start_runner("--wait-seconds", "30")
    plane.wait_for_a_waiting_claim()
    plane.away = True
    runner.wait_until_said("runner.waiting")
    plane.away = False
    assert runner.wait_until_said("runner.back")["message"] == "the control plane answers again"
    plane.wait_for_a_waiting_claim()
    assert runner.occurrences() == ["runner.ready", "runner.waiting", "runner.back"]


def test_an_overloaded_server_is_left_alone_for_as_long_as_it_asks(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    asked = time.monotonic()
    plane.answer_once("/claim", 503, Retry_After="1")
    runner = start_runner(*WAITS)
    plane.wait_for(lambda: plane.claims, "a claim after the refused one")
    assert plane.claimed_at[0] - asked >= 1
    runner.wait_until_said("runner.back")
