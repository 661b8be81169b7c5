"""Runners that wait: what they cost while nothing happens, and how soon one has what is dispatched.

All of them are connections of this process, each asking again for half a minute when it was
answered, as runners do.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bench import processes
from bench.figures import Benchmark, Figure, Size, Target, figure
from bench.http import headers, request, status_and_length
from keeptrusts_runners import ids

if TYPE_CHECKING:
    from bench.stage import Stage

WAIT_SECONDS = 30
# They come one after the other over this part of their wait, and so ask again spread over it.
ARRIVE_WITHIN_SECONDS = 5.0
# Between what one runner got and the next dispatch: it waits again, and the server rests.
PAUSE_SECONDS = 0.05
PATIENCE_SECONDS = 40

DISPATCH, CLAIM = "/v1/runners/sessions", "/v1/runners/sessions/claim"


class Connection:
    """One keep-alive connection of a bearer."""

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        self._address = address.hostname, address.port
        self._headers = headers(address.netloc, token)

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(*self._address)

    async def post(self, path: str, body: Any) -> int:
        """The status."""
        self._writer.write(request(path, self._headers, json.dumps(body).encode()))
        head = await self._reader.readuntil(b"\r\n\r\n")
        status, length = status_and_length(head)
        await self._reader.readexactly(length)
        return status

    def close(self) -> None:
        self._writer.close()


class Crowd:
    """The runners, and when the last of them was given something."""

    def __init__(self, url: str, token: str, number: int) -> None:
        self._runners = [Connection(url, token) for _ in range(number)]
        self.asked = 0
        self.given: asyncio.Queue[float] = asyncio.Queue()

    async def arrive(self) -> None:
        self._waiting = []
        for runner in self._runners:
            await runner.open()
            self._waiting.append(asyncio.create_task(self._wait(runner)))
            await asyncio.sleep(ARRIVE_WITHIN_SECONDS / len(self._runners))

    async def _wait(self, runner: Connection) -> None:
        while True:
            self.asked += 1
            if await runner.post(CLAIM, {"wait_seconds": WAIT_SECONDS}) == 200:
                self.given.put_nowait(time.perf_counter())

    async def leave(self) -> None:
        for waiting in self._waiting:
            waiting.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        for runner in self._runners:
            runner.close()


def measure(stage: Stage, size: Size) -> list[Figure]:
    from bench.stage import Organization

    organization = Organization("Waiting")
    profile = ids.encode("prof", organization.profile().id)
    tokens = organization.runner.token, organization.dispatcher.token
    return asyncio.run(_measure(stage, size, profile, *tokens))


async def _measure(
    stage: Stage, size: Size, profile: str, runner: str, dispatcher: str
) -> list[Figure]:
    crowd = Crowd(stage.url, runner, size.waiting)
    await crowd.arrive()
    try:
        await asyncio.sleep(1)
        idle = await share_of_a_core(stage, size.idle_seconds)
        rounds = [
            await _dispatch(stage, crowd, dispatcher, profile, size.wakes)
            for _ in range(size.rounds)
        ]
        # As long as it takes until each has asked again once.
        whole = await share_of_a_core(stage, size.cycle_seconds)
        memory = processes.memory_mib(stage.pid)
    finally:
        await crowd.leave()
    return _figures(size, rounds, idle, whole, memory)


def _figures(
    size: Size, rounds: list[list[float]], idle: float, whole: float, memory: float
) -> list[Figure]:
    medians = [1000 * statistics.median(latencies) for latencies in rounds]
    slowest = [1000 * statistics.quantiles(each, n=100)[98] for each in rounds]
    soon, calm = Target(most=50, of_ratio=False), Target(most=5, of_ratio=False)
    small = Target(most=300, of_ratio=False)
    return [
        figure(f"from dispatch to one of {size.waiting} runners", "ms", medians, target=soon),
        figure("the same, 99th percentile", "ms", slowest),
        figure(f"{size.waiting} runners waiting", "% of a core", [idle], target=calm),
        figure("the same, asking again every 30 s", "% of a core", [whole], target=calm),
        figure("memory of the server", "MiB", [memory], target=small),
    ]


async def share_of_a_core(stage: Stage, seconds: float) -> float:
    """What the server took meanwhile, in per cent."""
    used, start = processes.cpu_seconds(stage.pid), time.monotonic()
    await asyncio.sleep(seconds)
    return 100 * (processes.cpu_seconds(stage.pid) - used) / (time.monotonic() - start)


async def _dispatch(
    stage: Stage, crowd: Crowd, token: str, profile: str, number: int
) -> list[float]:
    """For each dispatch the seconds from its being sent to a runner's having the session."""
    dispatcher = Connection(stage.url, token)
    await dispatcher.open()
    latencies = []
    for _ in range(number):
        sent = time.perf_counter()
        body = {"profile_id": profile, "task_id": "bench"}
        status, given = await asyncio.gather(
            dispatcher.post(DISPATCH, body),
            asyncio.wait_for(crowd.given.get(), PATIENCE_SECONDS),
        )
        assert status == 201, status
        latencies.append(given - sent)
        await asyncio.sleep(PAUSE_SECONDS)
    dispatcher.close()
    return latencies


BENCHMARK = Benchmark("waiting_claims", "Runners waiting for work, and their waking.", measure)
