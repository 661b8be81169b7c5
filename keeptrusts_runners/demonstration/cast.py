"""The processes of a demo: the server, the maintenance loop, and the reference runner."""

from __future__ import annotations

import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from django.core.management.base import CommandError

from keeptrusts_runners.demonstration.stage import Stage
from keeptrusts_runners.management.processes import Child, Kept, address, is_free, manage

START_SECONDS = 60


def free_bind(bind: str) -> str:
    """This address, or the next port that is free. Raises CommandError."""
    host, port = address(bind)
    for candidate in range(port, port + 50):
        if is_free(host, candidate):
            return f"{host}:{candidate}"
    raise CommandError(f"No port from {port} to {port + 49} is free on {host}.")


class Server:
    """The server's process: started at once, ready later."""

    def __init__(
        self, bind: str, logs: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.url = f"http://{_reachable(bind)}"
        self._log = logs / "server.log"
        self._child = Child(manage("serve", "--bind", bind, *options), self._log, environment)

    def __enter__(self) -> Self:
        self._child.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._child.__exit__(*error)

    @property
    def pid(self) -> int:
        return self._child.process.pid

    def has_ended(self) -> bool:
        return self._child.has_ended()

    def wait_until_ready(self) -> None:
        """Raises CommandError when it does not come up."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self.has_ended():
            if _is_ready(self.url):
                return
            time.sleep(0.05)
        raise CommandError(f"The server did not come up; {self._log} says why.")


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def _reachable(bind: str) -> str:
    """Where to speak to what listens on every address."""
    host, port = address(bind)
    everywhere = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104  (read, not listened on)
    return f"{everywhere.get(host, host)}:{port}"


def maintenance(logs: Path) -> Kept:
    """The loop that expires what is overdue."""
    return Kept(manage("maintain"), logs / "maintenance.log")


def runner(stage: Stage, url: str, profiles: list[str], slots: int, logs: Path) -> Child:
    """The reference runner, as anybody would start it."""
    command = [
        sys.executable, "-m", "keeptrusts_runners.runner",
        "--url", url,
        "--client-id", stage.client_id,
        "--client-secret-file", str(stage.client_secret_file),
        "--name", "demo-runner",
        "--slots", str(slots),
        "--egress",
    ]  # fmt: skip
    for profile in profiles:
        command += ["--profile", profile]
    return Child(command, logs / "runner.log")
