"""A session from claim to ending, executed by a real runner process."""

import json
from pathlib import Path

from tests.runner.conftest import Publish, StartRunner
from tests.runner.control_plane import ControlPlane

TELLS_ITS_WORLD = """
    import json, os, sys
    from pathlib import Path

    env = dict(os.environ)
    print("hello")
    print("careful", file=sys.stderr)
    Path(env["KEEPTRUSTS_OUTPUT_DIR"], "report.log").write_text("all well")
    seen = {
        "env": sorted(env),
        "input": json.load(open(env["KEEPTRUSTS_INPUT_FILE"])),
        "epoch": env["KEEPTRUSTS_LEASE_EPOCH"],
        "session": env["KEEPTRUSTS_SESSION_ID"],
        "checkpoint": os.path.exists(env["KEEPTRUSTS_CHECKPOINT_FILE"]),
        "token_mode": oct(os.stat(env["KEEPTRUSTS_SESSION_TOKEN_FILE"]).st_mode & 0o777),
        "working_dir": os.listdir("."),
        "leads_its_group": os.getpgrp() == os.getpid() == os.getsid(0),
    }
    Path(env["KEEPTRUSTS_RESULT_FILE"]).write_text(json.dumps({"result": seen}))
"""


def test_a_session_runs_to_completion_with_result_output_and_artifacts(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish(TELLS_ITS_WORLD), {"job": "look"})
    runner = start_runner("--once", "--pass-env", "PASSED_ON", PASSED_ON="yes", HIDDEN="no")
    assert runner.wait() == 0
    assert session.state == "completed"
    result = session.endings[0]["result"]
    assert result["input"] == {"job": "look"}
    assert (result["epoch"], result["session"]) == ("1", session.id)
    assert result["checkpoint"] is False
    assert result["token_mode"] == "0o600"
    assert result["working_dir"] == []
    assert result["leads_its_group"] is True
    assert session.lines("stdout") == ["hello"]
    assert session.lines("stderr") == ["careful"]
    assert session.artifact("report.log") == b"all well"
    assert session.artifacts[0]["kind"] == "log"


def test_a_harness_sees_only_the_variables_it_was_given(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish(TELLS_ITS_WORLD))
    start_runner("--once", "--pass-env", "PASSED_ON", PASSED_ON="yes", HIDDEN="no").wait()
    names = session.endings[0]["result"]["env"]
    assert "PASSED_ON" in names
    own = {"HOME", "LANG", "LC_CTYPE", "PASSED_ON", "PATH", "TMPDIR"}
    assert [name for name in names if not name.startswith("KEEPTRUSTS_")] == sorted(
        own & set(names)
    )


def test_nothing_of_an_attempt_stays_on_disk(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, tmp_path: Path
) -> None:
    plane.dispatch(publish(TELLS_ITS_WORLD))
    start_runner("--once").wait()
    assert list((tmp_path / "work").iterdir()) == []


def test_the_ledger_learns_which_bytes_were_executed(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    revision = publish("print('x')")
    session = plane.dispatch(revision)
    start_runner("--once").wait()
    started = next(e for e in session.events if e["kind"] == "x.runner.harness_started")
    assert started["data"]["image_digest"] == revision["image_digest"]
    assert started["data"]["helper_digest"].startswith("sha256:")


def test_a_failing_harness_is_reported_in_its_own_words(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(
        publish(
            """
            import keeptrusts_harness

            def main(session):
                raise keeptrusts_harness.Failure("no_ink", "the printer is empty", retryable=True)

            keeptrusts_harness.run(main)
            """
        )
    )
    assert start_runner("--once").wait() == 1
    assert session.endings == [
        {
            "state": "failed",
            "error": {"code": "no_ink", "message": "the printer is empty"},
            "retryable": True,
        }
    ]


def test_a_crashing_harness_is_reported_with_its_last_words(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish("raise ValueError('seven is odd')"))
    start_runner("--once").wait()
    assert session.endings[0]["error"] == {
        "code": "harness_failed",
        "message": "exit status 1: ValueError: seven is odd",
    }
    assert session.endings[0]["retryable"] is False


def test_a_command_that_does_not_exist_is_reported_as_not_started(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish("", entrypoint=["no-such-program", "{harness}"]))
    start_runner("--once").wait()
    assert session.endings[0]["error"]["code"] == "harness_not_started"
    assert "no-such-program" in session.endings[0]["error"]["message"]


def test_a_result_that_the_server_refuses_fails_the_session(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    plane.refuse_result = True
    session = plane.dispatch(publish("print('x')"))
    assert start_runner("--once").wait() == 1
    assert session.endings[0]["error"]["code"] == "result_refused"


def test_two_slots_execute_two_sessions_at_the_same_time(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    revision = publish(
        """
        import keeptrusts_harness

        def main(session):
            session.progress(0, 1, "steps", "waiting to be stopped")
            session.wait(60)

        keeptrusts_harness.run(main)
        """
    )
    first, second = plane.dispatch(revision), plane.dispatch(revision)
    start_runner("--slots", "2")
    plane.wait_for(lambda: first.progress and second.progress, "both sessions at work")


def test_the_demo_report_fails_with_its_reason(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, demo_harnesses: Path
) -> None:
    session = plane.dispatch(publish(demo_harnesses / "flaky_report.py"))
    start_runner("--once").wait()
    assert session.endings[0]["error"]["code"] == "report_source_unreachable"


def test_a_harness_waits_for_its_approval_and_then_finishes(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, demo_harnesses: Path
) -> None:
    plane.grants_become = "requested"
    session = plane.dispatch(publish(demo_harnesses / "needs_approval.py"))
    runner = start_runner("--once")
    plane.wait_for(lambda: plane.requested("/permissions") > 2, "a wait for the decision")
    assert session.grants[0]["uses"] == 0
    session.grants[0]["state"] = "active"
    assert runner.wait() == 0
    assert session.grants[0]["uses"] == 1


def test_a_denied_grant_ends_the_session_with_a_clear_code(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner, demo_harnesses: Path
) -> None:
    plane.grants_become = "denied"
    session = plane.dispatch(publish(demo_harnesses / "needs_approval.py"))
    start_runner("--once").wait()
    assert session.endings[0]["error"]["code"] == "grant_denied"
    assert json.dumps(session.endings).count("release.publish") == 1
