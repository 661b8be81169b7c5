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

import structlog
from django.conf import settings

from keeptrusts_runners.bridge import Bridge
from keeptrusts_runners.wsgi import application as wsgi_application

# Django must be set up before anything that has models.
from keeptrusts_runners import live  # isort: skip
from keeptrusts_runners.live import Message, Receive, Send  # isort: skip

log = structlog.get_logger(__name__)
_number = int(settings.ENVIRONMENT.web_threads)
_threads = ThreadPoolExecutor(_number, "request")
# Uploads leave a quarter of the threads to everybody else.
_blocking = Bridge(wsgi_application, _threads, large=max(1, _number * 3 // 4))


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
        await live.claim(_blocking, scope, receive, send)
    elif live.is_stream(scope):
        await live.stream(_blocking, scope, receive, send)
    else:
        await _blocking(scope, receive, send)


def _end_with_supervisor() -> None:
    """A worker of `serve --workers` must not hold the port after its supervisor was killed."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def wait() -> None:
        supervisor.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="supervisor", daemon=True).start()
