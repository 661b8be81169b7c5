"""The waiting parts: claims that wait for work, native to the event loop.

A waiting claim holds neither a thread nor a database connection. It is asked once through the
blocking application, as any claim; only an empty answer makes it wait. Then it is parked, first
come, first served, until a session that it could take is there, and asked again. Every process
listens on one connection, and looks by itself every two seconds, so that a lost signal costs no
more than that.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
import structlog

from keeptrusts_runners import ids
from keeptrusts_runners.errors import InvalidToken
from keeptrusts_runners.identity import tokens
from sessions import queue, wakeups

log = structlog.get_logger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

CLAIM = ("POST", "/v1/runners/sessions/claim")
LOOK_SECONDS = 2.0
MAX_WAIT_SECONDS = 30
MAX_BODY_BYTES = 1024 * 1024
_LATER_SECONDS = 1.0


@dataclass(eq=False)
class Waiter:
    """One parked claim: what it would take, and whether to ask again."""

    organization_id: UUID
    profile_ids: frozenset[UUID]
    labels: dict[str, str]
    awake: asyncio.Event = field(default_factory=asyncio.Event)

    def could_take(self, offer: queue.Offer) -> bool:
        if self.profile_ids and offer.profile_id not in self.profile_ids:
            return False
        return offer.labels.items() <= self.labels.items()


class WaitingRoom:
    """The parked claims of this process, in the order in which they came."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, list[Waiter]] = {}
        self._due: set[UUID] = set()
        self._look = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        # One thread, so one database connection, however many wait.
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="waiting-room")
        self.closed = False

    def open(self) -> None:
        """Begin to listen and to look, on the running loop."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._attend())]

    async def close(self) -> None:
        """Send everybody away: each waiting claim answers at once."""
        self.dismiss()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def dismiss(self) -> None:
        self.closed = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.awake.set()

    async def wait(self, waiter: Waiter, seconds: float) -> None:
        """Parked until woken, for at most this long."""
        waiter.awake.clear()
        if self.closed:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(waiter.awake.wait(), seconds)

    def enter(self, waiter: Waiter) -> None:
        self._waiting.setdefault(waiter.organization_id, []).append(waiter)

    def leave(self, waiter: Waiter) -> None:
        waiters = self._waiting[waiter.organization_id]
        waiters.remove(waiter)
        if not waiters:
            del self._waiting[waiter.organization_id]

    async def _listen(self) -> None:
        """One LISTEN connection, for as long as the process lives."""
        while True:
            try:
                own = await psycopg.AsyncConnection.connect(**wakeups.address(), autocommit=True)
                async with own:
                    await own.execute(f"LISTEN {wakeups.CHANNEL}")
                    self._attend_to(set(self._waiting))
                    async for notice in own.notifies():
                        self._attend_to({UUID(notice.payload)})
            except (psycopg.Error, OSError, ValueError) as error:
                log.warning("live.not_listening", reason=str(error).strip())
            await asyncio.sleep(_LATER_SECONDS)

    def _attend_to(self, organizations: set[UUID]) -> None:
        self._due |= organizations & self._waiting.keys()
        if self._due:
            self._look.set()

    async def _attend(self) -> None:
        """Look for work for those who wait: when told to, and every two seconds anyway."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), LOOK_SECONDS)
            told = self._look.is_set()
            self._look.clear()
            due = self._due if told else set(self._waiting)
            self._due = set()
            for organization_id in due:
                await self._offer(organization_id)

    async def _offer(self, organization_id: UUID) -> None:
        """Wake, for each session on offer, the first who could take it."""
        wanted = len(self._waiting.get(organization_id, ()))
        if not wanted:
            return
        loop = asyncio.get_running_loop()
        try:
            offers = await loop.run_in_executor(self._looker, queue.offers, organization_id, wanted)
        except Exception as error:
            # Whatever it is, this must go on looking: the next time is two seconds away.
            log.warning("live.look_failed", reason=str(error).strip())
            return
        waiting = self._waiting.get(organization_id, ())
        asleep = [waiter for waiter in waiting if not waiter.awake.is_set()]
        for offer in offers:
            first = next((waiter for waiter in asleep if waiter.could_take(offer)), None)
            if first is not None:
                asleep.remove(first)
                first.awake.set()


room = WaitingRoom()


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
    ends = asyncio.get_running_loop().time() + seconds
    gone = asyncio.create_task(_disconnected(receive))
    room.enter(waiter)
    try:
        while True:
            answer = await _ask(blocking, scope, body)
            left = ends - asyncio.get_running_loop().time()
            if answer[0]["status"] != 204 or left <= 0 or room.closed:
                break
            parked = asyncio.create_task(room.wait(waiter, left))
            await asyncio.wait({parked, gone}, return_when=asyncio.FIRST_COMPLETED)
            parked.cancel()
            if gone.done():
                return
    finally:
        room.leave(waiter)
        gone.cancel()
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
        profiles = frozenset(ids.decode("prof", text) for text in asked.get("profiles", ()))
        return seconds, Waiter(tokens.verify(raw).organization_id, profiles, dict(labels))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidToken):
        return 0, None


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


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# --- the process -----------------------------------------------------------------------------


async def lifespan(receive: Receive, send: Send) -> None:
    """Open the waiting room with the process, and empty it when the process is asked to stop."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            room.open()
            _dismiss_on_signals()
        else:
            await room.close()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _dismiss_on_signals() -> None:
    """The server first waits for its connections and only then ends the lifespan, so that waiting
    claims must hear of the signal itself."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        handled = signal.getsignal(number)

        def dismiss(received: int, frame: Any, handled: Any = handled) -> None:
            loop.call_soon_threadsafe(room.dismiss)
            if callable(handled):
                handled(received, frame)

        with suppress(ValueError):  # not the main thread: nobody signals us there
            signal.signal(number, dismiss)
