"""The file of an upload that goes on over several requests, until it is whole.

Two requests may write at once, when a client gave up one that the server still waits for. Each
chunk is appended under the file's lock, and only if the file ends where its writer believes it
does: of two that go on from the same place the first to write goes on, and the other is refused. A
file that has come to its place in the store has left its name here, which is compared too.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from grants import drafts
from grants.storage import CHUNK_BYTES, Blob, enough_room
from keeptrusts_runners.errors import UploadOffsetMismatch

SUFFIX = ".part"


def path_of(upload_id: UUID) -> Path:
    return drafts.incoming() / f"{upload_id.hex}{SUFFIX}"


def size_of(upload_id: UUID) -> int | None:
    """How much of the upload is here; None where nothing is."""
    try:
        return path_of(upload_id).stat().st_size
    except FileNotFoundError:
        return None


def discard(upload_id: UUID) -> None:
    """Whoever still writes is refused from now on."""
    path_of(upload_id).unlink(missing_ok=True)


class UploadMovedError(Exception):
    """The file is no longer here: it has come to its place in the store, or was given up."""


class Appender:
    """Writes on from `offset`, which moves with what is written. Raises UploadMovedError."""

    def __init__(self, upload_id: UUID, offset: int) -> None:
        self._path = path_of(upload_id)
        self.offset = offset
        self._began_at = offset
        self._hash = hashlib.sha256()
        # What is to go on is not begun anew.
        begins = os.O_CREAT if offset == 0 else 0
        with enough_room():
            flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | begins
            self._file = _opened(self._path, flags)

    def write(self, chunk: bytes) -> None:
        """Raises UploadOffsetMismatch, UploadMovedError and InsufficientStorage; what fits before
        the disk is full stays."""
        with self.held():
            left = memoryview(chunk)
            while left:
                with enough_room():
                    written = os.write(self._file, left)
                self._hash.update(left[:written])
                self.offset += written
                left = left[written:]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else writes, and nobody has: the file ends at our offset."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            self._require_place()
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _require_place(self) -> None:
        here = os.fstat(self._file)
        try:
            is_ours = self._path.stat().st_ino == here.st_ino
        except FileNotFoundError:
            is_ours = False
        if not is_ours:
            raise UploadMovedError
        if here.st_size != self.offset:
            raise offset_mismatch(here.st_size, self.offset)

    def take_back(self) -> None:
        """What this writer has appended was wrong; nobody has been told that it is there."""
        with self.held():
            os.ftruncate(self._file, self._began_at)
            self.offset = self._began_at

    @property
    def sha256(self) -> str:
        """Of what this writer has appended."""
        return self._hash.hexdigest()

    def blob(self) -> Blob:
        """All of the file, which is held. Read again unless this writer has written all of it."""
        if self._began_at == 0:
            return Blob(self.sha256, self.offset)
        whole = hashlib.sha256()
        with self._path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                whole.update(chunk)
        return Blob(whole.hexdigest(), self.offset)

    @property
    def path(self) -> Path:
        return self._path

    def close(self) -> None:
        """What was written is durable: the next answer says that it is here. Raises
        InsufficientStorage."""
        try:
            with enough_room():
                os.fsync(self._file)
        finally:
            os.close(self._file)


def _opened(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags, mode=0o600)
    except FileNotFoundError:
        raise UploadMovedError from None


def offset_mismatch(expected: int, provided: int) -> UploadOffsetMismatch:
    """Member names are those of the problem type."""
    members: dict[str, Any] = {"expected-offset": expected, "provided-offset": provided}
    return UploadOffsetMismatch(
        headers={"Upload-Offset": str(expected), "Upload-Complete": "?0"},
        **members,
    )
