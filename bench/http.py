"""A lasting connection, as thin as can be: the load must not cost what it measures."""

from __future__ import annotations

import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 60
# The server closes what was idle for five seconds, as while the others had their turns.
IDLE_SECONDS = 3


class Http:
    """Requests one after the other. Raises OSError, and Refused for another status than 2xx."""

    def __init__(self, url: str, token: str = "") -> None:
        self._address, self._token = urlsplit(url), token
        self._connect()

    def _connect(self) -> None:
        address = self._address.hostname, self._address.port
        self._socket = socket.create_connection(address, TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._used, self._received = time.monotonic(), b""

    def post(self, path: str, body: Any, token: str = "") -> Any:
        """The answer's JSON; None when it has none. `token` in place of the connection's own."""
        content = self._answer("POST", path, json.dumps(body).encode(), token)
        return json.loads(content) if content else None

    def delete(self, path: str, token: str = "") -> None:
        """`token` in place of the connection's own."""
        self._answer("DELETE", path, b"", token)

    def get(self, path: str) -> bytes:
        """The answer as it comes."""
        return self._answer("GET", path, b"", "")

    def _answer(self, method: str, path: str, content: bytes, token: str) -> bytes:
        if time.monotonic() - self._used > IDLE_SECONDS:
            self._socket.close()
            self._connect()
        self._used = time.monotonic()
        head = headers(self._address.netloc, token or self._token)
        self._socket.sendall(request(path, head, content, method))
        head = self._read_until(b"\r\n\r\n")
        status, length = status_and_length(head)
        content = self._read(length)
        if not 200 <= status < 300:
            raise Refused(f"{path}: {status} {content.decode(errors='replace')}")
        return content

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._receive()
        found, _, self._received = self._received.partition(end)
        return found

    def _read(self, length: int) -> bytes:
        while len(self._received) < length:
            self._receive()
        found, self._received = self._received[:length], self._received[length:]
        return found

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self._received += data


class Refused(Exception):
    """What was measured is not what was meant."""


def headers(host: str, token: str) -> bytes:
    lines = (f"Host: {host}", f"Authorization: Bearer {token}", "Content-Type: application/json")
    return "\r\n".join(lines).encode()


def request(path: str, head: bytes, content: bytes, method: str = "POST") -> bytes:
    return b"%s %s HTTP/1.1\r\n%s\r\nContent-Length: %d\r\n\r\n%s" % (
        method.encode(), path.encode(), head, len(content), content,
    )  # fmt: skip


def status_and_length(head: bytes) -> tuple[int, int]:
    """Of an answer's head; without a length it has no content."""
    first, *lines = head.split(b"\r\n")
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(first.split()[1]), int(value)
    return int(first.split()[1]), 0
