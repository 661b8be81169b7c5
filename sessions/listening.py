"""Listening: one connection of this process hears for all who wait in it what others commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg
import structlog

from sessions import wakeups

log = structlog.get_logger(__name__)

LATER_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ear:
    """Who listens to a channel: `hear` takes each word; `catch_up` is called when something
    may have been missed, as before the first."""

    hear: Callable[[str], None]
    catch_up: Callable[[], None]


class Listener:
    """The connection, and whom it tells. Both callables of an ear are called on the loop."""

    def __init__(self, ears: dict[str, Ear]) -> None:
        self._ears = ears

    async def listen(self) -> None:
        """Until the connection breaks. Raises whatever broke it."""
        own = await psycopg.AsyncConnection.connect(**wakeups.address(), autocommit=True)
        async with own:
            await own.execute("; ".join(f"LISTEN {channel}" for channel in self._ears))
            for ear in self._ears.values():
                ear.catch_up()
            async for notice in own.notifies():
                for word in notice.payload.split("\n"):
                    self._ears[notice.channel].hear(word)


async def for_ever(duty: Callable[[], Awaitable[None]]) -> None:
    """Whatever happens to a duty of this process, it is taken up again."""
    while True:
        try:
            await duty()
        except Exception as error:
            log.warning("duty.interrupted", duty=duty.__name__, reason=str(error).strip())
        await asyncio.sleep(LATER_SECONDS)
