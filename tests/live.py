"""The product as a process of its own, on the databases and with the keys of this test run.

For tests that need real HTTP. A folder's conftest imports the fixture `live_url`; with people and
machines of tests.people, whose tokens are good there too.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

import pytest

from keeptrusts_runners import env, scratch
from tests.people import Api

START_SECONDS = 90
STOP_SECONDS = 20
_pause = threading.Event()


@pytest.fixture(scope="session")
def live_url(django_db_setup: None) -> Iterator[str]:
    """The address of a running server."""
    with serving() as url:
        yield url


def environment() -> dict[str, str]:
    """With these variables a command of the product works on this worker's database."""
    return os.environ | scratch.environment()


@contextmanager
def serving(**more: str) -> Iterator[str]:
    """The ASGI application on a free port of the loopback, until the block is left; `more` are
    environment variables.

    The server inherits a socket that listens already: nobody can take the port in between, and
    the first request waits in its backlog instead of being tried again and again.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening, tempfile.TemporaryFile() as log:
        # Inherited by connections: uvicorn takes any descriptor for a Unix socket, and an answer's
        # body would wait 40 ms for the acknowledgement of its head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        process = _start(listening, log, more)
        listening.close()
        try:
            _require_ready(url, log)
            yield url
        finally:
            _stop(process)


def _start(
    listening: socket.socket, log: IO[bytes], more: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    descriptor = listening.fileno()
    command = [sys.executable, "-m", "uvicorn", "keeptrusts_runners.asgi:application"]
    return subprocess.Popen(
        [*command, "--fd", str(descriptor), "--no-access-log", "--timeout-graceful-shutdown", "5"],
        cwd=env.BASE_DIR,
        env=environment() | more,
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _require_ready(url: str, log: IO[bytes]) -> None:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=START_SECONDS):
            return
    except urllib.error.HTTPError as error:
        said: Any = error.read()
    except OSError as error:
        said = error
    log.seek(0)
    pytest.fail(f"the server is not ready: {said!r}\n{log.read().decode(errors='replace')}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for what another process does; fails the test when it does not."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen in time"
        _pause.wait(0.05)


# --- its clients -----------------------------------------------------------------------------


@dataclass(frozen=True)
class LiveAnswer:
    """As much of a Django test response as tests ask for."""

    status_code: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class LiveApi(Api):
    """A bearer's view of a server's /v1, over one kept connection; not for several threads."""

    def __init__(self, url: str, token: str | None = None) -> None:
        super().__init__(token)
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=START_SECONDS)

    def request(
        self, method: str, path: str, body: Any = None, raw: bytes | None = None, **headers: str
    ) -> LiveAnswer:
        sent = {"Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        self.connection.request(method, f"/v1{path}", data, sent)
        answer = self.connection.getresponse()
        return LiveAnswer(answer.status, answer.headers, answer.read())
