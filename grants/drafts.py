"""Bytes on their way in: files of this machine, until they are whole and come to the store."""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from uuid import UUID

from django.conf import settings

from grants import storage
from grants.storage import Blob, enough_room
from keeptrusts_runners.errors import PayloadTooLarge


def incoming() -> Path:
    """Where drafts are. Raises InsufficientStorage."""
    place = Path(settings.ARTIFACTS_DIR) / "incoming"
    with enough_room():
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return place


class Draft:
    """A blob being received. Leaving the block without `store()` leaves nothing behind."""

    def __init__(self, organization_id: UUID, max_bytes: int) -> None:
        self.organization_id = organization_id
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self._path: Path | None = None
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        with enough_room():
            descriptor, name = tempfile.mkstemp(dir=incoming())
        self._path, self._file = Path(name), os.fdopen(descriptor, "wb")
        # It ends with the process: a draft that nobody holds is left over.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
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

    @property
    def blob(self) -> Blob:
        """What has been written until now."""
        return Blob(self.sha256, self.size_bytes)

    def write(self, chunk: bytes) -> None:
        """Raises PayloadTooLarge, InsufficientStorage."""
        assert self._file is not None
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_bytes:
            raise PayloadTooLarge(limit_bytes=self._max_bytes)
        self._hash.update(chunk)
        with enough_room():
            self._file.write(chunk)

    def store(self) -> Blob:
        """Make it durable under its digest. Raises InsufficientStorage."""
        assert self._file is not None
        assert self._path is not None
        with enough_room():
            self._file.flush()
        storage.store().put(self.organization_id, self._path, self.sha256)
        return self.blob
