"""Streams that are open: what they cost while nothing happens, and how soon an event is seen.

All of them are connections of this process, each with a token of its own. Some follow one session
together; the others are spread over many.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench import processes
from bench.figures import Benchmark, Figure, Size, Target, figure
from bench.http import Http, headers
from bench.waiting_claims import Connection, share_of_a_core

if TYPE_CHECKING:
    from bench.stage import Organization, Stage

CLAIM = "/v1/runners/sessions/claim"
TOGETHER = 50
OF_ONE_SESSION = 10
MOST_CLAIMED = 50
OPENING_AT_ONCE = 8
# Between what was seen and the next event: longer than a stream rests.
PAUSE_SECONDS = 0.15
PATIENCE_SECONDS = 30
_EVENT = b"event: event\n"


class Viewer:
    """One open stream, and when it was sent each event."""

    def __init__(self, url: str, session: str, token: str) -> None:
        self._url, self._session, self._token = urlsplit(url), session, token
        self.seen: asyncio.Queue[float] = asyncio.Queue()

    async def open(self) -> None:
        address = self._url.hostname, self._url.port
        self._reader, self._writer = await asyncio.open_connection(*address)
        path = f"/v1/runners/sessions/{self._session}/events/stream"
        head = b"GET %s HTTP/1.1\r\n" % path.encode() + headers(self._url.netloc, self._token)
        self._writer.write(head + b"\r\n\r\n")
        status = await self._reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in status, status
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        while True:
            message = await self._reader.readuntil(b"\n\n")
            if _EVENT in message:
                self.seen.put_nowait(time.perf_counter())

    def forget(self) -> None:
        while not self.seen.empty():
            self.seen.get_nowait()

    async def close(self) -> None:
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self._writer.close()


class Audience:
    """The viewers of one session, and its executor's token."""

    def __init__(self, url: str, session: dict[str, Any], tokens: list[str]) -> None:
        self._url, self._id, self._token = url, session["id"], session["session_token"]
        self.viewers = [Viewer(url, self._id, token) for token in tokens]

    async def latencies(self, number: int) -> list[float]:
        """For each event the seconds from its being sent to the last viewer's having it."""
        executor = Connection(self._url, self._token)
        await executor.open()
        took = []
        for _ in range(number):
            body = {"kind": "log", "message": "m"}
            sent = time.perf_counter()
            status, *seen = await asyncio.gather(
                executor.post(f"/v1/runners/sessions/{self._id}/events", body),
                *(asyncio.wait_for(each.seen.get(), PATIENCE_SECONDS) for each in self.viewers),
            )
            assert status == 201, status
            took.append(max(seen) - sent)
            await asyncio.sleep(PAUSE_SECONDS)
        executor.close()
        return took


def measure(stage: Stage, size: Size) -> list[Figure]:
    from bench.stage import Organization

    organization = Organization("Streams")
    tokens = [organization.dispatcher.token for _ in range(size.streams)]
    return asyncio.run(_measure(stage, size, _audiences(stage, organization, tokens)))


def _audiences(stage: Stage, organization: Organization, tokens: list[str]) -> list[Audience]:
    """The first is one viewer, the second those who watch together, the others the rest."""
    ends = [1, 1 + min(TOGETHER, len(tokens) // 2)]
    ends += [*range(ends[-1] + OF_ONE_SESSION, len(tokens), OF_ONE_SESSION), len(tokens)]
    groups = [tokens[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    organization.pend(organization.profile("watched"), len(groups))
    http = Http(stage.url, organization.runner.token)
    sessions: list[dict[str, Any]] = []
    while len(sessions) < len(groups):
        most = min(MOST_CLAIMED, len(groups) - len(sessions))
        sessions += http.post(CLAIM, {"max": most})["items"]
    return [Audience(stage.url, *each) for each in zip(sessions, groups, strict=True)]


async def _measure(stage: Stage, size: Size, audiences: list[Audience]) -> list[Figure]:
    viewers = [viewer for audience in audiences for viewer in audience.viewers]
    opening = time.perf_counter()
    await _open(viewers)
    opening = time.perf_counter() - opening
    try:
        await asyncio.sleep(1)
        for viewer in viewers:
            viewer.forget()
        # As long as each is sent a sign of life and its access is looked at.
        idle = await share_of_a_core(stage, size.cycle_seconds)
        one, together = audiences[:2]
        alone = [await one.latencies(size.wakes) for _ in range(size.rounds)]
        many = [await together.latencies(size.wakes) for _ in range(size.rounds)]
        memory = processes.memory_mib(stage.pid)
    finally:
        await asyncio.gather(*(viewer.close() for viewer in viewers), return_exceptions=True)
    count, crowd = len(viewers), len(together.viewers)
    small, calm = Target(most=300, of_ratio=False), Target(most=5, of_ratio=False)
    return [
        figure(f"opening one of {count} streams", "ms", [1000 * opening / count]),
        figure(f"{count} streams open", "% of a core", [idle], target=calm),
        figure("memory of the server", "MiB", [memory], target=small),
        *_latency("from an event to its one viewer", alone),
        *_latency(f"from an event to the last of {crowd} viewers", many),
    ]


async def _open(viewers: list[Viewer]) -> None:
    turns = asyncio.Semaphore(OPENING_AT_ONCE)

    async def open_in_turn(viewer: Viewer) -> None:
        async with turns:
            await viewer.open()

    await asyncio.gather(*map(open_in_turn, viewers))


def _latency(name: str, rounds: list[list[float]]) -> list[Figure]:
    medians = [1000 * statistics.median(latencies) for latencies in rounds]
    slowest = [1000 * statistics.quantiles(each, n=100)[98] for each in rounds]
    return [figure(name, "ms", medians), figure(f"{name}, 99th percentile", "ms", slowest)]


BENCHMARK = Benchmark("open_streams", "Event streams that are open, and what they show.", measure)
