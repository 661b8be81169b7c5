"""The bytes of artifacts where they are stored, on either store, for tests that damage them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from grants import storage
from sessions.models import RunnerSession
from tests.factories import path, session_api
from tests.people import Org


def bytes_of(org: Org, sha256: str) -> bytes:
    return b"".join(storage.store().open_range(org.id, sha256))


def replace(org: Org, sha256: str, content: bytes, tmp_path: Path) -> bytes:
    """Put other bytes where a blob's are, or put its own back; answers what was there."""
    before = bytes_of(org, sha256) if storage.store().exists(org.id, sha256) else b""
    draft = tmp_path / "draft"
    draft.write_bytes(content)
    storage.store().put(org.id, draft, sha256)
    return before


def flip(org: Org, sha256: str, tmp_path: Path, at: int = -1) -> bytes:
    """Change one bit of what is stored; answers what was there."""
    bad = bytearray(bytes_of(org, sha256))
    bad[at] ^= 1
    return replace(org, sha256, bytes(bad), tmp_path)


def lose(org: Org, sha256: str) -> None:
    storage.store().remove(org.id, sha256)


def put(
    org: Org, session: RunnerSession, content: bytes, name: str = "a.bin", media_type: str = ""
) -> dict[str, Any]:
    """Upload as the session's executor; the artifact."""
    place = f"{path(session, 'artifacts')}?name={quote(name, safe='')}&kind=file"
    headers = {"Content-Type": media_type or "application/octet-stream"}
    answer = session_api(org, session).request("POST", place, raw=content, **headers)
    assert answer.status_code == 201, answer.content
    made: dict[str, Any] = answer.json()
    return made
