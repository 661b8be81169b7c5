"""Child processes and ports, for the commands that start other parts of the product."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, Self

from django.core.management.base import CommandError

from keeptrusts_runners import env

GRACE_SECONDS = 10


def address(bind: str) -> tuple[str, int]:
    """HOST:PORT. Raises CommandError."""
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise CommandError(f"--bind takes HOST:PORT, not {bind!r}.")
    return host, int(port)


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


class Child:
    """A process that ends with the block it was started for: asked first, then made to."""

    def __init__(self, command: Sequence[str], log: Path | None = None) -> None:
        self.command, self.log = command, log
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
            start_new_session=True,
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


def manage(*arguments: str) -> list[str]:
    """The command line of another `manage.py` command."""
    return [sys.executable, str(env.BASE_DIR / "manage.py"), *arguments]
