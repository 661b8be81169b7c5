"""One HTTP exchange at a time over kept connections: no retries, no meaning."""

import base64
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from keeptrusts_runners.runner import VERSION

ANSWER_LIMIT = 32 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
CONNECTIONS_KEPT = 8


class Unreachable(Exception):
    """No answer came: refused, broken, timed out or aborted. If `sent`, wholly or in part, the
    request may have had its effect."""

    def __init__(self, message: str, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


@dataclass(frozen=True)
class Answer:
    """Status, lower-case headers, and the body: decoded JSON, or None when it is not JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Content:
    """A request body that can be sent again: bytes, or `length` bytes of a file from `offset`,
    which is opened for each try."""

    media_type: str
    data: bytes = b""
    path: Path | None = None
    length: int = 0
    offset: int = 0

    @classmethod
    def of_json(cls, value: Any) -> "Content":
        data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        return cls("application/json", data, length=len(data))

    @classmethod
    def of_form(cls, encoded: str) -> "Content":
        data = encoded.encode("ascii")
        return cls("application/x-www-form-urlencoded", data, length=len(data))


def content_digest(sha256: bytes) -> str:
    """The value of a ``Content-Digest`` field (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


class Transport:
    """Connections to one address; threads may share it."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http or https address: {url}")
        if parts.query or parts.fragment or parts.username:
            raise ValueError(f"an address without query, fragment and user, please: {url}")
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._secure = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._aborted = False
        self._lock = threading.Lock()

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: Content | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """One exchange. A kept connection that the server had closed is replaced silently.

        Callers send only what may arrive twice, so that this replacement is always safe.
        """
        sent = False
        while True:
            connection, kept = self._take()
            try:
                self._limit(connection, timeout or self.timeout)
                self._connect(connection)
                sent = True
                answer = self._exchange(connection, method, self._prefix + path, headers, content)
            except (OSError, http.client.HTTPException) as error:
                self._let_go(connection)
                gone = isinstance(error, ConnectionError | http.client.BadStatusLine)
                if kept and gone and not self._aborted:
                    continue
                raise Unreachable(f"{self.url}: {_reason(error)}", sent=sent) from error
            except BaseException:
                self._let_go(connection)
                raise
            self._give_back(connection)
            return answer

    @contextmanager
    def open(self, path: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """GET, with an answer to be read piece by piece, on a connection of its own. Raises
        Unreachable, also for a connection that breaks while the block reads."""
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=self.timeout)
        try:
            try:
                self._connect(connection)
                _write_request(connection, "GET", self._prefix + path, headers, None)
                response = connection.getresponse()
            except OSError as error:
                raise Unreachable(f"{self.url}: {_reason(error)}", sent=True) from error
            yield response
        # What the block itself meets, such as a full disk, is not the connection's.
        except (ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.url}: {_reason(error)}", sent=True) from error
        finally:
            self._let_go(connection)

    def abort(self) -> None:
        """From another thread: cut what waits for an answer, and send nothing from here on."""
        with self._lock:
            self._aborted = True
            for connection in self._busy:
                _cut(connection.sock)

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> tuple[http.client.HTTPConnection, bool]:
        with self._lock:
            if self._idle:
                return self._idle.pop(), True
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=self.timeout), False

    def _connect(self, connection: http.client.HTTPConnection) -> None:
        """Connect where it is not, and from here on let `abort` cut it."""
        if connection.sock is None:
            connection.connect()
        with self._lock:
            if self._aborted:
                raise ConnectionAbortedError("aborted")
            self._busy.add(connection)

    def _let_go(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._busy.discard(connection)
        connection.close()

    def _give_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if connection.sock is not None and len(self._idle) < CONNECTIONS_KEPT:
                self._busy.discard(connection)
                self._idle.append(connection)
                return
        self._let_go(connection)

    @staticmethod
    def _limit(connection: http.client.HTTPConnection, timeout: float) -> None:
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)

    @staticmethod
    def _exchange(
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: Content | None,
    ) -> Answer:
        _write_request(connection, method, path, headers, content)
        return read_answer(connection.getresponse())


def read_answer(response: http.client.HTTPResponse) -> Answer:
    """The whole of it. Raises HTTPException for one that is too long, or no JSON as it says."""
    data = response.read(ANSWER_LIMIT + 1)
    if len(data) > ANSWER_LIMIT:
        raise http.client.HTTPException(f"the answer is longer than {ANSWER_LIMIT} bytes")
    names = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, names, _decoded(data, names.get("content-type", "")))


def _write_request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    content: Content | None,
) -> None:
    """Send the request; when the server stops listening early, leave its answer to be read."""
    sent = {"Accept": "application/json", "User-Agent": f"keeptrusts-runner/{VERSION}", **headers}
    if content is not None:
        sent["Content-Type"] = content.media_type
        sent["Content-Length"] = str(content.length)
    with suppress(BrokenPipeError):
        if content is not None and content.path is not None:
            connection.request(method, path, body=_chunks(content), headers=sent)
        else:
            body = None if content is None else content.data
            connection.request(method, path, body=body, headers=sent)


def _chunks(content: Content) -> Iterator[bytes]:
    """Of its file. One that has become shorter ends the request, whose length is then wrong."""
    assert content.path is not None
    left = content.length
    with content.path.open("rb") as file:
        file.seek(content.offset)
        while left and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
    if left:
        raise http.client.HTTPException(f"{content.path.name} became shorter while it was sent")


def _cut(sock: socket.socket | None) -> None:
    """End both directions, so that whoever reads it wakes up; closing would not wake them."""
    if sock is not None:
        with suppress(OSError):
            # The plain one: that of a TLS socket takes away what the reading thread is using.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _decoded(data: bytes, content_type: str) -> Any:
    if not data or "json" not in content_type:
        return None
    try:
        return json.loads(data)
    except ValueError as error:
        raise http.client.HTTPException("the answer is not the JSON it says it is") from error


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return str(error) or type(error).__name__
