"""`runner artifacts get`: whole files with the right digest in one directory, or none."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.runner import artifacts_cli, client, downloads
from keeptrusts_runners.runner.build import build
from tests import factories, stored
from tests.live import live_url  # noqa: F401  (fixture)
from tests.people import Org

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SESSION, ARTIFACT = "sess_1", "art_1"


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_DELAY", 0.0)
    monkeypatch.setattr(client, "LONGEST_DELAY", 0.0)
    monkeypatch.setattr(downloads, "PATIENCE_SECONDS", 5.0)


# --- the real server -------------------------------------------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def arguments(url: str, session: str, secret: Path, out: Path, client_id: str) -> list[str]:
    return [
        "get", session, "--out", str(out), "--url", url,
        "--client-id", client_id, "--client-secret-file", str(secret),
    ]  # fmt: skip


@pytest.mark.proves("artifact.download")
def test_a_sessions_artifacts_are_saved_and_check(
    live_url: str,  # noqa: F811
    tmp_path: Path,
    secret: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    org = Org()
    session, machine = factories.running(org), org.machine()
    secret.write_text(machine.secret)
    contents = {"out/a.log": b"a", "a.log": b"b", "../../../passwd": b"c", "large": CONTENT * 3}
    made = {name: stored.put(org, session, data, name) for name, data in contents.items()}
    out = tmp_path / "out"
    given = arguments(
        live_url, ids.encode("sess", session.id), secret, out, ids.encode("sa", machine.account.id)
    )
    assert artifacts_cli.main([*given, "--all"]) == 0
    second = f"a.{made['a.log']['id']}.log"
    assert sorted(each.name for each in out.iterdir()) == sorted(
        ["SHA256SUMS", "a.log", second, "large", "passwd"]
    )
    assert (out / second).read_bytes() == b"b"
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=out, check=True, timeout=30)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out", "secret"]
    # Again is the same, and one alone says what it did.
    capsys.readouterr()
    assert artifacts_cli.main([*given, made["large"]["id"], "--json"]) == 0
    (said,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (said["name"], said["resumed_from"]) == ("large", len(CONTENT) * 3)
    # As the single file, in a directory of its own.
    program = tmp_path / "runner.pyz"
    build(program)
    command = [sys.executable, str(program), "artifacts", *given, "--all"]
    command[command.index(str(out))] = str(tmp_path / "other")
    subprocess.run(command, check=True, timeout=60, cwd=tmp_path)
    assert (tmp_path / "other/large").read_bytes() == CONTENT * 3
    assert artifacts_cli.main([*given, "art_00000000000000000000000000"]) == 1


# --- a server that cuts, lies and errs -------------------------------------------------------


@dataclass
class Server:
    """One session with one artifact, as it says."""

    url: str = ""
    name: str = "large.bin"
    content: bytes = CONTENT
    sha256: str = SHA256
    size: int = len(CONTENT)
    cut_after: int = 1 << 30
    failing: int = 0
    ignores_ranges: bool = False
    manifest: str | None = None
    ranges: list[str | None] = field(default_factory=list)

    def answer(self, path: str, headers: Any) -> tuple[int, dict[str, str], bytes]:
        if path == "/v1/auth/token":
            return _json({"access_token": "t", "expires_in": 900})
        if path.endswith("/manifest"):
            text = f"{self.sha256}  {self.name}\n" if self.manifest is None else self.manifest
            return 200, {"Content-Type": "text/plain"}, text.encode()
        if path.endswith("/content"):
            return self._content(headers)
        item = {"id": ARTIFACT, "sha256": self.sha256, "size_bytes": self.size}
        return _json({"items": [item], "next_cursor": None})

    def _content(self, headers: Any) -> tuple[int, dict[str, str], bytes]:
        asked = headers.get("Range")
        self.ranges.append(asked)
        if self.failing:
            self.failing -= 1
            return _json({"code": "database_unavailable"}, 503)
        start = 0
        if asked and not self.ignores_ranges:
            assert headers["If-Range"] == f'"{self.sha256}"'
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = self.content[start:]
        return 206 if start else 200, {"Content-Length": str(len(body))}, body[: self.cut_after]


def _json(body: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = made.answer(self.path.partition("?")[0], self.headers)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  (the library's names)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        made.url = f"http://127.0.0.1:{listening.server_port}"
        yield made
        listening.shutdown()
        thread.join()


@pytest.fixture
def get(server: Server, tmp_path: Path, secret: Path) -> Any:
    secret.write_text("secret")

    def run() -> int:
        given = arguments(server.url, SESSION, secret, tmp_path / "out", "client")
        return artifacts_cli.main([*given, "--all"])

    return run


def saved(tmp_path: Path) -> list[str]:
    out = tmp_path / "out"
    return sorted(each.name for each in out.iterdir()) if out.exists() else []


@pytest.mark.proves("artifact.download")
def test_a_download_that_is_cut_goes_on_where_it_was(
    server: Server, get: Any, tmp_path: Path
) -> None:
    server.cut_after = 300_000
    assert get() == 0
    assert (tmp_path / "out/large.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert saved(tmp_path) == ["SHA256SUMS", "large.bin"]


def test_what_an_earlier_run_left_is_not_fetched_again(
    server: Server, get: Any, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{SHA256}.part").write_bytes(CONTENT[:777])
    server.failing = 2
    assert get() == 0
    assert server.ranges == ["bytes=777-"] * 3
    assert (tmp_path / "out/large.bin").read_bytes() == CONTENT


def test_a_server_that_sends_all_again_is_taken_at_its_word(
    server: Server, get: Any, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{SHA256}.part").write_bytes(b"x" * 777)
    server.ignores_ranges = True
    assert get() == 0
    assert (tmp_path / "out/large.bin").read_bytes() == CONTENT


@pytest.mark.proves("artifact.download")
@pytest.mark.parametrize("left", [b"", b"x" * 777, b"x" * (len(CONTENT) + 1)])
def test_other_bytes_than_were_recorded_are_no_file(
    server: Server, get: Any, tmp_path: Path, left: bytes
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / f".{SHA256}.part").write_bytes(left)
    server.content = CONTENT[:-1] + b"x"
    assert get() == 1
    assert "large.bin" not in saved(tmp_path)
    # What was wrong is not taken up by the next run.
    server.content = CONTENT
    assert get() == 0
    assert (tmp_path / "out/large.bin").read_bytes() == CONTENT


def test_more_bytes_than_were_recorded_are_not_taken(
    server: Server, get: Any, tmp_path: Path
) -> None:
    server.size = 1000
    assert get() == 1
    assert "large.bin" not in saved(tmp_path)
    assert max((each.stat().st_size for each in (tmp_path / "out").iterdir()), default=0) <= 1000


@pytest.mark.proves("artifact.download")
@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "..", ".", "a/b", "a\\b", "a\tb", "\x1b[2J", "SHA256SUMS", "sha256sums",
     "x" * 256],
)  # fmt: skip
def test_no_name_leads_out_of_the_directory_or_deceives(
    name: str, server: Server, get: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.name = name
    assert get() == 1
    assert saved(tmp_path) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["secret"]
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "manifest", ["", "nonsense\n", f"\\{SHA256}  a\n", f"{'0' * 64}  a\n", f"{SHA256}  a\n" * 2]
)
def test_a_list_that_is_none_saves_nothing(
    manifest: str, server: Server, get: Any, tmp_path: Path
) -> None:
    server.manifest = manifest
    assert get() == (0 if manifest == "" else 1)
    assert not [name for name in saved(tmp_path) if name != "SHA256SUMS"]


def test_what_is_there_is_never_replaced_and_no_link_is_followed(
    server: Server, get: Any, tmp_path: Path
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    (out / "large.bin").write_bytes(b"mine")
    assert get() == 1
    assert (out / "large.bin").read_bytes() == b"mine"
    (out / "large.bin").unlink()
    (out / "large.bin").symlink_to(elsewhere)
    assert get() == 1
    (out / "large.bin").unlink()
    (out / f".{SHA256}.part").symlink_to(elsewhere)
    assert get() == 1
    assert not elsewhere.exists()


def test_a_bar_is_shown_on_a_terminal_alone(
    server: Server, get: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.name = "a bar.bin"
    assert get() == 0
    assert "\r" not in capsys.readouterr().err
    bar = artifacts_cli._Bar("name", True)
    bar.show(50, 100)
    assert "name [############            ]  50 %" in capsys.readouterr().err
