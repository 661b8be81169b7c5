"""One harness process under its guard: start, ask to stop, kill, and how it ended."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO

_KILLED_WITHIN = 10.0


@dataclass(frozen=True)
class Exit:
    """How a harness ended: an exit status, a signal, or an error that kept it from starting."""

    status: int | None = None
    signal: int | None = None
    error: str | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return f"it could not be started: {self.error}"
        if self.signal is not None:
            return f"killed by {_signal_name(self.signal)}"
        return f"exit status {self.status}"


class HarnessProcess:
    """A running harness. `on_exit` is called from another thread once nothing of it is left."""

    def __init__(
        self,
        command: list[str],
        working_dir: Path,
        environment: Mapping[str, str],
        on_exit: Callable[[], None],
    ) -> None:
        guard = resources.files(__package__).joinpath("guard.py").read_text("utf-8")
        orders, self._orders = os.pipe()
        reports, told = os.pipe()
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", guard, str(orders), str(told), *command],
                cwd=working_dir,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(orders, told),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._orders)
            os.close(reports)
            raise
        finally:
            os.close(orders)
            os.close(told)
        assert self._guard.stdout is not None
        assert self._guard.stderr is not None
        self.stdout: IO[bytes] = self._guard.stdout
        self.stderr: IO[bytes] = self._guard.stderr
        self.pid: int | None = None
        self._exit: Exit | None = None
        self._on_exit = on_exit
        self._watcher = threading.Thread(target=self._watch, args=(reports,), daemon=True)
        self._watcher.start()

    @property
    def exit(self) -> Exit | None:
        """None while it runs."""
        return self._exit

    def ask_to_stop(self) -> None:
        """SIGTERM to the process group."""
        self._order(b"T")

    def kill(self) -> None:
        """SIGKILL to the process group and to whatever left it."""
        self._order(b"K")

    def close(self) -> None:
        """End it, if it has not ended, and let go of the guard."""
        self.kill()
        self._watcher.join(_KILLED_WITHIN)
        os.close(self._orders)

    def _order(self, order: bytes) -> None:
        with suppress(BrokenPipeError):
            os.write(self._orders, order)

    def _watch(self, reports: int) -> None:
        ended = None
        with os.fdopen(reports, "rb") as lines:
            for line in lines:
                report = json.loads(line)
                if "pid" in report:
                    self.pid = report["pid"]
                else:
                    ended = ended or _exit_of(report)
        self._guard.wait()
        if ended is None:
            ended = self._guard_died()
        self._exit = ended
        self._on_exit()

    def _guard_died(self) -> Exit:
        """The kernel killed the harness with its guard; its group is ours to end."""
        if self.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return Exit(signal=signal.SIGKILL)


def _exit_of(report: dict[str, int | str]) -> Exit:
    if "error" in report:
        return Exit(error=str(report["error"]))
    if "signal" in report:
        return Exit(signal=int(report["signal"]))
    return Exit(status=int(report["exit"]))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
