"""Directories: the runner's own area, and in it one fresh workspace for each attempt."""

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from keeptrusts_runners.runner.tokens import replace_file


class AreaUnusable(Exception):
    """The work directory cannot be made, or belongs to somebody else."""


class WorkArea:
    """A private directory for the life of one runner, guarded by a file lock beside it.

    A runner that was killed leaves its area behind; the lock is then free, and the next runner
    under the same parent removes what is left.
    """

    def __init__(self, parent: Path | None) -> None:
        self._parent = parent or Path(tempfile.gettempdir(), f"keeptrusts-runner-{os.geteuid()}")
        try:
            self._parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._refuse_foreign()
            self._sweep()
            self._lock, self.path = self._make()
        except OSError as error:
            raise AreaUnusable(f"cannot use {self._parent}: {error.strerror}") from error

    def workspace(self, claim_input: Any, checkpoint: dict[str, Any] | None) -> "Workspace":
        path = Path(tempfile.mkdtemp(prefix="attempt-", dir=self.path))
        return Workspace(path, claim_input, checkpoint)

    def close(self) -> None:
        _remove(self.path)
        self._parent.joinpath(self.path.name + ".lock").unlink(missing_ok=True)
        os.close(self._lock)

    def _refuse_foreign(self) -> None:
        """Another account could have made the directory first, to read or replace what is in it."""
        facts = self._parent.lstat()
        if self._parent.is_symlink() or facts.st_uid != os.geteuid():
            raise AreaUnusable(f"{self._parent} is not a directory of this account; see --work-dir")

    def _make(self) -> tuple[int, Path]:
        # Lock first, directory second: a sweeping runner never sees a directory without a lock.
        while True:
            name = f"runner-{os.urandom(6).hex()}"
            lock = _try_lock(self._parent / f"{name}.lock")
            if lock is not None:
                path = self._parent / name
                path.mkdir(mode=0o700)
                return lock, path

    def _sweep(self) -> None:
        for file in self._parent.glob("runner-*.lock"):
            lock = _try_lock(file)
            if lock is not None:
                _remove(file.with_suffix(""))
                file.unlink(missing_ok=True)
                os.close(lock)


class Workspace:
    """The files of one attempt, removed at the end of a ``with``.

    The working directory and the output directory start empty.
    """

    def __init__(self, path: Path, session_input: Any, checkpoint: dict[str, Any] | None) -> None:
        self.path = path
        self.harness_dir = self._directory("harness")
        self.working_dir = self._directory("work")
        self.temporary_dir = self._directory("tmp")
        self.output_dir = self._directory("output")
        self.token_file = path / "session-token"
        self.input_file = path / "input.json"
        self.checkpoint_file = path / "checkpoint.json"
        self.result_file = path / "result.json"
        self.control_file = path / "control.json"
        replace_file(self.input_file, _json(session_input))
        if checkpoint is not None:
            replace_file(self.checkpoint_file, _json(checkpoint.get("data")))
        self.ask_for("running")

    def ask_for(self, desired_state: str) -> None:
        replace_file(self.control_file, _json({"desired_state": desired_state}))

    def environment(self) -> dict[str, str]:
        """The names that point a harness to its files."""
        return {
            "HOME": str(self.working_dir),
            "TMPDIR": str(self.temporary_dir),
            "KEEPTRUSTS_SESSION_TOKEN_FILE": str(self.token_file),
            "KEEPTRUSTS_INPUT_FILE": str(self.input_file),
            "KEEPTRUSTS_CHECKPOINT_FILE": str(self.checkpoint_file),
            "KEEPTRUSTS_OUTPUT_DIR": str(self.output_dir),
            "KEEPTRUSTS_RESULT_FILE": str(self.result_file),
            "KEEPTRUSTS_CONTROL_FILE": str(self.control_file),
        }

    def read_result(self) -> dict[str, Any]:
        """What the harness wrote into its result file; {} when there is none.

        Raises ValueError when the file is not a JSON object.
        """
        try:
            result = json.loads(self.result_file.read_bytes())
        except FileNotFoundError:
            return {}
        if not isinstance(result, dict):
            raise ValueError("the result file does not hold a JSON object")
        return result

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *_: object) -> None:
        _remove(self.path)

    def _directory(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(mode=0o700)
        return path


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def _try_lock(path: Path) -> int | None:
    """An open descriptor that holds the lock, or None when another process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
