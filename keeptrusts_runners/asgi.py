"""What `serve` runs on one port: the waiting parts on the event loop, and all the rest, the WSGI
application, on a bounded pool of threads.

Django's own ASGI handler costs half of the throughput of everything synchronous
(docs/decisions.md). Each thread keeps one database connection, so the pool is also the bound on
connections.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import structlog
from a2wsgi.wsgi import WSGIResponder
from django.conf import settings

from keeptrusts_runners.wsgi import application as wsgi_application

# Django must be set up before anything that has models.
from keeptrusts_runners import live  # isort: skip
from keeptrusts_runners.live import Message, Receive, Send  # isort: skip

CHUNKS_AHEAD = 10
LOOK_SECONDS = 0.5

log = structlog.get_logger(__name__)
_threads = ThreadPoolExecutor(int(settings.ENVIRONMENT.web_threads), "request")


async def application(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        _end_with_supervisor()
        await live.lifespan(receive, send)
    elif scope["type"] == "http":
        try:
            await _answer(scope, receive, send)
        except asyncio.CancelledError:
            # Only a shutdown cancels, after it has waited: for a client that stopped sending.
            log.warning("request.cut_by_shutdown", method=scope["method"], path=scope["path"])
    else:
        raise RuntimeError(f"{scope['type']} is not served here")


async def _answer(scope: Message, receive: Receive, send: Send) -> None:
    if (scope["method"], scope["path"]) == live.CLAIM:
        await live.claim(_blocking_part, scope, receive, send)
    else:
        await _blocking_part(scope, receive, send)


async def _blocking_part(scope: Message, receive: Receive, send: Send) -> None:
    respond = _Responder(cast(Any, wsgi_application), _threads, CHUNKS_AHEAD)
    await respond(cast(Any, scope), cast(Any, _complete(receive)), cast(Any, send))


class _Responder(WSGIResponder):
    """One request on a thread, which must not wait for ever for a loop that has ended."""

    def send(self, message: Any) -> None:
        self._require_loop()
        sent = asyncio.run_coroutine_threadsafe(self.send_queue.put(message), self.loop)
        while not sent.done():
            try:
                sent.result(LOOK_SECONDS)
            except TimeoutError:
                self._require_loop()

    def _require_loop(self) -> None:
        if self.loop.is_closed():
            raise ConnectionAbortedError("the server has stopped")


def _end_with_supervisor() -> None:
    """A worker of `serve --workers` must not hold the port after its supervisor was killed."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def wait() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()


def _complete(receive: Receive) -> Receive:
    """A body that was cut raises an error; to WSGI it would look like one that has ended."""

    async def receive_or_raise() -> Message:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client left before the end of its request")
        return message

    return receive_or_raise
