"""The demo's task on real files: the grant it needs, the bundle it makes, and how it resumes."""

import hashlib
import io
import json
import signal
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.runner.conftest import Publish, StartRunner
from tests.runner.control_plane import ControlPlane, FakeSession


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Forty files in a few directories, some of them not to be collected."""
    root = tmp_path / "project"
    for number in range(40):
        path = root / f"part-{number % 4}" / f"file-{number:02}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content {number}\n" * number)
    for skipped in (".git", ".venv", "part-0/__pycache__"):
        (root / skipped).mkdir(parents=True)
        (root / skipped / "skipped").write_text("not this")
    (root / "manifest.json").write_text("a file that has this name already")
    (root / "link").symlink_to("/etc/passwd")
    return root


@pytest.fixture
def revision(publish: Publish, demo_harnesses: Path) -> dict[str, Any]:
    return publish(demo_harnesses / "collect_artifacts.py", "collect_artifacts.py")


def wanted(root: Path) -> dict[str, str]:
    """Path → SHA-256 of everything that belongs into the bundle."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.name not in ("skipped", "link")
    }


def unpacked(session: FakeSession) -> dict[str, str]:
    """Path → SHA-256 of everything in the stored parts."""
    found = {}
    for artifact in session.artifacts:
        if artifact["kind"] == "bundle":
            with tarfile.open(fileobj=io.BytesIO(artifact["bytes"])) as archive:
                for member in archive.getmembers():
                    if member.name.startswith("files/"):
                        file = archive.extractfile(member)
                        assert file is not None
                        name = member.name.removeprefix("files/")
                        assert name not in found, "packed twice"
                        found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


def job(root: Path, **more: Any) -> dict[str, Any]:
    return {"job": "collect-artifacts", "root": str(root), "checkpoint_every": 10, **more}


def test_every_file_is_packed_and_named_in_the_manifest(
    plane: ControlPlane, start_runner: StartRunner, revision: dict[str, Any], root: Path
) -> None:
    session = plane.dispatch(revision, job(root))
    assert start_runner("--once").wait() == 0
    manifest = json.loads(session.artifact("manifest.json"))
    assert {entry["path"]: entry["sha256"] for entry in manifest["files"]} == wanted(root)
    assert unpacked(session) == wanted(root)
    assert session.endings[0]["result"]["file_count"] == 41
    assert session.progress is not None
    assert session.progress["current"] == session.progress["total"] == 41
    steps = [e["step"] for e in session.events if e["kind"] == "step.finished"]
    assert steps == ["walk", "permission", "collect"]
    assert [len(c["data"]["parts"]) for c in session.checkpoints] == [1, 2, 3, 4, 5]
    for part in manifest["parts"]:
        assert hashlib.sha256(session.artifact(part["name"])).hexdigest() == part["sha256"]


def test_the_read_is_asked_for_and_its_use_recorded(
    plane: ControlPlane, start_runner: StartRunner, revision: dict[str, Any], root: Path
) -> None:
    session = plane.dispatch(revision, job(root))
    start_runner("--once").wait()
    [grant] = session.grants
    assert grant["operation"] == f"filesystem.read:{root}"
    assert grant["uses"] >= 1


@pytest.mark.parametrize("decision", ["denied", "lapsed"])
def test_nothing_is_read_without_the_grant(
    plane: ControlPlane,
    start_runner: StartRunner,
    revision: dict[str, Any],
    root: Path,
    decision: str,
) -> None:
    plane.grants_become = decision
    session = plane.dispatch(revision, job(root))
    start_runner("--once").wait()
    assert session.endings[0]["error"]["code"] == f"grant_{decision}"
    assert session.artifacts == []


def test_a_revoked_grant_ends_the_collection_at_the_next_part(
    plane: ControlPlane, start_runner: StartRunner, revision: dict[str, Any], root: Path
) -> None:
    session = plane.dispatch(revision, job(root, pause_ms=30))
    runner = start_runner("--once")
    plane.wait_for(lambda: session.grants and session.grants[0]["uses"] == 1, "the first use")
    session.grants[0]["state"] = "revoked"
    runner.wait()
    assert session.endings[0]["error"]["code"] == "grant_refused"
    assert len(unpacked(session)) < 41


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_collection_resumes_after_the_last_checkpoint(
    plane: ControlPlane,
    start_runner: StartRunner,
    revision: dict[str, Any],
    root: Path,
    number: signal.Signals,
) -> None:
    session = plane.dispatch(revision, job(root, pause_ms=20), max_attempts=2)
    first = start_runner()
    plane.wait_for(lambda: len(session.checkpoints) >= 2, "two checkpoints")
    first.signal(number)
    first.wait()
    if number == signal.SIGKILL:
        plane.end_lease(session)
    assert start_runner("--once").wait() == 0
    resumed = [e["message"] for e in session.events if e["message"].startswith("Resumed after")]
    assert len(resumed) == 1
    manifest = json.loads(session.artifact("manifest.json"))
    assert {entry["path"]: entry["sha256"] for entry in manifest["files"]} == wanted(root)
    assert session.epoch == 2


def test_the_same_files_make_the_same_bundle(
    plane: ControlPlane, start_runner: StartRunner, revision: dict[str, Any], root: Path
) -> None:
    first, second = (plane.dispatch(revision, job(root)) for _ in range(2))
    start_runner()
    plane.wait_for(lambda: second.state == "completed", "both sessions")
    assert [a["sha256"] for a in first.artifacts if a["kind"] == "bundle"] == [
        a["sha256"] for a in second.artifacts if a["kind"] == "bundle"
    ]


def test_a_root_that_is_not_there_is_said_clearly(
    plane: ControlPlane, start_runner: StartRunner, revision: dict[str, Any], tmp_path: Path
) -> None:
    session = plane.dispatch(revision, job(tmp_path / "absent"))
    start_runner("--once").wait()
    assert session.endings[0]["error"]["code"] == "bad_input"
