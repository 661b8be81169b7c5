"""Child processes, signals and ports, for commands that start other parts of the product."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Self

import structlog
from django.core.management.base import CommandError

from keeptrusts_runners import env

log = structlog.get_logger(__name__)

GRACE_SECONDS = 10
RESTART_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


def address(bind: str) -> tuple[str, int]:
    """HOST:PORT. Raises CommandError."""
    try:
        return env.split_bind(bind)
    except ValueError:
        raise CommandError(f"--bind takes HOST:PORT, not {bind!r}.") from None


def is_free(host: str, port: int) -> bool:
    """May this address be listened on?"""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError:
            return False
    return True


class UntilStopped:
    """SIGTERM and Ctrl-C leave the block, through every `with` inside it, and end it quietly."""

    def __enter__(self) -> Self:
        numbers = (signal.SIGTERM, signal.SIGINT)
        self._before = {n: signal.signal(n, signal.default_int_handler) for n in numbers}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return kind is KeyboardInterrupt


class Child:
    """A process that ends with the block it was started for: asked first, then made to.

    Where the kernel can (Linux), it is also killed when the thread that entered the block is gone
    without leaving it, as after kill -9.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` is added to our own."""
        self.command, self.log, self._environment = command, log, environment
        self._output: IO[bytes] | None = None

    def __enter__(self) -> Self:
        if self.log is not None:
            self._output = self.log.open("ab")
        # A session of its own: Ctrl-C reaches the parent alone, which stops its children in order.
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output and subprocess.STDOUT,
            cwd=env.BASE_DIR,
            env=self._environment and {**os.environ, **self._environment},
            start_new_session=True,
            preexec_fn=_dies_with(os.getpid()),
        )
        return self

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def __exit__(self, *_: object) -> None:
        if not self.has_ended():
            self.process.terminate()
            try:
                self.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._output is not None:
            self._output.close()


def _dies_with(parent: int) -> Callable[[], None]:
    """What the child runs before it becomes the program."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def bind() -> None:
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return bind


class Kept:
    """A child process that is started again whenever it ends, until the block is left."""

    def __init__(self, command: Sequence[str], log: Path | None = None) -> None:
        self._command, self._log = command, log
        self._leaving = threading.Event()
        # One thread for all of them: a child lives no longer than the thread that started it.
        self._thread = threading.Thread(target=self._keep, name="child", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self._thread.join()

    def _keep(self) -> None:
        while not self._leaving.is_set():
            with Child(self._command, self._log) as child:
                while not child.has_ended() and not self._leaving.wait(0.2):
                    pass
            if not self._leaving.wait(RESTART_SECONDS):
                log.warning("child.restarted", command=self._command[-1])


def manage(*arguments: str) -> list[str]:
    """The command line of another `manage.py` command."""
    return [sys.executable, str(env.BASE_DIR / "manage.py"), *arguments]
