"""What only a real server shows: requests over sockets, some of which no client would send."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from django.conf import settings

from tests import factories
from tests.contract.calls import stored
from tests.people import Org

pytestmark = pytest.mark.usefixtures("server")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json", self.body
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return document


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """The address's port. The server runs in a thread, on this run's database."""
    from keeptrusts_runners.asgi import application

    config = uvicorn.Config(
        application, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="off"
    )
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    deadline = time.monotonic() + 20
    while not running.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.01)
    try:
        yield running.servers[0].sockets[0].getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def org() -> Org:
    made = Org()
    assert all((made.admin, made.operator, made.runner, made.viewer))
    return made


@pytest.fixture(scope="module")
def session(org: Org) -> str:
    return f"/v1{factories.path(factories.running(org))}"


def exchange(port: int, request: bytes, *, leave: bool = False) -> Answer | None:
    """Send these bytes and read the answer, or leave before it; None when there is none."""
    data = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(request)
            if leave:
                return None
            while (chunk := connection.recv(65536)) and not _is_whole(data := data + chunk):
                pass
        except (ConnectionResetError, BrokenPipeError):
            # Refused before all of it was sent; what had been answered may still be there.
            data += _rest(connection)
    return _parse(data) if data else None


def _rest(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def alive(port: int) -> bool:
    answer = exchange(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return answer is not None and answer.status == 200


def _is_whole(data: bytes) -> bool:
    _, found, body = data.partition(b"\r\n\r\n")
    return bool(found) and len(body) >= int(_parse(data).headers.get("content-length", 1 << 60))


def _parse(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Answer(int(first.split(" ")[1]), headers, body)


def request(
    org: Org, line: str, body: bytes = b"", *headers: str, token: str | None = None
) -> bytes:
    bearer = token if token is not None else org.admin.api.token
    lines = [
        f"{line} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {bearer}",
        "Content-Type: application/json", "Connection: close", *headers,
    ]  # fmt: skip
    if not any(header.lower().startswith(("content-length", "transfer")) for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


PROFILE = {"name": "over-http", "execution_target": "x"}


def test_a_chunked_document_is_read_whole(server: int, org: Org) -> None:
    data = json.dumps(PROFILE).encode()
    sent = request(
        org,
        "POST /v1/runners/profiles",
        chunked(data[:10], data[10:]),
        "Transfer-Encoding: chunked",
    )
    answer = exchange(server, sent)
    assert answer is not None
    assert answer.status == 201, answer
    assert json.loads(answer.body)["name"] == "over-http"


CUT = {
    "document": ("POST /v1/runners/profiles", b'{"name": "x"', ("Content-Length: 500",)),
    "raw upload": ("POST {session}/artifacts?name=a", b"x" * 100, ("Content-Length: 500",)),
    "form": (
        "POST {session}/artifacts",
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nxxx',
        ("Content-Length: 500", "Content-Type: multipart/form-data; boundary=b"),
    ),
    "lines": (
        "POST {session}/events", b'{"kind": "log"}\n',
        ("Content-Length: 500", "Content-Type: application/x-ndjson"),
    ),
    "chunks": (
        "POST /v1/runners/profiles", chunked(b'{"name": "x"', end=b""),
        ("Transfer-Encoding: chunked",),
    ),
    "token form": (
        "POST /v1/auth/token", b"grant_type=password",
        ("Content-Length: 500", "Content-Type: application/x-www-form-urlencoded"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
def test_a_client_that_goes_away_leaves_nothing(
    name: str, server: int, org: Org, session: str
) -> None:
    line, body, headers = CUT[name]
    before = stored(org)
    sent = request(org, line.format(session=session), body, *headers)
    if any(header.startswith("Content-Type") for header in headers):
        sent = sent.replace(b"Content-Type: application/json\r\n", b"")
    exchange(server, sent, leave=True)
    # The server goes on, and nothing of it is there.
    assert alive(server)
    assert stored(org) == before
    incoming = Path(settings.ARTIFACTS_DIR) / "incoming"
    deadline = time.monotonic() + 5
    while incoming.exists() and list(incoming.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not incoming.exists() or not list(incoming.iterdir())


def test_a_chunked_upload_has_to_say_its_length(server: int, org: Org, session: str) -> None:
    before = stored(org)
    for line, media_type in (
        (f"POST {session}/artifacts?name=a", "text/plain"),
        (f"POST {session}/artifacts?name=a", "multipart/form-data; boundary=b"),
        (f"POST {session}/events", "application/x-ndjson"),
    ):
        sent = request(org, line, chunked(b'{"kind": "log"}\n'), "Transfer-Encoding: chunked")
        sent = sent.replace(b"application/json", media_type.encode())
        answer = exchange(server, sent)
        assert answer is not None
        assert (answer.status, answer.problem()["code"]) == (411, "length_required")
    assert stored(org) == before


def test_a_large_upload_streams_through(server: int, org: Org, session: str) -> None:
    data = bytes(range(256)) * 8_000
    sent = request(org, f"POST {session}/artifacts?name=large", data)
    answer = exchange(server, sent.replace(b"application/json", b"application/octet-stream"))
    assert answer is not None
    assert answer.status == 201, answer
    made = json.loads(answer.body)
    assert made["sha256"] == hashlib.sha256(data).hexdigest()
    got = exchange(server, request(org, f"GET {session}/artifacts/{made['id']}/content"))
    assert got is not None
    assert hashlib.sha256(got.body).hexdigest() == made["sha256"]
    head = exchange(server, request(org, f"HEAD {session}/artifacts/{made['id']}/content"))
    assert head is not None
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(data)))


def test_10_mb_are_told_to_be_too_much(server: int, org: Org) -> None:
    before = stored(org)
    data = b'{"name": "' + b"x" * 10_000_000 + b'"}'
    answer = exchange(server, request(org, "POST /v1/runners/profiles", data))
    assert answer is not None
    assert (answer.status, answer.problem()["code"]) == (413, "payload_too_large")
    # Without a length it is cut off where it is too much; the answer may not get through.
    sent = request(org, "POST /v1/runners/profiles", chunked(data), "Transfer-Encoding: chunked")
    answer = exchange(server, sent)
    assert answer is None or answer.status == 413
    assert stored(org) == before


REPEATED = {
    "authorization": ("GET /v1/runners/sessions", "Authorization: Bearer x", {401}),
    "content type": ("POST /v1/runners/profiles", "Content-Type: text/plain", {415, 422, 400}),
    "lease epoch": ("POST {session}/heartbeat", "Lease-Epoch: 1\r\nLease-Epoch: 2", {400}),
    "idempotency key": (
        "POST /v1/runners/profiles", "Idempotency-Key: a\r\nIdempotency-Key: b", {400, 422},
    ),
    "if match": ("GET {session}", 'If-None-Match: "a"\r\nIf-None-Match: "b"', {200}),
    "request id": ("GET {session}", "X-Request-Id: a\r\nX-Request-Id: b", {200}),
    "accept": ("GET {session}", "Accept: text/html\r\nAccept: application/json", {200}),
}  # fmt: skip


@pytest.mark.parametrize("name", REPEATED)
def test_repeated_headers(name: str, server: int, org: Org, session: str) -> None:
    line, header, expected = REPEATED[name]
    before = stored(org)
    answer = exchange(server, request(org, line.format(session=session), b"{}", header))
    assert answer is not None
    assert answer.status in expected, answer
    if answer.status >= 400:
        answer.problem()
    assert stored(org) == before


SMUGGLED = {
    "two lengths": ("Content-Length: 2", "Content-Length: 40"),
    "length and chunks": ("Content-Length: 2", "Transfer-Encoding: chunked"),
    "negative length": ("Content-Length: -1",),
    "length in letters": ("Content-Length: x",),
    "a header with a blank": ("Bad Header: x", "Content-Length: 2"),
    "a folded header": ("X-Folded: a\r\n b", "Content-Length: 2"),
    "a bare CR": ("X-Cr: a\rSet-Cookie: x=1", "Content-Length: 2"),
    "a bare LF": ("X-Lf: a\nSet-Cookie: x=1", "Content-Length: 2"),
    "a NUL": ("X-Nul: a\x00b", "Content-Length: 2"),
    "no name": (": x", "Content-Length: 2"),
    "a huge header": (f"X-Huge: {'x' * 200_000}", "Content-Length: 2"),
    "3,000 headers": (*(f"X-H{number}: x" for number in range(3000)), "Content-Length: 2"),
    "a huge token": (f"Authorization: Bearer {'x' * 100_000}", "Content-Length: 2"),
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_what_a_proxy_could_read_otherwise_is_refused_or_harmless(
    name: str, server: int, org: Org
) -> None:
    before = stored(org)
    sent = request(org, "POST /v1/runners/profiles", b"{}", *SMUGGLED[name])
    answer = exchange(server, sent + b"GET /v1/members HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer is None or 400 <= answer.status < 500, answer
    if answer is not None:
        assert "set-cookie" not in answer.headers
        assert b"Traceback" not in answer.body
    assert stored(org) == before
    assert alive(server)


@pytest.mark.proves("api.no-500")
@pytest.mark.parametrize(
    "line",
    [
        "GET /v1/runners/sessions?limit=" + "1" * 70_000,
        "GET /v1/" + "x" * 70_000,
        "GET /v1/%",
        "GET /v1/%zz",
        "GET /v1/%00",
        "GET /v1/runners/sessions?%",
        "GET http://elsewhere.test/v1/runners/sessions",
        "GET //elsewhere.test/v1",
        "CONNECT localhost:80",
        "TRACE /v1/runners/sessions",
        "get /v1/runners/sessions",
        "X" * 5000 + " /v1",
        "POST /v1/runners/sessions/claim\x7f",
    ],
    ids=lambda line: line[:40],
)
def test_odd_request_lines(line: str, server: int, org: Org) -> None:
    before = stored(org)
    answer = exchange(server, request(org, line))
    assert answer is None or answer.status < 500, answer
    assert stored(org) == before


@pytest.mark.parametrize("host", ["elsewhere.test", "a b", "", "[::1", "localhost\x01", "x" * 5000])
def test_another_host_is_refused(host: str, server: int, org: Org) -> None:
    sent = request(org, "GET /v1/runners/sessions").replace(b"localhost", host.encode(), 1)
    answer = exchange(server, sent)
    assert answer is None or answer.status == 400, answer
    assert answer is None or host not in answer.body.decode() or not host


def test_request_ids_do_not_split_answers(server: int, org: Org) -> None:
    answer = exchange(
        server, request(org, "GET /v1/runners/sessions", b"", "X-Request-Id: a%0d%0ab")
    )
    assert answer is not None
    assert answer.headers["x-request-id"] != "a%0d%0ab"
    assert len(answer.headers["x-request-id"]) == 32
    assert "server" not in answer.headers or "django" not in answer.headers["server"].lower()
