"""Uploads that are cut anywhere, disks that are full, processes that are killed: an artifact is
whole or not there, and what was left over is removed."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import socket
import struct
import subprocess
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db.models import F

from grants import blobs as named
from grants import drafts, incoming_files
from grants.artifact_models import StoredBlob
from grants.upload_models import Upload
from sessions.models import RunnerSession
from tests import blobs, factories
from tests.contract.calls import problem
from tests.factories import path
from tests.faults.crash_house import FAILPOINTS
from tests.grants.resuming import PARTIAL, append, begun, state
from tests.live import LiveApi, serving, until
from tests.people import Api, Org, token_of
from tests.sessions import records

SEED = 20260501
AT_ONCE = 4
# Above what the server reads before it hands the request on, and below.
SIZES = (1, 1_000, 70_000, 150_000, 600_000)


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No leftovers of other tests, and none for them."""
    monkeypatch.setattr(settings, "ARTIFACTS_DIR", tmp_path)


# --- cut anywhere ----------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [200, pytest.param(10_000, marks=pytest.mark.nightly)])
@pytest.mark.proves("artifact.whole", "artifact.resumed")
def test_an_upload_that_is_cut_anywhere_is_whole_in_the_end_or_not_there(
    rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = Org()
    on = factories.profile(org, max_artifacts=100_000)
    session = factories.running(org, factories.pending(org, on))
    with serving() as url:
        clients = [Client(org, session, url) for _ in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            shares = [range(first, rounds, AT_ONCE) for first in range(AT_ONCE)]
            list(pool.map(Client.rounds, clients, shares))
        until(lambda: not [each for each in blobs.drafts() if each.suffix != ".part"])
        whole = dict(ChainMap(*(client.whole for client in clients)))
        assert clients[0].listed() == whole
        assert {*blobs.kept(org.id)} == {*whole.values()}
    # A request that was still read while another finished the upload has begun its file anew, for
    # maintenance to remove once it is not of this minute.
    monkeypatch.setattr(incoming_files, "YOUNG_SECONDS", -60)
    incoming_files.collect()
    with org.scope():
        assert not Upload.objects.exists()
    assert blobs.drafts() == []
    records.assert_sound(org, session)


class Client:
    """Sends uploads and cuts them, as networks do."""

    def __init__(self, org: Org, session: RunnerSession, url: str) -> None:
        self._by, self._session, self._address = org.runner.principal, session, urlsplit(url)
        self._live = LiveApi(url)
        self.whole: dict[str, str] = {}

    def rounds(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            # The long run outlives any one token.
            self._live.token = token_of(self._by)
            self._round(random.Random(f"{SEED}/{number}"))

    def _round(self, rng: random.Random) -> None:
        content = rng.randbytes(rng.choice(SIZES))
        if rng.random() < 0.5:
            self._cut(rng, "POST", "?name=cut.bin", content, "Content-Type: text/plain")
            return
        upload = begun(self._live, self._session)
        headers = (f"Content-Type: {PARTIAL}", "Upload-Complete: ?1")
        for cut in range(rng.randint(1, 2)):
            offset = self._offset(upload) if cut else 0
            if offset < len(content):
                place = f"/{upload}/content"
                self._cut(rng, "PATCH", place, content[offset:], *headers,
                          f"Upload-Offset: {offset}")  # fmt: skip
        self._finish(upload, content)
        self.whole[upload] = hashlib.sha256(content).hexdigest()

    def _finish(self, upload: str, content: bytes) -> None:
        """A cut request may still be written down: then the right offset is told again."""
        for _ in range(20):
            offset = self._offset(upload)
            given = append(
                self._live, self._session, upload, content[offset:], offset, complete=True
            )
            if given.status_code == 200:
                assert given.json()["sha256"] == hashlib.sha256(content).hexdigest()
                return
            assert given.json()["code"] == "upload_offset_mismatch", given.content
        pytest.fail("the offset never came to rest")

    def _offset(self, upload: str) -> int:
        said = state(self._live, self._session, upload)
        assert said.status_code == 204, said.content
        return int(said.headers["Upload-Offset"])

    def _cut(
        self, rng: random.Random, method: str, place: str, content: bytes, *headers: str
    ) -> None:
        """All of the request but for its end, which may be any part of it."""
        lines = [
            f"{method} /v1{path(self._session, 'artifacts')}{place} HTTP/1.1", "Host: 127.0.0.1",
            f"Authorization: Bearer {self._live.token}", f"Content-Length: {len(content)}",
            *headers,
        ]  # fmt: skip
        sent = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
        head = len(sent) - len(content)
        # Mostly in the content, sometimes in the head.
        at = rng.randrange(head if rng.random() < 0.9 else 1, len(sent))
        where = (self._address.hostname, self._address.port)
        with socket.create_connection(where, 30) as connection:
            if rng.random() < 0.5:
                # A reset instead of an end.
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            with suppress(OSError):
                connection.sendall(sent[:at])

    def listed(self) -> dict[str, str]:
        """The digests of all artifacts, by their ids."""
        found, cursor = {}, ""
        while cursor is not None:
            query = f"?limit=200{cursor and f'&cursor={cursor}'}"
            page = self._live.get(path(self._session, "artifacts") + query).json()
            found |= {each["id"]: each["sha256"] for each in page["items"]}
            cursor = page["next_cursor"]
        return found


# --- a full disk -----------------------------------------------------------------------------

MIB = 1 << 20


@contextmanager
def small_disk(place: Path) -> Iterator[Callable[[], None]]:
    """A volume of 3 MiB at the place, where we may mount one; else no file may be longer than
    1 MiB. Yields what makes room."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if os.getuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
        remount = ["mount", "-o", "remount,size=32m", str(place)]
        try:
            yield lambda: subprocess.run(remount, check=True) and None
        finally:
            subprocess.run(["umount", str(place)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.proves("artifact.disk-full")
def test_a_full_disk_is_an_answer_harms_no_session_and_heals(tmp_path: Path) -> None:
    org = Org()
    session = factories.running(org)
    api, content = org.runner.api, os.urandom(4 * MIB)
    with small_disk(tmp_path) as make_room:
        upload = begun(api, session, content[: MIB // 2])
        problem(append(api, session, upload, content[MIB // 2 :], MIB // 2), 507)
        place = f"{path(session, 'artifacts')}?name=large"
        problem(api.request("POST", place, raw=content), 507, "insufficient_storage")
        assert [each.suffix for each in blobs.drafts()] == [".part"]
        assert api.post(path(session, "heartbeat")).status_code == 200
        assert api.get(path(session, "artifacts")).json()["items"] == []
        make_room()
        offset = int(state(api, session, upload)["Upload-Offset"])
        assert MIB // 2 <= offset < len(content)
        done = append(api, session, upload, content[offset:], offset, complete=True)
        assert done.status_code == 200, done.content
        assert done.json()["sha256"] == hashlib.sha256(content).hexdigest()
        assert api.request("POST", place, raw=content).status_code == 201
    records.assert_sound(org, session)


# --- kill -9 ---------------------------------------------------------------------------------


@contextmanager
def killed_at(point: str, armed: Path) -> Iterator[str]:
    """A server that dies as by kill -9 when it first comes by the point."""
    armed.mkdir()
    with serving(PYTHONPATH=str(FAILPOINTS), FAILPOINTS=str(armed)) as url:
        (armed / f"other.{point}").touch()
        yield url


def sent(what: Callable[[], Any]) -> None:
    with pytest.raises((OSError, HTTPException)):
        what()


@pytest.mark.proves("artifact.collected", "artifact.resumed")
def test_a_worker_that_is_killed_between_rename_and_commit_loses_nothing_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    org = Org()
    session = factories.running(org)
    token, content = org.runner.api.token, os.urandom(200_000)
    upload = begun(org.runner.api, session)
    with killed_at("after-replace", tmp_path / "resumed") as url:
        sent(lambda: append(LiveApi(url, token), session, upload, content, 0, complete=True))
    with killed_at("after-replace", tmp_path / "plain") as url:
        place = f"{path(session, 'artifacts')}?name=plain"
        sent(lambda: LiveApi(url, token).request("POST", place, raw=content[:-1]))
    api: Api = org.runner.api
    assert api.get(path(session, "artifacts")).json()["items"] == []
    placed = {hashlib.sha256(each).hexdigest() for each in (content, content[:-1])}
    assert {*blobs.kept(org.id)} == placed
    # The resumed one is all there, and only its row is missing.
    assert state(api, session, upload)["Upload-Offset"] == str(len(content))
    done = append(api, session, upload, b"", len(content), complete=True)
    assert done.json()["sha256"] == hashlib.sha256(content).hexdigest()
    # The other is nobody's.
    with org.scope():
        StoredBlob.objects.update(
            reserved_at=F("reserved_at") - timedelta(seconds=named.GRACE_SECONDS + 1)
        )
    named.collect()
    assert blobs.kept(org.id) == [done.json()["sha256"]]
    records.assert_sound(org, session)


@pytest.mark.proves("artifact.collected", "crash.acknowledged")
def test_what_was_acknowledged_of_an_upload_survives_a_kill_and_a_draft_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = Org()
    session = factories.running(org)
    token, content = org.runner.api.token, os.urandom(300_000)
    upload = begun(org.runner.api, session, content[:100_000])
    with killed_at("before-fsync", tmp_path / "part") as url:
        rest = content[100_000:]
        sent(lambda: append(LiveApi(url, token), session, upload, rest, 100_000, complete=True))
    with killed_at("before-fsync", tmp_path / "draft") as url:
        place = f"{path(session, 'artifacts')}?name=plain"
        sent(lambda: LiveApi(url, token).request("POST", place, raw=content))
    api: Api = org.runner.api
    offset = int(state(api, session, upload)["Upload-Offset"])
    assert offset >= 100_000
    assert len(blobs.drafts()) == 2
    monkeypatch.setattr(incoming_files, "YOUNG_SECONDS", -60)
    incoming_files.collect()
    assert [each.suffix for each in blobs.drafts()] == [".part"], drafts.incoming()
    done = append(api, session, upload, content[offset:], offset, complete=True)
    assert done.json()["sha256"] == hashlib.sha256(content).hexdigest()
    records.assert_sound(org, session)
