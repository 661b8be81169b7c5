"""The blob door: bytes in, a digest out, bytes back by digest. Files under the data directory.

A blob is written to a temporary file and hashed on the way, made durable, then linked to its
place by digest, one tree for each organization. Until then it does not exist; the row that names
it is written after. Nothing here opens a transaction.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from uuid import UUID

from django.conf import settings

from keeptrusts_runners.errors import InsufficientStorage, PayloadTooLarge

CHUNK_BYTES = 256 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Blob:
    """Stored bytes: where they are is their digest."""

    sha256: str
    size_bytes: int


class Draft:
    """A blob being received. Leaving the block without `store()` leaves nothing behind."""

    def __init__(self, organization_id: UUID, max_bytes: int) -> None:
        self._organization_id = organization_id
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self._path: Path | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        incoming = Path(settings.ARTIFACTS_DIR) / "incoming"
        with _space():
            incoming.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, name = tempfile.mkstemp(dir=incoming)
        self._path, self._file = Path(name), os.fdopen(descriptor, "wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """Of what has been written until now."""
        return self._hash.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Raises PayloadTooLarge, InsufficientStorage."""
        assert self._file is not None
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise PayloadTooLarge(limit_bytes=self._max_bytes)
        self._hash.update(chunk)
        with _space():
            self._file.write(chunk)

    def store(self) -> Blob:
        """Make it durable under its digest."""
        assert self._file is not None
        assert self._path is not None
        blob = Blob(self.sha256, self.size_bytes)
        place = path_of(self._organization_id, blob.sha256)
        with _space():
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            _make_directory(place.parent)
            self._path.replace(place)
            _sync_directory(place.parent)
        return blob


@contextmanager
def _space() -> Iterator[None]:
    """A full disk is an answer, not a crash."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InsufficientStorage from error
        raise


def _make_directory(directory: Path) -> None:
    """With the name of each new directory made durable in the one above it."""
    if not directory.is_dir():
        _make_directory(directory.parent)
        directory.mkdir(exist_ok=True, mode=0o700)
        _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def path_of(organization_id: UUID, sha256: str) -> Path:
    """Names never reach a path: it is made of the organization and the digest alone."""
    return Path(settings.ARTIFACTS_DIR) / organization_id.hex / sha256[:2] / sha256


def read(
    organization_id: UUID, sha256: str, start: int = 0, length: int | None = None
) -> Iterator[bytes]:
    """The bytes of a blob, or `length` of them from `start`, in chunks. Raises
    FileNotFoundError."""
    file = path_of(organization_id, sha256).open("rb")

    def chunks() -> Iterator[bytes]:
        left = length
        with file:
            file.seek(start)
            while left != 0:
                chunk = file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
                if not chunk:
                    return
                left = None if left is None else left - len(chunk)
                yield chunk

    return chunks()
