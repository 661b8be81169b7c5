"""The stream room: the open streams of this process, and what reads on their behalf.

Who watches holds a place, and neither a thread nor a database connection. A session's stream is
read in batches by a few threads, and those who watch the same at the same place are read for
together. There are three reasons to read: a signal that came after a commit, a batch that was not
the last, and a look at the heads of all that is watched, every few seconds. So a lost signal loses
no event; of an organization's hints it may, and they are no record. Pages are told that something
has changed and read it themselves, as they do now and then without being told.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import structlog

from grants import following, streams
from grants.streams import Batch
from grants.viewers import (
    MOST_HINTS,
    STOPPING,
    OrganizationViewer,
    PageViewer,
    SessionViewer,
    Viewer,
)
from keeptrusts_runners.api import event_stream
from sessions import wakeups
from sessions.listening import Ear, for_ever

log = structlog.get_logger(__name__)

THREADS = 2
HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 3.0
# Well within viewers.TRUST_SECONDS.
CHECK_SECONDS = 20.0
# Bearers looked at in one scope: a fraction of what a request may take.
BEARERS = 100
# After what it was sent a stream rests, so that a burst is read in few batches.
REST_SECONDS = 0.1
HINT_REST_SECONDS = 1.0
PAGE_REST_SECONDS = 1.0
LATER_SECONDS = 1.0
# Streams of one owner.
MOST_OF_ONE = 5
# By how much a page's clock, which is the database's, may be ahead of this process's.
SKEW_MS = 5_000


class StreamRoom:
    """The viewers of this process; there are never more than `most`."""

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._sessions: dict[UUID, dict[SessionViewer, None]] = defaultdict(dict)
        self._organizations: dict[UUID, dict[OrganizationViewer, None]] = defaultdict(dict)
        self._pages: dict[UUID, dict[PageViewer, None]] = defaultdict(dict)
        self._owned: Counter[Hashable] = Counter()
        # When a topic of an organization last changed, and since when all changes are heard.
        self._changed: dict[tuple[UUID, str], int] = {}
        self._heard_since = _milliseconds()
        # What hints are due for, by organization.
        self._grown: dict[UUID, set[UUID]] = defaultdict(set)
        self._hint = asyncio.Event()
        # Reads that wait for a thread: whoever wants the same takes part.
        self._asked: dict[Hashable, asyncio.Task[Batch | None]] = {}
        self._turns = asyncio.Semaphore(THREADS)
        self._readers = ThreadPoolExecutor(THREADS, thread_name_prefix="streams")
        self._tasks: list[asyncio.Task[None]] = []
        self.closed = False

    def open(self) -> None:
        """Begin to look, on the running loop."""
        duties = (self.look_regularly, self.check_regularly, self.give_hints)
        self._tasks = [asyncio.create_task(for_ever(duty)) for duty in duties]

    async def close(self) -> None:
        self.dismiss()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._readers.shutdown(wait=False, cancel_futures=True)

    def dismiss(self) -> None:
        """Send everybody away; nobody stays any more."""
        self.closed = True
        for viewer in self._viewers():
            viewer.dismiss(STOPPING)

    @contextmanager
    def place(self) -> Iterator[bool]:
        """A place for one stream while the block lasts; False when all are taken."""
        free = self._taken < self._most
        self._taken += free
        try:
            yield free
        finally:
            self._taken -= free

    @contextmanager
    def place_of(self, owner: Hashable | None) -> Iterator[bool]:
        """The same among the places of one owner; there is always one where there is no owner."""
        free = owner is None or self._owned[owner] < MOST_OF_ONE
        self._owned[owner] += free
        try:
            yield free
        finally:
            self._owned[owner] -= free
            self._owned += Counter()  # forgets who has none

    # --- one who watches ---------------------------------------------------------------------

    async def follow(self, viewer: Viewer) -> AsyncGenerator[bytes]:
        """What is to be sent, as it comes, until nothing more will."""
        viewer.checked_at = _now()
        self._admit(viewer)
        try:
            while not viewer.leaves:
                if viewer.has_news:
                    async for content in self._news(viewer):
                        yield content
                elif not await _stirs(viewer):
                    yield event_stream.HEARTBEAT
                viewer.distrust(_now())
        finally:
            self._remove(viewer)
        if not viewer.gone and viewer.over != _END:
            yield event_stream.bye(viewer.over)

    def _admit(self, viewer: Viewer) -> None:
        if self.closed:
            viewer.dismiss(STOPPING)
        if isinstance(viewer, SessionViewer):
            self._sessions[viewer.stream.session_id][viewer] = None
        elif isinstance(viewer, OrganizationViewer):
            self._organizations[viewer.stream.organization_id][viewer] = None
        elif isinstance(viewer, PageViewer):
            self._pages[viewer.stream.organization_id][viewer] = None
            viewer.tell(self._missed_by(viewer))

    def _missed_by(self, viewer: PageViewer) -> list[str]:
        """The topics that may have changed since the page read them."""
        organization_id, since = viewer.stream.organization_id, viewer.stream.since or 0
        return [
            topic
            for topic in viewer.stream.topics
            if max(self._changed.get((organization_id, topic), 0), self._heard_since)
            >= since - SKEW_MS
        ]

    def _remove(self, viewer: Viewer) -> None:
        if isinstance(viewer, SessionViewer):
            _drop(self._sessions, viewer.stream.session_id, viewer)
        elif isinstance(viewer, OrganizationViewer):
            _drop(self._organizations, viewer.stream.organization_id, viewer)
        elif isinstance(viewer, PageViewer):
            _drop(self._pages, viewer.stream.organization_id, viewer)

    def _news(self, viewer: Viewer) -> AsyncIterator[bytes]:
        if isinstance(viewer, SessionViewer):
            return self._events(viewer)
        if isinstance(viewer, PageViewer):
            return _signals(viewer)
        assert isinstance(viewer, OrganizationViewer)
        return _hints(viewer)

    async def _events(self, viewer: SessionViewer) -> AsyncIterator[bytes]:
        """The next batch for one who is behind."""
        viewer.behind = False
        batch = await self._read(viewer)
        if batch is None:
            viewer.behind = True
            await asyncio.sleep(LATER_SECONDS)
            return
        if viewer.leaves:
            return
        viewer.after = batch.reaches
        if batch.content:
            yield batch.content
        if batch.has_more:
            viewer.behind = True
        elif batch.ends:
            await self.check([viewer])
            if not viewer.leaves:
                viewer.dismiss(_END)
                yield streams.end(viewer.after)
        else:
            await asyncio.sleep(REST_SECONDS)

    async def _read(self, viewer: SessionViewer) -> Batch | None:
        wanted = (viewer.stream.key, viewer.after)
        if wanted not in self._asked:
            self._asked[wanted] = asyncio.create_task(self._take_turn(wanted, viewer.stream.read))
        return await asyncio.shield(self._asked[wanted])

    async def _take_turn(
        self, wanted: tuple[Hashable, int], read: Callable[[int], Batch]
    ) -> Batch | None:
        async with self._turns:
            # Whoever asks from here on may know of more than this is going to find.
            del self._asked[wanted]
            found: Batch | None = await self._in_thread(read, wanted[1])
            return found

    def _viewers(self) -> list[Viewer]:
        of_sessions = (viewer for some in self._sessions.values() for viewer in some)
        of_organizations = (viewer for some in self._organizations.values() for viewer in some)
        pages = (viewer for some in self._pages.values() for viewer in some)
        return [*of_sessions, *of_organizations, *pages]

    # --- hearing and looking -----------------------------------------------------------------

    @property
    def ear(self) -> Ear:
        return Ear(hear=self.hear, catch_up=self.catch_up)

    @property
    def ear_for_changes(self) -> Ear:
        return Ear(hear=self.hear_of_change, catch_up=self.catch_up_changes)

    def hear(self, word: str) -> None:
        """A ledger has grown: `organization session seq`; or something was not told."""
        if word == wakeups.LOST_WORD:
            self.catch_up()
        elif self._sessions or self._organizations or self._pages:
            self._hear_of(*word.split())

    def _hear_of(self, organization: str, session: str, seq: str) -> None:
        session_id, organization_id = UUID(session), UUID(organization)
        for viewer in self._sessions.get(session_id, ()):
            viewer.tell(int(seq))
        for page in self._pages.get(organization_id, ()):
            page.grow(session_id, int(seq))
        if organization_id in self._organizations:
            self._grown[organization_id].add(session_id)
            self._hint.set()

    def hear_of_change(self, word: str) -> None:
        """Something of an organization has changed: `organization topic`."""
        if word == wakeups.LOST_WORD:
            self.catch_up_changes()
            return
        organization, topic = word.split()
        organization_id = UUID(organization)
        self._changed[organization_id, topic] = _milliseconds()
        for page in self._pages.get(organization_id, ()):
            page.tell([topic])

    def catch_up_changes(self) -> None:
        self._heard_since = _milliseconds()
        for pages in self._pages.values():
            for page in pages:
                page.tell(wakeups.TOPICS)

    def catch_up(self) -> None:
        """Anything may have been missed."""
        for viewer in self._viewers():
            if isinstance(viewer, SessionViewer):
                viewer.stir()
            elif isinstance(viewer, OrganizationViewer):
                viewer.reset()

    async def look_regularly(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Make up for lost signals: one query for all that is watched."""
        pages = [page for some in self._pages.values() for page in some]
        watched = {*self._sessions, *(session for page in pages for session in page.stream.heads)}
        if not watched:
            return
        found = await self._in_thread(following.heads, list(watched))
        for session_id, seq in (found or {}).items():
            for viewer in self._sessions.get(session_id, ()):
                viewer.tell(seq)
            for page in pages:
                page.grow(session_id, seq)

    async def check_regularly(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self.check(self._viewers())

    async def check(self, viewers: Iterable[Viewer]) -> None:
        """Send away those whose bearers have no access any more."""
        grouped: dict[UUID, list[Viewer]] = defaultdict(list)
        for viewer in viewers:
            grouped[viewer.stream.organization_id].append(viewer)
        for organization_id, group in grouped.items():
            for start in range(0, len(group), BEARERS):
                await self._check(organization_id, group[start : start + BEARERS])

    async def _check(self, organization_id: UUID, viewers: list[Viewer]) -> None:
        asked_at, of = _now(), {viewer.stream.bearer for viewer in viewers}
        found = await self._in_thread(following.bearers, organization_id, of)
        for viewer in viewers if found is not None else ():
            viewer.judge(found, asked_at)

    async def give_hints(self) -> None:
        while True:
            await self._hint.wait()
            self._hint.clear()
            due, self._grown = self._grown, defaultdict(set)
            for organization_id, session_ids in due.items():
                await self._give_hints(organization_id, session_ids)
            await asyncio.sleep(HINT_REST_SECONDS)

    async def _give_hints(self, organization_id: UUID, session_ids: set[UUID]) -> None:
        found = None
        if len(session_ids) <= MOST_HINTS:
            found = await self._in_thread(following.positions, organization_id, session_ids)
        hints = None if found is None else streams.hints(found)
        for viewer in self._organizations.get(organization_id, ()):
            if hints is None:
                viewer.reset()
            else:
                viewer.tell(hints)

    async def _in_thread(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """What a read finds; None when it fails."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._readers, read, *arguments)
        except Exception as error:
            # Whatever it is, there is a next time.
            log.warning("stream_room.read_failed", reason=str(error).strip())
            return None


# In place of a reason: the stream is over because its session is.
_END = "end"


async def _hints(viewer: OrganizationViewer) -> AsyncIterator[bytes]:
    yield viewer.take()


async def _signals(viewer: PageViewer) -> AsyncIterator[bytes]:
    yield viewer.take(_milliseconds())
    await asyncio.sleep(PAGE_REST_SECONDS)


async def _stirs(viewer: Viewer) -> bool:
    """Wait until there is something for this viewer; False when there was nothing for long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            while not (viewer.has_news or viewer.leaves):
                viewer.stirred.clear()
                await viewer.stirred.wait()
    return viewer.has_news or viewer.leaves


def _drop(rooms: Any, key: UUID, viewer: Viewer) -> None:
    del rooms[key][viewer]
    if not rooms[key]:
        del rooms[key]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000
