"""One request across from the loop to a thread: what crosses when, and what a slow client holds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from keeptrusts_runners import bridge
from keeptrusts_runners.bridge import SMALL_BYTES, Bridge

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]
LARGE = b"x" * (3 * SMALL_BYTES)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


class Exchange:
    """One client: what it sends, in pieces, and what it has been sent."""

    def __init__(self, *pieces: bytes, **headers: str) -> None:
        self.asked = 0
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for number, piece in enumerate(pieces, 1):
            self.send_piece(piece, more=number < len(pieces))
        headers.setdefault("content_length", str(sum(map(len, pieces))))
        encoded = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
        self.scope = {
            "type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": encoded,
            "http_version": "1.1", "scheme": "http",
        }  # fmt: skip

    def send_piece(self, piece: bytes, *, more: bool) -> None:
        self.incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        return await self.incoming.get()

    async def send(self, message: Any) -> None:
        await self.sent.put(message)

    def answered(self) -> list[dict[str, Any]]:
        return [self.sent.get_nowait() for _ in range(self.sent.qsize())]

    def through(self, bridge: Bridge) -> Any:
        return bridge(self.scope, self.receive, self.send)


def echo(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start("200 OK", [("Content-Length", str(len(body))), ("X-Thread", "1")])
    return [body[: len(body) // 2], body[len(body) // 2 :]]


def test_a_small_answer_is_sent_at_once_and_whole(threads: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        client = Exchange(b"some", b"thing")
        await client.through(Bridge(echo, threads))
        start, body = client.answered()
        assert start["status"] == 200
        assert (b"x-thread", b"1") in start["headers"]
        assert body == {"type": "http.response.body", "body": b"something", "more_body": False}

    asyncio.run(scenario())


def test_a_large_body_and_a_large_answer_go_through_in_pieces(threads: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        client = Exchange(LARGE, b"end")
        await client.through(Bridge(echo, threads))
        start, *bodies = client.answered()
        assert start["type"] == "http.response.start"
        assert b"".join(body["body"] for body in bodies) == LARGE + b"end"
        assert [body["more_body"] for body in bodies] == [True] * (len(bodies) - 1) + [False]
        assert len(bodies) > 1

    asyncio.run(scenario())


def test_an_answer_without_a_length_is_sent_as_it_comes(threads: ThreadPoolExecutor) -> None:
    goes_on = threading.Event()

    def slow(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("200 OK", [])
        yield b"first"
        assert goes_on.wait(30)
        yield b"second"

    async def scenario() -> None:
        client = Exchange()
        answering = asyncio.create_task(client.through(Bridge(slow, threads)))
        assert (await client.sent.get())["status"] == 200
        assert (await client.sent.get())["body"] == b"first"
        goes_on.set()
        await answering
        assert [message["body"] for message in client.answered()] == [b"second", b""]

    asyncio.run(scenario())


def test_a_client_that_sends_slowly_holds_no_thread(threads: ThreadPoolExecutor) -> None:
    async def scenario() -> None:
        served = Bridge(echo, threads)
        slow = Exchange(content_length="10")
        slow.send_piece(b"first", more=True)
        waiting = asyncio.create_task(slow.through(served))
        quick = Exchange(b"quick")
        await quick.through(served)
        assert quick.answered()[1]["body"] == b"quick"
        slow.send_piece(b"-last", more=False)
        await waiting
        assert slow.answered()[1]["body"] == b"first-last"

    asyncio.run(scenario())


def test_large_bodies_that_come_slowly_leave_threads_to_others() -> None:
    async def scenario() -> None:
        with ThreadPoolExecutor(2) as threads:
            served = Bridge(echo, threads, large=1)
            slow = [Exchange(content_length=str(len(LARGE))) for _ in range(3)]
            waiting = [asyncio.create_task(each.through(served)) for each in slow]
            quick = Exchange(b"quick")
            await quick.through(served)
            assert quick.answered()[1]["body"] == b"quick"
            for each in slow:
                each.send_piece(LARGE, more=False)
            await asyncio.gather(*waiting)
            for each in slow:
                assert b"".join(m.get("body", b"") for m in each.answered()) == LARGE

    asyncio.run(scenario())


def test_a_body_that_stops_coming_is_cut(
    threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "PATIENCE_SECONDS", 0.05)

    async def scenario() -> None:
        stalled = Exchange(content_length=str(len(LARGE)))
        stalled.send_piece(b"first", more=True)
        with pytest.raises(ConnectionResetError, match="stopped sending"):
            await stalled.through(Bridge(echo, threads))
        quick = Exchange(b"quick")
        await quick.through(Bridge(echo, threads))
        assert quick.answered()[1]["body"] == b"quick"

    asyncio.run(scenario())


class Chunks:
    """What an application answers with when it is sent in turns."""

    sent_in_turns = True

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self.read, self.closed = chunks, 0, threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.read += 1
            yield chunk

    def close(self) -> None:
        self.closed.set()


def in_turns(chunks: Chunks) -> Application:
    def application(environ: dict[str, Any], start: Any) -> Any:
        start("200 OK", [("Content-Length", "9")])
        return chunks

    return application


def test_a_client_that_takes_a_download_slowly_holds_no_thread(
    threads: ThreadPoolExecutor,
) -> None:
    async def scenario() -> None:
        takes = asyncio.Event()
        slow, chunks = Exchange(), Chunks([b"one", b"two", b"end"])

        async def send(message: Any) -> None:
            await slow.send(message)
            if message["type"] == "http.response.body":
                await takes.wait()

        served = Bridge(in_turns(chunks), threads)
        sending = asyncio.create_task(served(slow.scope, slow.receive, send))
        assert (await slow.sent.get())["status"] == 200
        assert (await slow.sent.get())["body"] == b"one"
        quick = Exchange(b"quick")
        await quick.through(Bridge(echo, threads))
        assert quick.answered()[1]["body"] == b"quick"
        assert chunks.read == 1
        takes.set()
        await sending
        assert [each["body"] for each in slow.answered()] == [b"two", b"end", b""]
        assert chunks.closed.is_set()

    asyncio.run(scenario())


def test_nothing_more_is_read_for_a_client_that_has_left_a_download(
    threads: ThreadPoolExecutor,
) -> None:
    async def scenario() -> None:
        client, chunks = Exchange(), Chunks(iter(lambda: b"more", None))
        sending = asyncio.create_task(client.through(Bridge(in_turns(chunks), threads)))
        assert (await client.sent.get())["status"] == 200
        client.incoming.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(sending, 30)
        assert chunks.closed.is_set()

    asyncio.run(scenario())


def test_a_download_that_fails_on_its_way_is_not_ended_as_if_it_were_whole(
    threads: ThreadPoolExecutor,
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"one"
        raise RuntimeError("other bytes")

    async def scenario() -> None:
        client, chunks = Exchange(), Chunks(broken())
        with pytest.raises(RuntimeError, match="other bytes"):
            await client.through(Bridge(in_turns(chunks), threads))
        assert [each.get("body") for each in client.answered()] == [None, b"one"]
        assert chunks.closed.is_set()

    asyncio.run(scenario())


def test_a_small_body_that_is_cut_reaches_nobody(threads: ThreadPoolExecutor) -> None:
    reached: list[object] = []

    def note(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        reached.append(environ)
        return echo(environ, start)

    async def scenario() -> None:
        client = Exchange(content_length="10")
        client.send_piece(b"first", more=True)
        client.incoming.put_nowait({"type": "http.disconnect"})
        await client.through(Bridge(note, threads))
        assert client.answered() == []

    asyncio.run(scenario())
    assert reached == []


@pytest.mark.parametrize(
    "headers", [{"expect": "100-continue"}, {"content_length": str(SMALL_BYTES + 1)}]
)
def test_what_the_client_holds_back_or_is_large_is_read_by_whoever_wants_it(
    threads: ThreadPoolExecutor, headers: dict[str, str]
) -> None:
    def refuse(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        start("401 Unauthorized", [("Content-Length", "0")])
        return []

    async def scenario() -> None:
        client = Exchange(b"body", **headers)
        await client.through(Bridge(refuse, threads))
        assert client.answered()[0]["status"] == 401
        assert client.asked == 0

    asyncio.run(scenario())


def test_what_fails_before_it_answers_is_told_to_the_server(threads: ThreadPoolExecutor) -> None:
    def fail(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        raise RuntimeError("not today")

    async def scenario() -> None:
        client = Exchange()
        with pytest.raises(RuntimeError, match="not today"):
            await client.through(Bridge(fail, threads))
        assert client.answered() == []

    asyncio.run(scenario())
