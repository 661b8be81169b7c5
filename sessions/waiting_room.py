"""The waiting room: claims of this process that found nothing, until there is something for them.

Who waits holds a place, and neither a thread nor a database connection. A claimable session is an
offer, and goes to the first in line who could take it, who then asks like any other claimer. An
offer that brings nothing is not lost: whoever asked in vain, was refused or has gone passes it on,
which is another look at the queue, at once. There are three reasons to look: a signal that came
after a commit, an offer that was passed on, and two seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from typing import Any
from uuid import UUID

import structlog

from sessions import queue
from sessions.listening import Ear, for_ever
from sessions.waiting_line import MOST_IN_VAIN, Line, Look, Waiter

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
# Offers looked at in one go, however few wait.
LEAST_OFFERS = 100


class Outcome(Enum):
    """What came of asking."""

    TAKEN = "taken"
    EMPTY = "empty"
    REFUSED = "refused"


Ask = Callable[[], Awaitable[Outcome]]


class WaitingRoom:
    """The lines of this process, and what looks for work on their behalf.

    `turns` is how many may ask at the same time: the threads that they may take up, and so leave
    to other requests.
    """

    def __init__(self, turns: int) -> None:
        self._lines: dict[UUID, Line] = {}
        self._turns = asyncio.Semaphore(turns)
        # Where to look; True where there is news.
        self._due: dict[UUID, bool] = {}
        self._look = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        # One thread, so one database connection, however many wait.
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="waiting-room")
        self.closed = False

    def open(self) -> None:
        """Begin to look, on the running loop."""
        duties = (self.look_regularly, self.attend)
        self._tasks = [asyncio.create_task(for_ever(duty)) for duty in duties]

    async def close(self) -> None:
        self.dismiss()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._looker.shutdown(wait=False, cancel_futures=True)

    def dismiss(self) -> None:
        """Send everybody away: nobody asks again."""
        self.closed = True
        for line in self._lines.values():
            for waiter in line.waiters:
                waiter.stirred.set()

    # --- one who waits -----------------------------------------------------------------------

    async def serve(self, waiter: Waiter, ask: Ask, seconds: float) -> None:
        """Ask, and while the answer is empty wait for an offer and ask again: until the time is
        over, the client has gone or the room closes."""
        ends = asyncio.get_running_loop().time() + seconds
        line = self._lines.setdefault(waiter.organization_id, Line())
        line.enter(waiter)
        try:
            while await self._ask(line, waiter, ask) is Outcome.EMPTY:
                if not await self._is_offered(waiter, ends):
                    break
        finally:
            self._leave(line, waiter)

    async def _ask(self, line: Line, waiter: Waiter, ask: Ask) -> Outcome:
        async with self._turns:
            if waiter.gone:
                return Outcome.REFUSED
            answering, waiter.offers = waiter.offers, 0
            waiter.asked_in = line.round
            waiter.asking_since = asyncio.get_running_loop().time()
            outcome = Outcome.REFUSED
            try:
                outcome = await ask()
            finally:
                waiter.asking_since = None
                self._settle(line, waiter, answering, outcome)
        return outcome

    def _settle(self, line: Line, waiter: Waiter, offers: int, outcome: Outcome) -> None:
        """Pass on what was offered and not taken, or perhaps not all of it."""
        if offers == 0 or (offers == 1 and outcome is Outcome.TAKEN):
            return
        if outcome is Outcome.EMPTY:
            line.asked_in_vain += 1
            if line.asked_in_vain > MOST_IN_VAIN:
                return
        self.look_at([waiter.organization_id], news=False)

    async def _is_offered(self, waiter: Waiter, ends: float) -> bool:
        """Wait for an offer; False when there is no more to wait for."""
        if asyncio.get_running_loop().time() >= ends:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout_at(ends):
                while not (waiter.offers or waiter.gone or self.closed):
                    waiter.stirred.clear()
                    await waiter.stirred.wait()
        return waiter.offers > 0 and not (waiter.gone or self.closed)

    def _leave(self, line: Line, waiter: Waiter) -> None:
        del line.waiters[waiter]
        if not line.waiters:
            del self._lines[waiter.organization_id]
        elif waiter.offers:
            self.look_at([waiter.organization_id], news=False)

    # --- looking -----------------------------------------------------------------------------

    def look_at(self, organization_ids: Iterable[UUID], *, news: bool) -> None:
        """Have these looked at soon, if somebody waits there."""
        for organization_id in organization_ids:
            if organization_id in self._lines:
                self._due[organization_id] = news or self._due.get(organization_id, False)
        if self._due:
            self._look.set()

    @property
    def ear(self) -> Ear:
        """Hears of what was committed; what was missed is looked for in all lines."""
        return Ear(
            hear=lambda word: self.look_at([UUID(word)], news=True),
            catch_up=lambda: self.look_at(list(self._lines), news=True),
        )

    async def look_regularly(self) -> None:
        """Make up for lost signals, and for time, which sends none: one query for everybody."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._lines:
                found = await self._in_thread(queue.organizations_with_work, list(self._lines))
                self.look_at(found or (), news=True)

    async def attend(self) -> None:
        """Look where there is a reason to."""
        while True:
            await self._look.wait()
            self._look.clear()
            due, self._due = self._due, {}
            for organization_id, news in due.items():
                await self.offer(organization_id, news=news)

    async def offer(self, organization_id: UUID, *, news: bool) -> None:
        """Wake, for each session on offer, the first who could take it."""
        line = self._lines.get(organization_id)
        if line is not None and news:
            line.begin_round()
        if line is None or not line.waiters:
            return
        look = Look(line, asyncio.get_running_loop().time())
        most = max(len(line.waiters), LEAST_OFFERS)
        while True:
            found = await self._in_thread(queue.offers, organization_id, most, list(look.closed))
            if not look.make(found or ()) or len(found or ()) < most:
                return

    async def _in_thread(self, look: Callable[..., Any], *arguments: Any) -> Any:
        """What a look finds; None when it fails."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._looker, look, *arguments)
        except Exception as error:
            # Whatever it is, the next look is two seconds away.
            log.warning("waiting_room.look_failed", reason=str(error).strip())
            return None
