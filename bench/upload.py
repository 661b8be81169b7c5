"""Artifacts that come in: how fast one is received, and what it takes of the server's memory.

The reference receives the same bytes over the same loopback, hashes them and makes the file
durable under its digest, in a process of its own: what any product has to do with one upload.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings

from bench import processes
from bench.figures import Benchmark, Figure, Size, Target, figure
from bench.http import Http, Refused, headers, status_and_length
from grants import storage

if TYPE_CHECKING:
    from bench.stage import Organization, Stage

SESSIONS = "/v1/runners/sessions"
CHUNK = 256 * 1024
MIB = 1 << 20
LARGEST = 8 << 30
TIMEOUT_SECONDS = 600


def send(connection: socket.socket, content: bytes, size: int) -> None:
    """So many bytes, of this content again and again."""
    while size > 0:
        part = content if size >= len(content) else content[:size]
        connection.sendall(part)
        size -= len(part)


# --- the reference ---------------------------------------------------------------------------


def receive(listening: socket.socket, place: str) -> None:
    """Receive, hash and keep each upload, and answer; until one comes that is empty."""
    while True:
        connection, _ = listening.accept()
        with connection:
            size = int.from_bytes(connection.recv(8, socket.MSG_WAITALL))
            if size == 0:
                return
            _keep(connection, size, Path(place))
            connection.sendall(b"!")


def _keep(connection: socket.socket, size: int, place: Path) -> None:
    digest, draft = hashlib.sha256(), place / "draft"
    with draft.open("wb") as file:
        while size > 0 and (chunk := connection.recv(min(CHUNK, size))):
            digest.update(chunk)
            file.write(chunk)
            size -= len(chunk)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(place / digest.hexdigest())
    directory = os.open(place, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


@contextmanager
def receiver(place: str) -> Iterator[Any]:
    """The address of a process that receives."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        spawned = multiprocessing.get_context("spawn")
        process = spawned.Process(target=receive, args=(listening, place))
        process.start()
        address = listening.getsockname()
        try:
            yield address
        finally:
            with socket.create_connection(address) as connection:
                connection.sendall(bytes(8))
            process.join()


def reference(address: Any, content: bytes, size: int) -> float:
    """Seconds until so many bytes are kept."""
    with socket.create_connection(address, TIMEOUT_SECONDS) as connection:
        began = time.perf_counter()
        connection.sendall(size.to_bytes(8))
        send(connection, content, size)
        if connection.recv(1) != b"!":
            raise Refused("the reference kept nothing")
        return time.perf_counter() - began


# --- the product -----------------------------------------------------------------------------


def upload(url: str, session: str, token: str, content: bytes, size: int) -> float:
    """Seconds until the artifact is stored."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), TIMEOUT_SECONDS) as connection:
        head = headers(address.netloc, token).replace(b"application/json", b"text/plain")
        place = f"{SESSIONS}/{session}/artifacts?name=bench"
        began = time.perf_counter()
        connection.sendall(
            b"POST %s HTTP/1.1\r\n%s\r\nContent-Length: %d\r\n\r\n" % (place.encode(), head, size)
        )
        send(connection, content, size)
        answer = connection.recv(65536)
        took = time.perf_counter() - began
    status, _ = status_and_length(answer.partition(b"\r\n\r\n")[0])
    if status != 201:
        raise Refused(answer.decode(errors="replace"))
    return took


def start(stage: Stage, organization: Organization) -> tuple[str, str]:
    """A session that runs, and its token."""
    room = organization.profile(max_artifact_bytes=LARGEST, max_artifacts=10_000)
    organization.pend(room, 1)
    http = Http(stage.url, organization.runner.token)
    (claimed,) = http.post(f"{SESSIONS}/claim", {})["items"]
    http.post(f"{SESSIONS}/{claimed['id']}/heartbeat", {}, claimed["session_token"])
    return claimed["id"], claimed["session_token"]


class Watch:
    """The most memory that the server's family has while the block lasts, in MiB."""

    def __init__(self, pid: int) -> None:
        self._pid, self._over = pid, threading.Event()
        self.before = self.most = processes.memory_mib(pid)
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            self.most = max(self.most, processes.memory_mib(self._pid))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def measure(stage: Stage, size: Size) -> list[Figure]:
    from bench.stage import Organization

    organization = Organization("Uploads")
    session, token = start(stage, organization)
    content = os.urandom(min(size.upload_bytes, 64 * MIB))
    ours, theirs = [], []
    kept = Path(settings.ARTIFACTS_DIR)
    kept.mkdir(parents=True, exist_ok=True)
    # On the store's volume, so that both write to the same disk.
    with TemporaryDirectory(dir=kept) as place, receiver(place) as address:
        for _ in range(size.rounds + 1):
            ours.append(upload(stage.url, session, token, content, size.upload_bytes))
            theirs.append(reference(address, content, size.upload_bytes))
    with Watch(stage.pid) as watch:
        took = upload(stage.url, session, token, content, size.large_upload_bytes)
    _forget(organization, content, {size.upload_bytes, size.large_upload_bytes})
    # The first of each makes directories and opens connections.
    rates = [size.upload_bytes / MIB / each for each in ours[1:]]
    limits = [size.upload_bytes / MIB / each for each in theirs[1:]]
    large = f"{size.large_upload_bytes / MIB:,.0f} MiB"
    return [
        figure(f"an artifact of {size.upload_bytes / MIB:,.0f} MiB", "MiB/s", rates, limits,
               "receive, SHA-256, disk", Target(least=0.7)),
        figure(f"an artifact of {large}", "MiB/s", [size.large_upload_bytes / MIB / took]),
        figure(f"memory for {large}", "MiB more", [watch.most - watch.before],
               target=Target(most=16, of_ratio=False)),
        figure("memory of the server", "MiB", [watch.most],
               target=Target(most=200, of_ratio=False)),
    ]  # fmt: skip


def _forget(organization: Organization, content: bytes, sizes: set[int]) -> None:
    """The database goes with the run; its bytes would not."""
    for size in sizes:
        digest = hashlib.sha256()
        for start_at in range(0, size, len(content)):
            digest.update(content[: min(len(content), size - start_at)])
        storage.store().remove(organization.id, digest.hexdigest())


BENCHMARK = Benchmark("upload", "Artifacts received through the API, in files.", measure)
