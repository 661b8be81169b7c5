"""Which harness files are executed, and which are refused."""

import sys
from pathlib import Path
from typing import Any

import pytest

from keeptrusts_runners.runner.harness import HarnessRefused, prepare
from tests.runner.conftest import Publish, StartRunner
from tests.runner.control_plane import ControlPlane


def test_a_digest_that_does_not_match_is_refused_and_nothing_is_executed(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    revision = publish("print('executed')", image_digest=f"sha256:{'0' * 64}")
    session = plane.dispatch(revision)
    assert start_runner("--once").wait() == 1
    assert session.endings[0]["error"]["code"] == "harness_digest_mismatch"
    assert session.endings[0]["retryable"] is False
    assert session.lines("stdout") == []


def test_a_session_without_a_harness_is_failed(
    plane: ControlPlane, start_runner: StartRunner
) -> None:
    session = plane.dispatch(None)
    start_runner("--once").wait()
    assert session.endings[0]["error"]["code"] == "harness_missing"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"image_ref": "file:absent.py"}, "harness_not_found"),
        ({"image_ref": "file:../secret"}, "harness_unsupported"),
        ({"image_ref": "file:.hidden"}, "harness_unsupported"),
        ({"image_ref": "file:keeptrusts_harness.py"}, "harness_unsupported"),
        ({"image_ref": "ghcr.io/keeptrusts/runner-harness:2026.05.01"}, "harness_unsupported"),
        ({"image_ref": None}, "harness_unsupported"),
        ({"image_digest": None}, "harness_not_pinned"),
        ({"image_digest": ""}, "harness_not_pinned"),
        ({"image_digest": "sha256:é"}, "harness_digest_mismatch"),
    ],
)
def test_a_harness_that_cannot_be_verified_is_refused_by_a_code(
    change: dict[str, Any], code: str, publish: Publish, tmp_path: Path
) -> None:
    revision = publish("print('x')", **change)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(HarnessRefused) as refusal:
        prepare(revision, tmp_path / "harnesses", target)
    assert refusal.value.code == code


def test_the_copy_is_executed_and_not_the_file_it_came_from(
    publish: Publish, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    prepared = prepare(publish("print('x')"), tmp_path / "harnesses", target)
    assert prepared.command == [sys.executable, str(target / "harness.py")]
    assert (target / "keeptrusts_harness.py").is_file()


def test_without_an_entrypoint_the_file_itself_is_executed(
    plane: ControlPlane, publish: Publish, start_runner: StartRunner
) -> None:
    session = plane.dispatch(publish("#!/bin/sh\necho from a shell\n", "task.sh", entrypoint=[]))
    assert start_runner("--once").wait() == 0
    assert session.lines("stdout") == ["from a shell"]
