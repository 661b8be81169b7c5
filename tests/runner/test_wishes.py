"""What an answer says of the session is obeyed, whichever request it answers.

Heartbeats are so rare here that only the answer in question can have brought the wish, or the
news that the lease is over.
"""

from pathlib import Path

import pytest

from tests.runner.conftest import Publish, StartRunner, Watched
from tests.runner.control_plane import ControlPlane, FakeSession
from tests.runner.test_stopping import Watch

RARELY = 600

ACTS = {
    "an event": "session.event('x.note', 'at work')",
    "progress": "session.progress(1, 1, 'steps', 'at work')",
    "a checkpoint": "session.checkpoint({'parts': 1})",
    "an artifact": "session.upload(session.output_dir / 'a.txt', 'a.txt', 'file', 'text/plain')",
    "a grant": "session.obtain_grant('release.publish', 'r', 'because', 60)",
    "the use of a grant": "session.use_grant(grant)",
    "a line": "print('a line', flush=True)",
}

# Whatever becomes of the act, only the session can end the waiting.
HARNESS = """
    import contextlib, os, time
    from pathlib import Path
    import keeptrusts_harness

    def main(session):
        (session.output_dir / "a.txt").write_text("a")
        grant = session.obtain_grant("release.publish", "r", "because", 60)
        print(os.getpid(), flush=True)
        while not Path(session.input["go"]).exists():
            time.sleep(0.01)
        with contextlib.suppress(keeptrusts_harness.ApiError, keeptrusts_harness.Failure):
            {act}
        session.wait(600)

    keeptrusts_harness.run(main)
"""

each_act = pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())


class Act:
    """A harness that is about to act."""

    def __init__(self, plane: ControlPlane, session: FakeSession, watch: Watch, go: Path) -> None:
        plane.wait_for(lambda: session.lines("stdout"), "the harness's first line")
        self.process: Watched = watch(int(session.lines("stdout")[0]))
        self._go = go

    def happens(self) -> None:
        self._go.touch()


def about_to(act: str, plane: ControlPlane, publish: Publish, go: Path) -> FakeSession:
    revision = publish(HARNESS.replace("{act}", act))
    return plane.dispatch(revision, {"go": str(go)}, heartbeat_seconds=RARELY, lease_seconds=RARELY)


@each_act
def test_a_wish_is_obeyed_whichever_answer_brings_it(
    plane: ControlPlane,
    publish: Publish,
    start_runner: StartRunner,
    watch: Watch,
    tmp_path: Path,
    act: str,
) -> None:
    session = about_to(act, plane, publish, tmp_path / "go")
    runner = start_runner("--once")
    acting = Act(plane, session, watch, tmp_path / "go")
    plane.want(session, "cancelled")
    acting.happens()
    assert acting.process.ends()
    runner.wait()
    assert session.endings == [{"state": "cancelled"}]


@each_act
def test_a_lost_lease_ends_the_harness_whichever_answer_tells_of_it(
    plane: ControlPlane,
    publish: Publish,
    start_runner: StartRunner,
    watch: Watch,
    tmp_path: Path,
    act: str,
) -> None:
    session = about_to(act, plane, publish, tmp_path / "go")
    runner = start_runner("--slots", "1")
    acting = Act(plane, session, watch, tmp_path / "go")
    session.epoch += 1
    acting.happens()
    assert acting.process.ends()
    assert "lease_lost" in runner.wait_until_said("session.lost")["message"]
    assert session.endings == []
