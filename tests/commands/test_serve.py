"""`serve`: how it ends, its workers, its maintenance loop, and what it says without a database."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from keeptrusts_runners.management.commands.serve import allow_files
from tests.commands.database import Database
from tests.commands.house import House
from tests.commands.product import (
    Http,
    Product,
    Running,
    eventually,
    free_port,
    is_free,
    new_data_dir,
    parent_of,
    remove_data_dir,
)

HOST = b"Host: localhost\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    directory = new_data_dir()
    database = Database(directory)
    yield database
    database.stop()
    remove_data_dir(directory)


@pytest.fixture(scope="module")
def product(database: Database) -> Iterator[Product]:
    """As in production: a server of its own for the database, one public address for all."""
    data_dir = new_data_dir()
    public = {"KEEPTRUSTS_PUBLIC_URL": "http://runners.example.com"}
    product = Product(data_dir, **database.settings(), **public)
    yield product
    product.close()
    product.wait_until_gone()
    remove_data_dir(data_dir)


@pytest.fixture(scope="module")
def house(product: Product) -> House:
    """`--migrate` makes the tables of the empty database."""
    return House.open(product, "--maintain")


def serve(product: Product, *more: str) -> tuple[Running, int]:
    port = free_port()
    running = product.start("serve", "--bind", f"127.0.0.1:{port}", *more)
    api = Http(f"http://127.0.0.1:{port}")
    eventually(api.is_ready, "it is ready", instead=lambda: api.readiness() + running.said())
    return running, port


def send(stack: ExitStack, port: int, request: bytes) -> socket.socket:
    connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
    connection.sendall(request)
    return connection


def claim_that_waits(token: str, seconds: int) -> bytes:
    body = b'{"wait_seconds": %d, "labels": {"nobody": "dispatches-this"}}' % seconds
    return (
        b"POST /v1/runners/sessions/claim HTTP/1.1\r\n"
        + HOST
        + f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n".encode()
        + b"Content-Type: application/json\r\n\r\n"
        + body
    )


def child_of(product: Product, parent: Running, words: str) -> int | None:
    """The child process with these words in its command line."""
    for pid, command in product.processes().items():
        if words in command and parent_of(pid) == parent.pid:
            return pid
    return None


# --- without a database ----------------------------------------------------------------------


@pytest.mark.proves("crash.503", "crash.back")
def test_without_its_database_it_says_so_and_is_back_within_five_seconds(
    house: House, database: Database
) -> None:
    waiting = house.dispatch(house.profile("outage", None), queue_timeout_seconds=2)
    page = Http(house.api.url)
    path = "/v1/runners/sessions"
    database.stop()
    try:
        ready = page.request("GET", "/readyz")
        assert (ready.status, ready.json()["status"]) == (503, "unavailable")
        assert next(c["name"] for c in ready.json()["checks"] if not c["ok"]) == "database"
        assert page.request("GET", "/healthz").status == 200
        for method, body in (("GET", None), ("POST", {"profile_id": "x", "task_id": "t"})):
            answer = house.api.request(method, path, body)
            assert answer.status == 503, answer.content
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["code"] == "database_unavailable"
            assert int(answer.headers["Retry-After"]) > 0
        assert b"Traceback" not in answer.content
    finally:
        database.start()

    back = time.monotonic()
    eventually(lambda: house.api.request("GET", path).status == 200, "the API is back", 5)
    eventually(page.is_ready, "it is ready again", 5 - (time.monotonic() - back))
    # The maintenance loop came back, too.
    assert house.wait_for_state(waiting, "expired")["reason"] == "queue_timeout"
    assert "Traceback" not in house.server.said()


def test_broken_connections_cost_no_request_after_the_first(
    house: House, database: Database
) -> None:
    """As many requests as there are threads at once, so that each has a broken connection."""
    database.kill_connections()
    statuses = [house.api.request("GET", "/v1/runners/sessions").status for _ in range(20)]
    assert set(statuses) == {200}


@pytest.mark.proves("crash.kept-alive")
def test_the_maintenance_loop_is_started_again_when_it_dies(house: House, product: Product) -> None:
    def loop() -> int | None:
        return child_of(product, house.server, "manage.py maintain")

    first = eventually(loop, "the loop runs")
    os.kill(first, signal.SIGKILL)
    second = eventually(lambda: (now := loop()) != first and now, "it runs again")
    assert second != first


# --- how it ends -----------------------------------------------------------------------------


@pytest.mark.proves("run.stop")
def test_sigterm_ends_it_whatever_its_clients_are_doing(house: House, product: Product) -> None:
    running, port = serve(product, "--maintain")
    eventually(lambda: child_of(product, running, "manage.py maintain"), "the loop runs")
    with ExitStack() as stack:
        idle = send(stack, port, b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert b"200 OK" in idle.recv(4096)
        send(stack, port, b"")
        send(stack, port, b"GET /healthz HTTP/1.1\r\nHo")
        half = b"POST /v1/auth/token HTTP/1.1\r\n" + HOST + FORM + b"Content-Length: 99\r\n\r\nab"
        send(stack, port, half)
        token = house.api.token or ""
        waiting = send(stack, port, claim_that_waits(token, 30))
        # A request on another connection is answered while those wait.
        assert Http(f"http://127.0.0.1:{port}").get("/healthz") == {"status": "ok"}
        asked = time.monotonic()
        running.signal(signal.SIGTERM)
        assert waiting.recv(4096).startswith(b"HTTP/1.1 204 No Content\r\n")
        assert running.wait(30) == 0, running.said()
        assert time.monotonic() - asked < 20
    assert child_of(product, running, "") is None
    assert is_free(port)
    assert "Traceback" not in running.said()


@pytest.mark.proves("run.stop")
def test_its_workers_serve_and_none_outlives_it(house: House, product: Product) -> None:
    running, port = serve(product, "--workers", "2", "--maintain")
    api = Http(f"http://127.0.0.1:{port}")
    assert [api.request("GET", "/v1/auth/whoami").status for _ in range(8)] == [401] * 8
    before = set(product.processes())
    running.signal(signal.SIGTERM)
    assert running.wait(30) == 0, running.said()
    assert is_free(port)

    killed, port = serve(product, "--workers", "2", "--maintain")
    family = set(product.processes()) - before
    assert len(family) >= 4, product.processes()
    killed.signal(signal.SIGKILL)
    killed.wait()
    eventually(lambda: not family & set(product.processes()), "workers and loop are gone", 30)
    assert is_free(port)


def test_as_many_files_may_be_open_as_streams_need_and_the_hard_limit_allows() -> None:
    before = _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, hard))
        allow_files(301)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (301, hard)
        allow_files(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (301, hard)
        if hard != resource.RLIM_INFINITY:
            allow_files(hard + 1)
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
