"""From the event loop to a thread and back: one request through the WSGI application.

Each crossing costs about as much as a trivial view. So a small body is read on the loop, where a
slow client holds no thread, and a small answer is sent from there: such a request crosses twice.
Whatever is larger crosses as often as it must, and no faster than its client takes it. An answer
that says `sent_in_turns` holds a thread for the reading of each chunk and none while its client
takes it, so that slow downloads do not use up the threads of everybody else. A large body does hold
its thread while it comes: only so many do at a time, the others wait on the loop, and one that
stops coming is cut.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from types import TracebackType
from typing import Any, TypeVar, cast

from a2wsgi.wsgi import Body, build_environ

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ExcInfo = tuple[type[BaseException], BaseException, TracebackType]
T = TypeVar("T")
WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]  # PEP 3333

# In the ASGI scope: what is to be in the WSGI environment besides the request.
ENVIRON = "keeptrusts.environ"
SMALL_BYTES = 64 * 1024
LOOK_SECONDS = 0.5
# How long a body may pause. Whoever was cut goes on with a resumable upload.
PATIENCE_SECONDS = 30


class Bridge:
    """The WSGI application as an ASGI one, on this pool of threads; at most `large` of them read
    bodies that are not small."""

    def __init__(
        self, application: WsgiApplication, threads: ThreadPoolExecutor, large: int = 1
    ) -> None:
        self._application, self._threads = application, threads
        self._large = asyncio.Semaphore(large)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        length = _small_length(scope)
        if length is None:
            async with self._large:
                body = Body(asyncio.get_running_loop(), cast(Any, _complete(receive)))
                return await self._answer(scope, body, receive, send)
        try:
            content = await _read(receive) if length else b""
        except ConnectionResetError:
            return None
        return await self._answer(scope, BytesIO(content), receive, send)

    async def _answer(self, scope: Message, body: Any, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        environ, answer = build_environ(cast(Any, scope), body), Answer(loop, send)
        # What the loop says of the request; a client has no name but HTTP_* for what it says.
        cast(Any, environ).update(scope.get(ENVIRON, {}))
        run = partial(self._run, contextvars.copy_context())
        in_turns = await run(self._respond, environ, answer)
        if in_turns is not None:
            await self._send_in_turns(in_turns, answer, receive, run)
        await answer.finish()

    async def _run(self, context: contextvars.Context, do: Callable[..., T], *given: Any) -> T:
        """On a thread, with what the request's other steps have left in the context."""
        call = partial(context.run, do, *given)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _respond(self, environ: Any, answer: Answer) -> Any:
        """The whole answer; what is sent in turns is handed back as it is."""
        chunks = self._application(environ, answer.start)
        if getattr(chunks, "sent_in_turns", False):
            return chunks
        try:
            for chunk in chunks:
                answer.write(chunk)
        finally:
            getattr(chunks, "close", lambda: None)()
        return None

    async def _send_in_turns(
        self, chunks: Any, answer: Answer, receive: Receive, run: Callable[..., Awaitable[Any]]
    ) -> None:
        """Nothing more is read for a client that has left."""
        gone = asyncio.ensure_future(_gone(receive))
        try:
            iterator = iter(chunks)
            while not gone.done() and (chunk := await run(next, iterator, None)) is not None:
                await answer.send(chunk)
        finally:
            gone.cancel()
            await run(chunks.close)


class Answer:
    """What the application says, on its thread, until it is sent, on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Send) -> None:
        self._loop, self._send = loop, send
        self._head: Message | None = None
        self._held: list[bytes] = []
        self._size, self._hold_up_to = 0, 0

    def start(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """WSGI's start_response."""
        encoded = [
            (n.strip().lower().encode("latin1"), v.strip().encode("latin1")) for n, v in headers
        ]
        self._head = {"type": "http.response.start", "status": int(status[:3]), "headers": encoded}
        # An answer that does not say its length may come slowly, and is wanted piece by piece.
        self._hold_up_to = SMALL_BYTES if any(n == b"content-length" for n, _ in encoded) else 0
        return self.write

    def write(self, chunk: bytes) -> None:
        self._held.append(chunk)
        self._size += len(chunk)
        if self._size > self._hold_up_to:
            self._cross()

    def _cross(self) -> None:
        """Send from the thread, which must not wait for ever for a loop that has ended."""
        if self._loop.is_closed():
            raise ConnectionAbortedError("the server has stopped")
        sent = asyncio.run_coroutine_threadsafe(self._emit(more=True), self._loop)
        while not sent.done():
            try:
                sent.result(LOOK_SECONDS)
            except TimeoutError:
                if self._loop.is_closed():
                    raise ConnectionAbortedError("the server has stopped") from None
        sent.result()

    async def send(self, chunk: bytes) -> None:
        """From the loop; returns when the client has taken what went before it."""
        self._held.append(chunk)
        await self._emit(more=True)

    async def finish(self) -> None:
        await self._emit(more=False)

    async def _emit(self, *, more: bool) -> None:
        head, self._head = self._head, None
        if head is not None:
            await self._send(head)
        content = b"".join(self._held)
        self._held, self._size = [], 0
        await self._send({"type": "http.response.body", "body": content, "more_body": more})


def _small_length(scope: Message) -> int | None:
    """Of a body that comes soon and whole. One that the client holds back until it is asked for
    (`Expect`) is asked for by whoever reads it, once it is decided that it may come."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    if b"transfer-encoding" in headers or b"expect" in headers or not length.isdigit():
        return None
    return int(length) if int(length) <= SMALL_BYTES else None


async def _gone(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read(receive: Receive) -> bytes:
    """Raises ConnectionResetError when the client leaves before the end."""
    receive, parts = _complete(receive), []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _complete(receive: Receive) -> Receive:
    """A body that was cut, or has stopped coming, raises an error; to WSGI it would look like one
    that has ended."""

    async def receive_or_raise() -> Message:
        try:
            message = await asyncio.wait_for(receive(), PATIENCE_SECONDS)
        except TimeoutError:
            raise ConnectionResetError("the client stopped sending its request") from None
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client left before the end of its request")
        return message

    return receive_or_raise
