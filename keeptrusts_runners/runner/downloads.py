"""Artifacts of a session as files of one directory: resumed where a download was cut, and never
there under their name before their digest is right."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners.runner.client import ApiError, Client, Pause, Waits, sleep
from keeptrusts_runners.runner.transport import CHUNK_BYTES, Unreachable

SUMS = "SHA256SUMS"
PATIENCE_SECONDS = 120.0
_REMOVED = "# removed: "
_SUM = re.compile(r"(\\?)([0-9a-f]{64})  ([^\n]+)")
_CONTROL = re.compile("[\x00-\x1f\x7f/\\\\]")
_LIST_PAGES = 1000

OnBytes = Callable[[int, int], None]
"""Called with how many bytes of a file are there, and of how many."""


class NotSaved(Exception):
    """One artifact could not be saved; the message says why."""


@dataclass(frozen=True)
class Wanted:
    """One artifact, and the name of its file."""

    artifact_id: str
    name: str
    sha256: str
    size_bytes: int
    removed: bool = False


@dataclass(frozen=True)
class Saved:
    """Where an artifact is now, and how many of its bytes were there already."""

    path: Path
    resumed_from: int


def listed(client: Client, session_id: str) -> tuple[list[Wanted], str]:
    """The session's artifacts with the file names that the control plane gives them, and its list
    as it came. Raises NotSaved for a list that no honest one would send."""
    path = f"/v1/runners/sessions/{session_id}/artifacts"
    with client.open(f"{path}/manifest", {}) as response:
        text = response.read().decode("utf-8")
    lines = text.removesuffix("\n").split("\n") if text else []
    # Artifacts are listed newest first, and one that came after the list is none of it.
    items = sorted(_items(client, path), key=lambda item: str(item["id"]))[: len(lines)]
    if len(items) != len(lines):
        raise NotSaved("the control plane lists other artifacts than it has")
    found = [_wanted(line, item) for line, item in zip(lines, items, strict=True)]
    if len({SUMS.casefold(), *(each.name.casefold() for each in found)}) != len(found) + 1:
        raise NotSaved("the control plane gives two artifacts one name")
    return found, text


def _items(client: Client, path: str) -> Iterator[dict[str, Any]]:
    query = {"limit": "200"}
    for _ in range(_LIST_PAGES):
        body = client.request("GET", path, query=query).body or {}
        yield from body.get("items", [])
        if not body.get("next_cursor"):
            return
        query["cursor"] = body["next_cursor"]


def _wanted(line: str, item: dict[str, Any]) -> Wanted:
    found = _SUM.fullmatch(line.removeprefix(_REMOVED))
    if found is None or found[1] or found[2] != item["sha256"] or not is_plain(found[3]):
        raise NotSaved(f"the control plane lists an artifact that cannot be a file: {line!r}")
    removed = line.startswith(_REMOVED)
    return Wanted(str(item["id"]), found[3], found[2], int(item["size_bytes"]), removed)


def is_plain(name: str) -> bool:
    """Whether a name is that of a file in the directory itself, whatever the server may say."""
    return (
        name not in ("", ".", "..")
        and not _CONTROL.search(name)
        and len(name.encode("utf-8", "surrogatepass")) <= 255
        and (os.name != "nt" or not set(name) & set(':*?"<>|'))
    )


class Directory:
    """Where the files go. Nothing is written outside of it, and nothing in it is replaced."""

    def __init__(self, path: Path, client: Client, session_id: str, pause: Pause = sleep) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self._path, self._client, self._pause = path, client, pause
        self._base = f"/v1/runners/sessions/{session_id}/artifacts"

    def save(self, wanted: Wanted, on_bytes: OnBytes) -> Saved:
        """Raises NotSaved, and ApiError or Unreachable once patience is over."""
        target = self._path / wanted.name
        if os.path.lexists(target):
            if not target.is_symlink() and target.is_file() and _digest(target) == wanted.sha256:
                return Saved(target, wanted.size_bytes)
            raise NotSaved(f"{target} is there already, and is something else")
        part = self._path / f".{wanted.sha256}.part"
        file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o600), "r+b")
        with file:
            resumed_from = _Download(self._client, file, self._pause).run(
                f"{self._base}/{wanted.artifact_id}/content", wanted, on_bytes
            )
            os.fsync(file.fileno())
        # A link, unlike a rename, does not replace what somebody put there meanwhile.
        try:
            os.link(part, target)
        except FileExistsError:
            raise NotSaved(f"{target} came to be there meanwhile") from None
        part.unlink()
        return Saved(target, resumed_from)

    def write_list(self, text: str) -> None:
        """SHA256SUMS beside the files, for `sha256sum -c`."""
        fresh = self._path / f".{SUMS}.part"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _NO_LINK, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
        fresh.replace(self._path / SUMS)


_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Download:
    """One file's bytes, over as many requests as it takes."""

    def __init__(self, client: Client, file: Any, pause: Pause) -> None:
        self._client, self._file, self._pause = client, file, pause
        self._hash, self._size = hashlib.sha256(), 0

    def run(self, path: str, wanted: Wanted, on_bytes: OnBytes) -> int:
        """Until all bytes are there and have the digest; how many there were at first."""
        resumed_from = self._take_up(wanted.size_bytes)
        waits = Waits(PATIENCE_SECONDS, self._pause)
        while self._size < wanted.size_bytes:
            before = self._size
            try:
                self._read(path, wanted, on_bytes)
            except (ApiError, Unreachable) as error:
                if self._size > before:
                    waits = Waits(PATIENCE_SECONDS, self._pause)
                waits.before_next_try(error)
        if self._hash.hexdigest() != wanted.sha256:
            self._begin_anew()
            raise NotSaved(f"{wanted.name} has another digest than was recorded; nothing is kept")
        return resumed_from

    def _take_up(self, size: int) -> int:
        """Count and hash what an earlier download left."""
        if os.fstat(self._file.fileno()).st_size > size:
            self._begin_anew()
        while chunk := self._file.read(CHUNK_BYTES):
            self._hash.update(chunk)
            self._size += len(chunk)
        return self._size

    def _read(self, path: str, wanted: Wanted, on_bytes: OnBytes) -> None:
        """One request's worth. Raises Unreachable where it ended too early."""
        headers = {}
        if self._size:
            headers = {"Range": f"bytes={self._size}-", "If-Range": f'"{wanted.sha256}"'}
        with self._client.open(path, headers) as response:
            if response.status == 200 and self._size:
                self._begin_anew()
            while chunk := response.read(min(CHUNK_BYTES, wanted.size_bytes - self._size + 1)):
                if self._size + len(chunk) > wanted.size_bytes:
                    raise NotSaved(f"{wanted.name} is larger than was recorded")
                self._file.write(chunk)
                self._hash.update(chunk)
                self._size += len(chunk)
                on_bytes(self._size, wanted.size_bytes)
        if self._size < wanted.size_bytes:
            raise Unreachable(f"{wanted.name} was cut after {self._size} bytes", sent=True)

    def _begin_anew(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash, self._size = hashlib.sha256(), 0
