"""Clients that take their downloads slowly, or not at all: everybody else is served."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests import factories, stored
from tests.live import LiveApi, serving
from tests.people import Org

# More than a socket and what the server keeps for it can hold.
SIZE = 24 * 1024 * 1024
THREADS = 2


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
        whoami = LiveApi(url, token).get("/auth/whoami")
        assert whoami.status_code == 200
