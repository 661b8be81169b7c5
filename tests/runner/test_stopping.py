"""Every way an execution is cut short: by its owner, by a lost lease, by the runner's own end."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runner.conftest import Publish, StartRunner, Watched
from tests.runner.control_plane import ControlPlane, FakeSession

Watch = Callable[[int], Watched]

WAITS_WITH_A_CHILD = """
    import os, subprocess, sys
    import keeptrusts_harness

    def main(session):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        print(os.getpid(), child.pid, flush=True)
        try:
            session.wait(600)
        except keeptrusts_harness.Stopped:
            session.checkpoint({"stopped": True})
            raise

    keeptrusts_harness.run(main)
"""

STUBBORN = """
    import os, signal, subprocess, sys, time

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hides = "import os, time; os.setsid(); print('hidden', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", hides], stdout=subprocess.PIPE)
    child.stdout.readline()
    print(os.getpid(), child.pid, flush=True)
    time.sleep(600)
"""


def processes_of(plane: ControlPlane, session: FakeSession, watch: Watch) -> list[Watched]:
    """The processes whose ids the harness printed."""
    plane.wait_for(lambda: session.lines("stdout"), "the harness's first line")
    return [watch(int(pid)) for pid in session.lines("stdout")[0].split()]


def test_a_cancel_stops_the_process_group_and_is_acknowledged(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, watch: Watch
) -> None:
    session = plane.dispatch(publish(WAITS_WITH_A_CHILD))
    runner = start_runner("--once")
    processes = processes_of(plane, session, watch)
    plane.want(session, "cancelled")
    assert all(process.ends() for process in processes)
    assert runner.wait() == 1
    assert session.endings == [{"state": "cancelled"}]


def test_a_pause_is_acknowledged_after_a_last_checkpoint(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, watch: Watch
) -> None:
    session = plane.dispatch(publish(WAITS_WITH_A_CHILD))
    runner = start_runner("--once")
    processes = processes_of(plane, session, watch)
    plane.want(session, "paused")
    assert all(process.ends() for process in processes)
    runner.wait()
    assert session.endings == [{"state": "paused"}]
    assert session.checkpoints[0]["data"] == {"stopped": True}


def test_a_pause_withdrawn_before_its_acknowledgement_lets_the_harness_go_on(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(
        publish(
            """
            import keeptrusts_harness

            def main(session):
                if session.checkpoint_data:
                    return {"went_on": True}
                session.progress(0, 1, "steps", "at work")
                try:
                    session.wait(600)
                except keeptrusts_harness.Stopped:
                    session.checkpoint({"half": True})
                    raise

            keeptrusts_harness.run(main)
            """
        )
    )
    runner = start_runner("--once")
    plane.wait_for(lambda: session.progress, "the harness at work")
    plane.want(session, "paused")
    plane.wait_for(lambda: session.checkpoints, "the last checkpoint")
    plane.want(session, "running")
    runner.wait()
    # The pause may have been acknowledged before it was withdrawn; both are right.
    assert session.endings in (
        [{"state": "completed", "result": {"went_on": True}}],
        [{"state": "paused"}],
    )


def test_a_harness_that_does_not_stop_is_killed_with_all_its_descendants(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, watch: Watch
) -> None:
    session = plane.dispatch(publish(STUBBORN))
    runner = start_runner("--once", "--stop-grace-seconds", "0.3")
    processes = processes_of(plane, session, watch)
    plane.want(session, "cancelled")
    assert all(process.ends() for process in processes)
    runner.wait()
    assert session.endings == [{"state": "cancelled"}]


@pytest.mark.proves("run.runner")
def test_a_lost_lease_kills_the_harness_and_reports_nothing(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, watch: Watch
) -> None:
    session = plane.dispatch(publish(STUBBORN))
    runner = start_runner("--slots", "1")
    processes = processes_of(plane, session, watch)
    events = len(session.events)
    session.epoch += 1
    assert all(process.ends() for process in processes)
    runner.wait_until_said("session.lost")
    assert session.endings == []
    assert len(session.events) == events


def test_a_lease_that_cannot_be_confirmed_in_time_counts_as_lost(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, watch: Watch
) -> None:
    session = plane.dispatch(publish(STUBBORN), lease_seconds=1.0)
    runner = start_runner()
    processes = processes_of(plane, session, watch)
    plane.away = True
    assert all(process.ends() for process in processes)
    assert "whole lease" in runner.wait_until_said("session.lost")["message"]


def test_sigterm_to_the_runner_reports_a_retryable_failure(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, watch: Watch
) -> None:
    session = plane.dispatch(publish(WAITS_WITH_A_CHILD), max_attempts=2)
    runner = start_runner()
    processes = processes_of(plane, session, watch)
    runner.signal(signal.SIGTERM)
    assert runner.wait() == 0
    assert all(process.ends() for process in processes)
    assert session.endings[0]["error"]["code"] == "runner_stopped"
    assert session.endings[0]["retryable"] is True
    assert session.checkpoints[0]["data"] == {"stopped": True}
    assert session.state == "pending"


def test_a_second_signal_kills_at_once_and_reports_nothing(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, watch: Watch
) -> None:
    session = plane.dispatch(publish(STUBBORN))
    runner = start_runner()
    processes = processes_of(plane, session, watch)
    runner.signal(signal.SIGINT)
    runner.wait_until_said("session.stopping")
    runner.signal(signal.SIGINT)
    assert runner.wait() == 128 + signal.SIGINT
    assert all(process.ends() for process in processes)
    assert session.endings == []


def test_the_harness_dies_with_a_runner_that_is_killed(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, watch: Watch
) -> None:
    session = plane.dispatch(publish(STUBBORN))
    runner = start_runner()
    processes = processes_of(plane, session, watch)
    runner.signal(signal.SIGKILL)
    assert all(process.ends() for process in processes)


def test_a_new_runner_removes_what_a_killed_one_left(
    plane: ControlPlane,
    publish: Publish,
    start_runner: StartRunner,
    watch: Watch,
    tmp_path: Path,
) -> None:
    session = plane.dispatch(publish(STUBBORN))
    killed = start_runner()
    processes = processes_of(plane, session, watch)
    killed.signal(signal.SIGKILL)
    killed.wait()
    assert all(process.ends() for process in processes)
    left = set((tmp_path / "work").iterdir())
    assert left
    start_runner().wait_until_said("runner.ready")
    assert not left & set((tmp_path / "work").iterdir())


def test_a_patient_harness_goes_on_where_it_was_stopped(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, demo_harnesses: Path
) -> None:
    revision = publish(demo_harnesses / "patient.py")
    session = plane.dispatch(revision, {"seconds": 2}, max_attempts=2)
    first = start_runner()
    plane.wait_for(lambda: session.progress and session.progress["current"] >= 1, "progress")
    first.signal(signal.SIGTERM)
    first.wait()
    assert session.checkpoints[-1]["data"]["elapsed"] >= 1
    start_runner("--once").wait()
    assert session.endings[-1] == {"state": "completed", "result": {"seconds": 2}}
    assert session.epoch == 2
