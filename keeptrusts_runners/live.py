"""The waiting parts: claims that wait for work, and streams, native to the event loop.

Both are asked once through the blocking application, as any request; it alone decides what is
handed out, shown and refused. An empty answer takes a claim to the waiting room; whenever that has
an offer for it, it is asked again. An answered stream goes on from the stream room.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Any, Protocol

import structlog
from django.conf import settings

from grants.stream_room import StreamRoom
from grants.viewers import Viewer, viewer_of
from keeptrusts_runners import ids
from keeptrusts_runners.api.event_stream import HANDOVER, Handover, Stream
from keeptrusts_runners.bridge import ENVIRON
from keeptrusts_runners.errors import InvalidToken
from keeptrusts_runners.identity import tokens
from sessions import wakeups
from sessions.listening import Listener, for_ever
from sessions.waiting_line import Waiter
from sessions.waiting_room import Outcome, WaitingRoom

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

log = structlog.get_logger(__name__)

CLAIM = ("POST", "/v1/runners/sessions/claim")
_STREAM = re.compile(r"/v1/runners/(sessions/[^/]+/)?events/stream|/runners/stream")
# A client that takes in nothing for so long is given up.
SEND_SECONDS = 30.0
MAX_WAIT_SECONDS = 30
MAX_BODY_BYTES = 1024 * 1024
_OUTCOMES = {200: Outcome.TAKEN, 204: Outcome.EMPTY}

# However many ask at once, they leave half of the threads to other requests.
room = WaitingRoom(turns=max(1, settings.ENVIRONMENT.web_threads // 2))
streams = StreamRoom(most=settings.ENVIRONMENT.streams)


# --- the claim -------------------------------------------------------------------------------


async def claim(blocking: Application, scope: Message, receive: Receive, send: Send) -> None:
    """POST …/sessions/claim: ask, and while the answer is empty wait for up to `wait_seconds`."""
    body = await _read(receive)
    if body is None:
        return
    seconds, waiter = _wish(scope, body)
    if waiter is None:
        await blocking(scope, _replay(body, receive), send)
        return
    answer: list[Message] = []

    async def ask() -> Outcome:
        answer[:] = await _ask(blocking, scope, body)
        return _OUTCOMES.get(answer[0]["status"], Outcome.REFUSED)

    watch = asyncio.create_task(_leave_with_client(waiter, receive))
    try:
        await room.serve(waiter, ask, seconds)
    finally:
        watch.cancel()
    if not waiter.gone:
        for message in answer:
            await send(message)


async def _read(receive: Receive) -> bytes | None:
    """The whole body, or as much as shows that it is too large; None when the client has gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body") or len(body) > MAX_BODY_BYTES:
            return bytes(body)


def _wish(scope: Message, body: bytes) -> tuple[float, Waiter | None]:
    """How long to wait, and for what; None where there is no wish that the blocking application
    would grant. It alone decides what is refused, so nothing is refused here."""
    try:
        asked = json.loads(body or b"{}")
        seconds = asked.get("wait_seconds", 0)
        if type(seconds) is not int or not 0 < seconds <= MAX_WAIT_SECONDS:
            return 0, None
        headers = dict(scope["headers"])
        raw = headers[b"authorization"].decode().partition(" ")[2]
        labels = asked.get("labels", asked.get("executor", {}).get("labels", {}))
        waiter = Waiter(
            tokens.verify(raw).organization_id,
            frozenset(ids.decode("prof", text) for text in asked.get("profiles", ())),
            frozenset(labels.items()),
            max(1, int(asked.get("max", 1))),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidToken):
        return 0, None
    return seconds, waiter


async def _ask(blocking: Application, scope: Message, body: bytes) -> list[Message]:
    """The blocking application's whole answer."""
    answer: list[Message] = []

    async def keep(message: Message) -> None:
        answer.append(message)

    await blocking(scope, _replay(body, _forever), keep)
    return answer


def _replay(body: bytes, then: Receive) -> Receive:
    """The body once more, and after it whatever comes."""
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            return await then()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _forever() -> Message:
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


class _Leaving(Protocol):
    def leave(self) -> None: ...


async def _leave_with_client(waiter: _Leaving, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    waiter.leave()


# --- streams ---------------------------------------------------------------------------------


def is_stream(scope: Message) -> bool:
    return scope["method"] == "GET" and _STREAM.fullmatch(scope["path"]) is not None


async def stream(blocking: Application, scope: Message, receive: Receive, send: Send) -> None:
    """GET …/stream: ask, and go on where the answer ends, if the view has left a stream."""
    body = await _read(receive)
    if body is None:
        return

    async def ask(*, free: bool) -> tuple[list[Message], Stream | None]:
        handover = Handover(full=not free)
        answer = await _ask(blocking, {**scope, ENVIRON: {HANDOVER: handover}}, body)
        return answer, handover.stream if answer[0]["status"] == HTTPStatus.OK else None

    with streams.place() as free:
        answer, left = await ask(free=free)
        with streams.place_of(left.owner if left else None) as free_of_owner:
            if left and free_of_owner:
                await _go_on(viewer_of(left), answer, receive, send)
                return
        if left:
            answer, _ = await ask(free=False)
        for message in answer:
            await send(message)


async def _go_on(viewer: Viewer, answer: list[Message], receive: Receive, send: Send) -> None:
    watch = asyncio.create_task(_leave_with_client(viewer, receive))
    try:
        for message in answer:
            await _send(send, _unfinished(message))
        async with aclosing(streams.follow(viewer)) as news:
            async for content in news:
                await _send(send, {**_PART, "body": content})
        await _send(send, {**_PART, "more_body": False})
    except TimeoutError:
        log.info("stream.client_takes_nothing_in", organization=str(viewer.stream.organization_id))
    finally:
        watch.cancel()


_PART = {"type": "http.response.body", "body": b"", "more_body": True}


def _unfinished(message: Message) -> Message:
    """Part of an answer whose length nobody knows yet."""
    if message["type"] == "http.response.body":
        return {**message, "more_body": True}
    headers = [(name, value) for name, value in message["headers"] if name != b"content-length"]
    return {**message, "headers": headers}


async def _send(send: Send, message: Message) -> None:
    """Raises TimeoutError when the client does not take in what it was sent before."""
    async with asyncio.timeout(SEND_SECONDS):
        await send(message)


# --- the process -----------------------------------------------------------------------------


async def lifespan(receive: Receive, send: Send) -> None:
    """Open the rooms with the process, and empty them when the process is asked to stop."""
    ears = {wakeups.CLAIMABLE: room.ear, wakeups.GROWN: streams.ear}
    listener = Listener(ears | {wakeups.CHANGED: streams.ear_for_changes})
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            room.open()
            streams.open()
            listening = asyncio.create_task(for_ever(listener.listen))
            _dismiss_on_signals()
        else:
            listening.cancel()
            await room.close()
            await streams.close()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _dismiss_on_signals() -> None:
    """The server first waits for its connections and only then ends the lifespan, so that those
    who wait must hear of the signal itself."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        handled = signal.getsignal(number)

        def dismiss(received: int, frame: Any, handled: Any = handled) -> None:
            loop.call_soon_threadsafe(room.dismiss)
            loop.call_soon_threadsafe(streams.dismiss)
            if callable(handled):
                handled(received, frame)

        with suppress(ValueError):  # not the main thread: nobody signals us there
            signal.signal(number, dismiss)
