"""The processes of a demo: the server with its maintenance loop, and the reference runner."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.core.management.base import CommandError

from keeptrusts_runners.demonstration.stage import Stage
from keeptrusts_runners.management.processes import Child, address, is_free, manage

START_SECONDS = 60


def free_bind(bind: str) -> str:
    """This address, or the next port that is free. Raises CommandError."""
    host, port = address(bind)
    for candidate in range(port, port + 50):
        if is_free(host, candidate):
            return f"{host}:{candidate}"
    raise CommandError(f"No port from {port} to {port + 49} is free on {host}.")


@contextmanager
def server(bind: str, logs: Path) -> Iterator[str]:
    """A running server and maintenance loop; yields its address when it is ready."""
    log = logs / "server.log"
    with Child(manage("serve", "--bind", bind, "--maintain"), log) as child:
        url = f"http://{bind}"
        _wait_until_ready(url, child, log)
        yield url


def _wait_until_ready(url: str, child: Child, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and not child.has_ended():
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise CommandError(f"The server did not come up; {log} says why.")


def runner(stage: Stage, url: str, profiles: list[str], slots: int, logs: Path) -> Child:
    """The reference runner, as anybody would start it."""
    command = [
        sys.executable, "-m", "keeptrusts_runners.runner",
        "--url", url,
        "--client-id", stage.client_id,
        "--client-secret-file", str(stage.client_secret_file),
        "--name", "demo-runner",
        "--slots", str(slots),
        "--poll-seconds", "0.5",
    ]  # fmt: skip
    for profile in profiles:
        command += ["--profile", profile]
    return Child(command, logs / "runner.log")
