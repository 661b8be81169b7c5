"""A control plane to talk to, harnesses to execute, and the runner as a real process."""

import ctypes
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runner.control_plane import CLIENT, DEADLINE, ControlPlane, control_plane

ROOT = Path(__file__).parents[2]

Publish = Callable[..., dict[str, Any]]
StartRunner = Callable[..., "RunnerProcess"]


class RunnerProcess:
    """``python -m keeptrusts_runners.runner --json`` and what it says."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "keeptrusts_runners.runner", "--json", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._said: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_until_said(self, event: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((item for item in self._said if item["event"] == event), None)

        with self._changed:
            said = self._changed.wait_for(found, DEADLINE)
        assert said, f"the runner never said {event}: {self._said}"
        return said

    def occurrences(self) -> list[str]:
        return [item["event"] for item in self._said]

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def signal_another_thread(self, number: int) -> None:
        """Not the main one, which the kernel takes where it can."""
        pid = self._process.pid
        other = next(
            tid for each in Path(f"/proc/{pid}/task").iterdir() if (tid := int(each.name)) != pid
        )
        assert ctypes.CDLL(None).tgkill(pid, other, number) == 0

    def wait(self) -> int:
        """The exit status."""
        return self._process.wait(DEADLINE)

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self._process.pid}/task").iterdir()))

    def errors(self) -> str:
        """What it wrote to stderr until its end."""
        self._process.wait(DEADLINE)
        assert self._process.stderr is not None
        return self._process.stderr.read()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._changed:
                    self._said.append(json.loads(line))
                    self._changed.notify_all()


class Watched:
    """A running process, named by its id, whose end can be waited for."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    def ends(self, seconds: float = DEADLINE) -> bool:
        return bool(select.select([self._handle], [], [], seconds)[0])

    def close(self) -> None:
        os.close(self._handle)


@pytest.fixture
def demo_harnesses() -> Path:
    return ROOT / "keeptrusts_runners" / "runner" / "harnesses"


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with control_plane() as plane:
        yield plane


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """Writes a harness file and answers its revision; `source` is Python, or a file to copy."""

    def publish(source: str | Path, name: str = "harness.py", **facts: Any) -> dict[str, Any]:
        text = source.read_text() if isinstance(source, Path) else textwrap.dedent(source)
        folder = tmp_path / "harnesses"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(text)
        return {
            "id": "harn_1",
            "version": "1",
            "image_ref": f"file:{name}",
            "image_digest": f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
            "entrypoint": ["{python}", "{harness}"],
            **facts,
        }

    return publish


@pytest.fixture
def start_runner(plane: ControlPlane, tmp_path: Path) -> Iterator[StartRunner]:
    """Starts runners; what still runs at the end of the test is killed."""
    started: list[RunnerProcess] = []
    secret = tmp_path / "secret"
    secret.write_text(CLIENT[1] + "\n")
    (tmp_path / "harnesses").mkdir(exist_ok=True)

    def start(*more: str, **environment: str) -> RunnerProcess:
        arguments = ["--url", plane.url, "--client-id", CLIENT[0], "--poll-seconds", "0.1"]
        arguments += ["--client-secret-file", str(secret), "--name", "test"]
        arguments += ["--harness-dir", str(tmp_path / "harnesses")]
        arguments += ["--work-dir", str(tmp_path / "work")]
        runner = RunnerProcess([*arguments, *more], environment)
        started.append(runner)
        return runner

    yield start
    for runner in started:
        runner.close()


@pytest.fixture
def watch() -> Iterator[Callable[[int], Watched]]:
    """Watches processes; one that is still there at the end of the test is killed."""
    watched: list[Watched] = []

    def watch(pid: int) -> Watched:
        process = Watched(pid)
        watched.append(process)
        return process

    yield watch
    for process in watched:
        if not process.ends(0):
            os.kill(process.pid, signal.SIGKILL)
        process.close()
