"""Clients that take their downloads, or send their uploads, slowly or not at all: everybody else is
served."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from keeptrusts_runners.bridge import PATIENCE_SECONDS
from tests import factories, stored
from tests.live import LiveApi, serving
from tests.people import Org

# More than a socket and what the server keeps for it can hold.
SIZE = 24 * 1024 * 1024
THREADS = 2


def assert_served(url: str, token: str | None) -> None:
    """Before the patience with those who have stopped is over."""
    api = LiveApi(url, token)
    api.connection.timeout = PATIENCE_SECONDS * 2 // 3
    assert api.get("/auth/whoami").status_code == 200


@pytest.mark.proves("artifact.download")
def test_more_slow_downloads_than_there_are_threads_hold_up_nobody() -> None:
    org = Org()
    session = factories.running(org)
    artifact = stored.put(org, session, b"x" * SIZE, "large.bin", "application/octet-stream")
    place = "/v1" + factories.path(session, "artifacts", artifact["id"], "content")
    token = org.viewer.api.token
    with serving(KEEPTRUSTS_WEB_THREADS=str(THREADS)) as url, ExitStack() as open_ones:
        address = urlsplit(url)
        for _ in range(3 * THREADS):
            client = open_ones.enter_context(
                socket.create_connection((address.hostname, address.port), 30)
            )
            head = (
                f"GET {place} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}"
            )
            client.sendall(f"{head}\r\n\r\n".encode())
            assert client.recv(12) == b"HTTP/1.1 200"
        assert_served(url, token)


@pytest.mark.proves("artifact.whole")
def test_more_slow_uploads_than_there_are_threads_hold_up_nobody() -> None:
    org = Org()
    session = factories.running(org)
    place = "/v1" + factories.path(session, "artifacts") + "?name=slow.bin"
    token = factories.session_api(org, session).token
    with serving(KEEPTRUSTS_WEB_THREADS=str(THREADS)) as url, ExitStack() as open_ones:
        address = urlsplit(url)
        for _ in range(3 * THREADS):
            client = open_ones.enter_context(
                socket.create_connection((address.hostname, address.port), 30)
            )
            head = (
                f"POST {place} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}"
            )
            kind = f"Content-Type: application/octet-stream\r\nContent-Length: {SIZE}"
            client.sendall(f"{head}\r\n{kind}\r\n\r\n".encode() + b"x" * 100_000)
        assert_served(url, org.viewer.api.token)
