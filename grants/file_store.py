"""Blobs as files by digest. A name never reaches a path, which is made of the organization and the
digest alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from grants.storage import CHUNK_BYTES, BlobMissing, enough_room
from keeptrusts_runners.errors import StorageUnavailable

RETRY_SECONDS = 5


class FileStore:
    """Below `root`, which may be a volume that several servers share."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path_of(self, organization_id: UUID, sha256: str) -> Path:
        return self._root / organization_id.hex / sha256[:2] / sha256

    def put(self, organization_id: UUID, draft: Path, sha256: str) -> None:
        """The draft is on the same volume: it is renamed, and there in one step or not at all."""
        place = self.path_of(organization_id, sha256)
        with enough_room():
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            make_directory(place.parent)
            draft.replace(place)
            sync_directory(place.parent)

    def open_range(
        self, organization_id: UUID, sha256: str, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        try:
            file = self.path_of(organization_id, sha256).open("rb")
        except FileNotFoundError:
            self._require_tree(organization_id)
            raise BlobMissing from None

        def chunks() -> Iterator[bytes]:
            left = length
            with file:
                file.seek(offset)
                while left != 0:
                    chunk = file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
                    if not chunk:
                        return
                    left = None if left is None else left - len(chunk)
                    yield chunk

        return chunks()

    def size(self, organization_id: UUID, sha256: str) -> int | None:
        try:
            return self.path_of(organization_id, sha256).stat().st_size
        except FileNotFoundError:
            return None

    def _require_tree(self, organization_id: UUID) -> None:
        """Raises StorageUnavailable where no blob of the organization can be missing, since none
        is there at all: a volume that is not mounted is not a loss."""
        if not (self._root / organization_id.hex).is_dir():
            raise StorageUnavailable(reason="no such directory", retry_after=RETRY_SECONDS)

    def exists(self, organization_id: UUID, sha256: str) -> bool:
        return self.size(organization_id, sha256) is not None

    def remove(self, organization_id: UUID, sha256: str) -> None:
        try:
            self.path_of(organization_id, sha256).unlink()
        except FileNotFoundError:
            self._require_tree(organization_id)

    def probe(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=self._root):
            pass


def make_directory(directory: Path) -> None:
    """With the name of each new directory made durable in the one above it."""
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True, mode=0o700)
        sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
