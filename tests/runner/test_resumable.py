"""Large outputs through a connection that breaks: what was taken is not sent again."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.runner import client, resumable
from keeptrusts_runners.runner.session import Claim, LeaseLost, SessionClient
from keeptrusts_runners.runner.tokens import SessionToken
from keeptrusts_runners.runner.transport import Transport, Unreachable
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories, stored
from tests.live import live_url  # noqa: F401  (fixture)
from tests.people import Org
from tests.sessions import roads

CONTENT = os.urandom(3_000_000)


class Line:
    """The way to a server, which breaks each connection after so many bytes to it, or before its
    answers to what came with `lost` come back."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname, parts.port)
        self.cut_after, self.lost, self.beginnings = 1 << 40, b"", 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        far = socket.create_connection(self._to)
        back = threading.Thread(target=self._back, args=(far, near), daemon=True)
        back.start()
        left = self.cut_after
        with suppress(OSError):
            while left > 0 and (data := near.recv(65536)):
                if self.lost and self.lost in data:
                    # It arrives, and nobody hears of it.
                    near.shutdown(socket.SHUT_WR)
                    self.lost = b""
                far.sendall(data[:left])
                self.beginnings += data.count(b"Upload-Offset: 0\r\n")
                left -= len(data)
        # Closing alone would not end it: the other thread is still reading.
        for each in (far, near):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        back.join()
        far.close()
        near.close()

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(65536):
                near.sendall(data)
        with suppress(OSError):
            near.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(client, "LONGEST_DELAY", 0.05)
    monkeypatch.setattr(resumable, "PART_BYTES", 1_000_000)
    monkeypatch.setattr(resumable, "PATIENCE_SECONDS", 10.0)


@pytest.fixture
def line(live_url: str) -> Iterator[Line]:  # noqa: F811
    made = Line(live_url)
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "large.bin"
    made.write_bytes(CONTENT)
    return made


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def session_client(line: Line, org: Org, session: RunnerSession) -> SessionClient:
    token = tokens.issue_session(session.id, org.runner.principal, session.lease_epoch, 60)
    text = ids.encode("sess", session.id)
    claim = Claim(text, "t", 1, session.lease_epoch, 60, 15, token, None, None, None)
    return SessionClient(Transport(line.url), claim, SessionToken(token), client.sleep)


def upload(made: SessionClient, file: Path) -> dict[str, object]:
    return made.upload(file, "large.bin", "file", "application/octet-stream", 1_000_000)


@pytest.mark.proves("run.runner")
def test_an_upload_goes_on_where_it_was_cut(line: Line, org: Org, file: Path) -> None:
    session = factories.running(org)
    line.cut_after = 1_700_000
    made = upload(session_client(line, org, session), file)
    assert made["size_bytes"] == len(CONTENT)
    assert stored.bytes_of(org, str(made["sha256"])) == CONTENT
    items = org.viewer.api.get(factories.path(session, "artifacts")).json()["items"]
    assert [item["id"] for item in items] == [made["id"]]
    # Nothing began anew once something was there.
    assert line.beginnings == 1


@pytest.mark.proves("run.runner")
@pytest.mark.parametrize("lost", [b"Upload-Offset: 0\r\n", b"Upload-Offset: 2000000\r\n"])
def test_a_lost_answer_costs_a_question(lost: bytes, line: Line, org: Org, file: Path) -> None:
    session = factories.running(org)
    line.lost = lost
    made = upload(session_client(line, org, session), file)
    assert line.lost == b""
    assert stored.bytes_of(org, str(made["sha256"])) == CONTENT
    assert len(org.viewer.api.get(factories.path(session, "artifacts")).json()["items"]) == 1


def test_an_upload_ends_with_its_lease(
    line: Line, org: Org, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.running(org)
    append = resumable.ResumableUpload._append

    def ended_meanwhile(self: resumable.ResumableUpload, offset: int) -> dict[str, object] | None:
        if offset == 1_000_000:
            roads.end(org, session, Verb.COMPLETE)
        return append(self, offset)

    monkeypatch.setattr(resumable.ResumableUpload, "_append", ended_meanwhile)
    with pytest.raises(LeaseLost):
        upload(session_client(line, org, session), file)
    assert org.viewer.api.get(factories.path(session, "artifacts")).json()["items"] == []


def test_patience_ends_where_nothing_is_taken(
    line: Line, org: Org, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "PATIENCE_SECONDS", 0.5)
    made = session_client(line, org, factories.running(org))
    line.cut_after = 100
    with pytest.raises(Unreachable):
        upload(made, file)
