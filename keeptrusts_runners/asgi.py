"""What `serve` runs on one port: the WSGI application on a bounded pool of threads.

Django's own ASGI handler costs half of the throughput of everything synchronous
(docs/decisions.md). Each thread keeps one database connection, so the pool is also the bound on
connections.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from a2wsgi import WSGIMiddleware

from keeptrusts_runners.wsgi import application as wsgi_application

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def _threads() -> int:
    from django.conf import settings

    return int(settings.ENVIRONMENT.web_threads)


_blocking = WSGIMiddleware(cast(Any, wsgi_application), workers=_threads())


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def application(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "http":
        await _blocking(cast(Any, scope), cast(Any, receive), cast(Any, send))
    else:
        raise RuntimeError(f"{scope['type']} is not served here")
