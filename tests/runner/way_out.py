"""A server to reach, and a client on the proxy of a harness that a real runner executes."""

import base64
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.runner.conftest import Publish, RunnerProcess, StartRunner
from tests.runner.control_plane import DEADLINE, ControlPlane, FakeSession

# Says where its proxy is, so that the test is the client that goes through it.
SAYS_ITS_PROXY = """
    import os
    import keeptrusts_harness

    def main(session):
        print(os.environ["HTTP_PROXY"], flush=True)
        session.wait(600)

    keeptrusts_harness.run(main)
"""


class Site:
    """Answers GET and POST; below ``/endless`` with bytes that never end. `requests` are the
    request lines, the fields and the body of each. With `tls` it is spoken to by HTTPS."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fields = {name.lower(): value for name, value in self.headers.items()}
                site.requests.append((self.requestline, fields, body))
                self.send_response(200)
                if self.path != "/endless":
                    self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"hello")
                with suppress(OSError):
                    while self.path == "/endless":
                        self.wfile.write(b"." * 4096)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def operation(self) -> str:
        return f"network.egress:{self.place}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE)


class Proxy:
    """The proxy of one attempt, as a client sees it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        pair = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        self.address = (parts.hostname, parts.port)
        self.password = f"Proxy-Authorization: Basic {pair}\r\n"

    @contextmanager
    def connection(self, data: bytes = b"") -> Iterator[socket.socket]:
        with socket.create_connection(self.address, DEADLINE) as sock:
            with suppress(ConnectionError):  # refused before all of it was sent
                sock.sendall(data)
            yield sock

    def answer(self, data: bytes) -> str:
        """All that comes back until the end."""
        with self.connection(data) as sock:
            return read_to_end(sock)

    def get(self, place: str, path: str = "/hello") -> str:
        return self.answer(self.plain(place, path))

    def plain(self, place: str, path: str = "/hello", more: str = "") -> bytes:
        head = f"GET http://{place}{path} HTTP/1.1\r\nHost: {place}\r\n{self.password}{more}\r\n"
        return head.encode("latin-1")

    def connect(self, place: str, more: str = "") -> bytes:
        return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{self.password}{more}\r\n".encode()

    @contextmanager
    def tunnel(self, place: str) -> Iterator[socket.socket]:
        """An open one. The answer is read byte by byte: what follows it is the other side's."""
        with self.connection(self.connect(place)) as sock:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = sock.recv(1)
                assert byte, f"refused: {head!r}"
                head += byte
            assert head.startswith(b"HTTP/1.1 200 "), head + sock.recv(4096)
            yield sock

    @contextmanager
    def download(self, place: str) -> Iterator[socket.socket]:
        """One that is under way and has no end of its own."""
        with self.tunnel(place) as sock:
            sock.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(4096)
            yield sock


def read_to_end(sock: socket.socket) -> str:
    found = b""
    with suppress(ConnectionError):
        while data := sock.recv(65536):
            found += data
    return found.decode("latin-1")


def is_cut(sock: socket.socket) -> bool:
    """Whether its end comes in time, however much comes before."""
    ends = time.monotonic() + DEADLINE
    with suppress(ConnectionError):
        while sock.recv(65536):
            if time.monotonic() > ends:
                return False
    return True


OpenProxy = Callable[..., tuple[Proxy, FakeSession, RunnerProcess]]


def opener(plane: ControlPlane, publish: Publish, start_runner: StartRunner) -> OpenProxy:
    """Dispatches a session and starts a runner for it; answers when its proxy can be used."""

    def open_proxy(*options: str, **facts: Any) -> tuple[Proxy, FakeSession, RunnerProcess]:
        session = plane.dispatch(publish(SAYS_ITS_PROXY), **facts)
        runner = start_runner("--egress", *options)
        plane.wait_for(lambda: session.lines("stdout"), "the proxy's address")
        return Proxy(session.lines("stdout")[0]), session, runner

    return open_proxy


def refusals(session: FakeSession, kind: str = "x.egress.refused") -> list[dict[str, Any]]:
    return [event["data"] for event in session.events if event["kind"] == kind]
