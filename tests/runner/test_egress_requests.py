"""Hostile clients of the proxy: a clear refusal each, and the next one is served as before."""

import socket
from collections.abc import Iterator

import pytest

from keeptrusts_runners.runner.egress import CONNECTIONS
from keeptrusts_runners.runner.egress_request import HEAD_LIMIT, BadRequest, read_request
from tests.runner.conftest import Publish, StartRunner
from tests.runner.control_plane import DEADLINE, ControlPlane
from tests.runner.way_out import OpenProxy, Proxy, Site, opener, read_to_end, refusals


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def open_proxy(plane: ControlPlane, publish: Publish, start_runner: StartRunner) -> OpenProxy:
    return opener(plane, publish, start_runner)


# {P} is where the site is, {H} its Host field with the password.
HOSTILE = {
    "another protocol": ("\x16\x03\x01 hello\r\n\r\n", 400),
    "a proxy used as a server": ("GET /hello HTTP/1.1\r\n{H}\r\n", 400),
    "no host": ("GET http://{P}/ HTTP/1.1\r\n{A}\r\n", 400),
    "two hosts": ("GET http://{P}/ HTTP/1.1\r\n{H}Host: other\r\n\r\n", 400),
    "userinfo": ("GET http://{P}@127.0.0.1:1/ HTTP/1.1\r\n{H}\r\n", 400),
    "https in plain": ("GET https://{P}/ HTTP/1.1\r\n{H}\r\n", 400),
    "HTTP/2": ("GET http://{P}/ HTTP/2.0\r\n{H}\r\n", 400),
    "a fold": ("GET http://{P}/ HTTP/1.1\r\n{H}X: a\r\n b\r\n\r\n", 400),
    "a space before the colon": ("GET http://{P}/ HTTP/1.1\r\n{H}X : a\r\n\r\n", 400),
    "a bare line feed": ("GET http://{P}/ HTTP/1.1\r\n{H}X: a\nY: b\r\n\r\n", 400),
    "NUL": ("GET http://{P}/ HTTP/1.1\r\n{H}X: a\0\r\n\r\n", 400),
    "two lengths": (
        "POST http://{P}/ HTTP/1.1\r\n{H}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        400,
    ),
    "a signed length": ("POST http://{P}/ HTTP/1.1\r\n{H}Content-Length: +1\r\n\r\na", 400),
    "chunks": ("POST http://{P}/ HTTP/1.1\r\n{H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
    "a length and chunks": (
        "POST http://{P}/ HTTP/1.1\r\n{H}Content-Length: 3\r\nTransfer-Encoding: x\r\n\r\nabc",
        411,
    ),
    "a body with CONNECT": ("CONNECT {P} HTTP/1.1\r\n{H}Content-Length: 1\r\n\r\na", 400),
    "no port": ("CONNECT 127.0.0.1 HTTP/1.1\r\n{H}\r\n", 400),
    "port 0": ("CONNECT 127.0.0.1:0 HTTP/1.1\r\n{H}\r\n", 400),
    "port 65536": ("CONNECT 127.0.0.1:65536 HTTP/1.1\r\n{H}\r\n", 400),
    "a port with zeros": ("CONNECT 127.0.0.1:0080 HTTP/1.1\r\n{H}\r\n", 400),
    "an odd port": ("CONNECT 127.0.0.1:25 HTTP/1.1\r\n{H}\r\n", 403),
    "the address as a number": ("CONNECT 2130706433:{N} HTTP/1.1\r\n{H}\r\n", 400),
    "the address in hexadecimal": ("CONNECT 0x7f.1:{N} HTTP/1.1\r\n{H}\r\n", 400),
    "every address": ("CONNECT 0.0.0.0:{N} HTTP/1.1\r\n{H}\r\n", 400),
    "the address in IPv6": ("CONNECT [::ffff:127.0.0.1]:{N} HTTP/1.1\r\n{H}\r\n", 400),
    "a name beside ASCII": ("CONNECT b\xfccher.example:443 HTTP/1.1\r\n{H}\r\n", 400),
    "no password": ("GET http://{P}/ HTTP/1.1\r\nHost: {P}\r\n\r\n", 407),
    "another password": (
        "GET http://{P}/ HTTP/1.1\r\nHost: {P}\r\nProxy-Authorization: Basic c2Vzc2lvbjp4\r\n\r\n",
        407,
    ),
    "very many fields": ("GET http://{P}/ HTTP/1.1\r\n{H}" + "a: b\r\n" * 200 + "\r\n", 431),
    "a huge field": ("GET http://{P}/ HTTP/1.1\r\n{H}X: " + "a" * 20 * HEAD_LIMIT, 431),
}


def as_bytes(text: str, proxy: Proxy, site: Site) -> bytes:
    host = f"Host: {site.place}\r\n{proxy.password}"
    for name, value in (
        ("{P}", site.place),
        ("{N}", str(site.port)),
        ("{A}", proxy.password),
        ("{H}", host),
    ):
        text = text.replace(name, value)
    return text.encode("latin-1")


@pytest.mark.proves("grant.egress-only-with-grant")
def test_what_has_two_meanings_is_refused_and_reaches_nobody(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    plane.grant(session, site.operation)
    said = {name: proxy.answer(as_bytes(text, proxy, site)) for name, (text, _) in HOSTILE.items()}
    expected = {name: f"HTTP/1.1 {status}" for name, (_, status) in HOSTILE.items()}
    assert {name: answer[:12] for name, answer in said.items()} == expected
    assert all("Content-Type: text/plain" in answer for answer in said.values())
    assert site.requests == []
    assert session.grants[0]["uses"] == 0
    assert proxy.get(site.place).endswith("hello")
    plane.wait_for(lambda: any(told["reason"] == "malformed" for told in refusals(session)))


def test_a_plain_request_is_passed_on_as_one_request_of_its_own(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    plane.grant(session, site.operation)
    more = "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nX-Yours: 2\r\n"
    head = f"POST http://{site.place}?a=b HTTP/1.1\r\nHost: other\r\n{proxy.password}{more}"
    said = proxy.answer(f"{head}Content-Length: 3\r\n\r\nabc{head}\r\n".encode())
    assert said.endswith("hello")
    assert said.count("HTTP/1.1 ") == 1
    ((line, fields, body),) = site.requests
    assert (line, body) == ("POST /?a=b HTTP/1.1", b"abc")
    assert fields == {
        "host": site.place,
        "x-yours": "2",
        "content-length": "3",
        "connection": "close",
    }


def test_a_client_that_ends_within_its_head_is_told_so(open_proxy: OpenProxy, site: Site) -> None:
    proxy, _, _ = open_proxy()
    with proxy.connection(b"GET http://") as sock:
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock).startswith("HTTP/1.1 400 ")


def test_clients_that_say_nothing_are_bounded_and_let_go(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    plane.grant(session, site.operation)
    silent = [socket.create_connection(proxy.address, DEADLINE) for _ in range(CONNECTIONS)]
    said = proxy.get(site.place)
    assert said == "" or said.startswith("HTTP/1.1 503 ")
    assert read_to_end(silent[0]).startswith("HTTP/1.1 408 ")
    for sock in silent:
        sock.close()
    assert proxy.get(site.place).endswith("hello")


def test_one_side_may_end_before_the_other(
    plane: ControlPlane, open_proxy: OpenProxy, site: Site
) -> None:
    proxy, session, _ = open_proxy()
    plane.grant(session, site.operation)
    with proxy.tunnel(site.place) as sock:
        sock.sendall(b"GET /half HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock).endswith("hello")


def test_a_long_field_costs_no_more_than_its_length() -> None:
    blanks = " " * (HEAD_LIMIT - 100)
    with pytest.raises(BadRequest, match="header field"):
        read_request(f"GET http://a/ HTTP/1.1\r\nX: {blanks}\0\r\n\r\n".encode(), "x")
