"""One large artifact down the wire: how fast beside a copy, beside `cat` through a socket and
beside nginx, and that the server's memory does not grow with it."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings

from bench import nginx, processes
from bench.figures import Benchmark, Figure, Size, Target, figure
from grants import artifacts, storage
from grants.artifacts import Description
from grants.drafts import Draft
from grants.file_store import FileStore
from keeptrusts_runners import ids
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import claims
from sessions.claims import ClaimRequest

if TYPE_CHECKING:
    from bench.stage import Organization, Stage

MIB = 1024 * 1024
CHUNK_BYTES = 256 * 1024
ROUNDS = 3
SMALL = Target(most=200, of_ratio=False)


def measure(stage: Stage, size: Size) -> list[Figure]:
    from bench.stage import Organization

    organization = Organization("Downloads")
    path, file = _stored(organization, size.artifact_mib)
    netloc, token = urlsplit(stage.url).netloc, organization.runner.token
    memory = [0.0]

    def look() -> None:
        memory.append(processes.memory_mib(stage.pid))

    sides: dict[str, Callable[[], None]] = {
        "product": lambda: _download(netloc, path, look, {"Authorization": f"Bearer {token}"}),
        "copy": lambda: _copy(file),
        "cat": lambda: _cat(file),
    }
    try:
        with nginx.serving(file.parent) as peer:
            if peer is not None:
                sides["nginx"] = lambda: _download(peer, f"/{file.name}", look)
            rates = _rates(sides, size.artifact_mib)
    finally:
        file.unlink()
    ours, what = rates["product"], f"a download of {size.artifact_mib:,} MiB"
    beside = "… beside nginx" if peer else "… beside nginx: there is none on this machine"
    return [
        figure(what, "MiB/s", ours, rates["cat"], "cat through a socket"),
        figure("… beside a copy of the file", "MiB/s", ours, rates["copy"], "copy"),
        figure(beside, "MiB/s", ours, rates.get("nginx"), "nginx, no digest"),
        figure("memory of the server, at most", "MiB", [max(memory)], target=SMALL),
    ]


def _rates(sides: dict[str, Callable[[], None]], mib: int) -> dict[str, list[float]]:
    """MiB/s of each side, one in each round."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, side in sides.items():
            began = time.monotonic()
            side()
            rates[name].append(mib / (time.monotonic() - began))
    return rates


def _stored(organization: Organization, mib: int) -> tuple[str, Path]:
    """The artifact's content as an address, and as a file."""
    by, profile = organization.runner.principal, organization.profile()
    session_id = organization.pend(profile, 1)
    assert session_id is not None
    with organization_scope(organization.id):
        epoch = claims.claim(session_id, ClaimRequest(), by=by).lease_epoch
    with Draft(organization.id, mib * MIB) as draft:
        for _ in range(mib):
            draft.write(os.urandom(MIB))
        blob = artifacts.keep(draft)
    with organization_scope(organization.id):
        made = artifacts.seal(session_id, blob, Description("large.bin"), by=by, lease_epoch=epoch)
    store = storage.store()
    assert isinstance(store, FileStore)
    session, own = ids.encode("sess", session_id), ids.encode("art", made.id)
    path = f"/v1/runners/sessions/{session}/artifacts/{own}/content"
    return path, store.path_of(organization.id, blob.sha256)


def _download(
    netloc: str, path: str, look: Callable[[], None], headers: Mapping[str, str] | None = None
) -> None:
    """The whole of it, thrown away, with a look every 64 MiB."""
    seen = 0
    with closing(http.client.HTTPConnection(netloc, timeout=60)) as connection:
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        while chunk := answer.read(CHUNK_BYTES):
            seen += len(chunk)
            if seen % (64 * MIB) < CHUNK_BYTES:
                look()
        assert seen == int(answer.headers["Content-Length"])
    look()


def _copy(file: Path) -> None:
    copy = Path(settings.ARTIFACTS_DIR) / "copy-of-the-benchmark"
    try:
        shutil.copyfile(file, copy)
    finally:
        copy.unlink(missing_ok=True)


def _cat(file: Path) -> None:
    """What the kernel and a reader like ours can do at best: no HTTP, no digest."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    with near, far, subprocess.Popen(["cat", str(file)], stdout=far.fileno()):
        far.close()
        while near.recv(CHUNK_BYTES):
            pass


BENCHMARK = Benchmark("downloads", "A large artifact, downloaded whole.", measure)
