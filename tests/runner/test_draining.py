"""A control plane that drains its executor: no new sessions, and no end of what runs."""

import signal

from tests.runner.conftest import Publish, StartRunner
from tests.runner.control_plane import ControlPlane

RUNS_UNTIL_STOPPED = """
    import keeptrusts_harness

    def main(session):
        session.progress(0, 1, "steps", "at work")
        session.wait(600)

    keeptrusts_harness.run(main)
"""


def test_a_drained_runner_says_so_once_goes_on_with_what_it_runs_and_comes_back(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    running = plane.dispatch(publish(RUNS_UNTIL_STOPPED))
    runner = start_runner("--slots", "2")
    plane.wait_for(lambda: plane.waiting and running.progress, "a claim beside a session")
    plane.drain(True)
    said = runner.wait_until_said("runner.draining")
    asked, heartbeats = len(plane.claims), running.heartbeats
    plane.wait_for(lambda: len(plane.claims) > asked + 2, "further claims")
    plane.wait_for(lambda: running.heartbeats > heartbeats + 2, "further heartbeats")
    plane.drain(False)
    assert "no longer drained" in runner.wait_until_said("runner.back")["message"]
    later = plane.dispatch(publish("print('x')", "later.py"))
    plane.wait_for(lambda: later.state == "completed", "completion of a later session")
    assert running.state == "running"
    assert runner.occurrences().count("runner.draining") == 1
    assert runner.occurrences().count("runner.back") == 1
    assert (said["executor_id"], said["reason"], said["retry_after_seconds"]) == (
        "exec_1",
        "new disks",
        0,
    )
    for clue in (
        'runner "test" is drained (new disks)',
        "no new sessions, and those that it runs go on",
        "POST /v1/runners/executors/exec_1/undrain",
        "To retire it, stop it when they have ended",
    ):
        assert clue in said["message"]


def test_a_drained_runner_asks_again_no_sooner_than_it_is_told(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    plane.drain(True, retry_after="1")
    start_runner()
    plane.wait_for(lambda: len(plane.claims) == 3, "three claims")
    assert plane.claimed_at[1] - plane.claimed_at[0] >= 1
    assert plane.claimed_at[2] - plane.claimed_at[1] >= 1


def test_with_once_a_drain_is_waited_out(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    plane.drain(True)
    session = plane.dispatch(publish("print('x')"))
    runner = start_runner("--once")
    runner.wait_until_said("runner.draining")
    asked = len(plane.claims)
    plane.wait_for(lambda: len(plane.claims) > asked, "another claim")
    assert session.state == "pending"
    plane.drain(False)
    assert runner.wait() == 0
    assert session.state == "completed"


def test_a_drained_runner_stops_without_asking_for_anything(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    plane.drain(True, retry_after="300")
    runner = start_runner()
    runner.wait_until_said("runner.draining")
    runner.signal(signal.SIGTERM)
    assert runner.wait() == 0
    assert len(plane.claims) == 1
    runner.wait_until_said("runner.stopped")


def test_a_drain_is_told_of_although_the_server_was_away_before(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    plane.away = True
    runner = start_runner()
    runner.wait_until_said("runner.waiting")
    plane.drain(True)
    plane.away = False
    runner.wait_until_said("runner.draining")
    plane.drain(False)
    told = ["runner.ready", "runner.waiting", "runner.back", "runner.draining", "runner.back"]
    plane.wait_for(lambda: len(runner.occurrences()) == len(told), "word of the drain's end")
    assert runner.occurrences() == told
