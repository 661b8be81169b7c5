"""The blob door: bytes by their digest, one tree for each organization.

Two stores stand behind it: files of this machine, and an S3-compatible service. What is received
is a file of this machine first (grants.drafts), hashed on the way, and comes to its place by `put`
when it is whole; the row that names it is written after. Nothing here opens a transaction.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol
from uuid import UUID

from django.conf import settings

from keeptrusts_runners.errors import DirectUploadsUnsupported, InsufficientStorage

CHUNK_BYTES = 256 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def enough_room() -> Iterator[None]:
    """A full disk is an answer, not a crash."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InsufficientStorage from error
        raise


@dataclass(frozen=True, slots=True)
class Blob:
    """Stored bytes: where they are is their digest."""

    sha256: str
    size_bytes: int


class BlobMissing(Exception):  # noqa: N818  (named by what has happened, as refusals are)
    """The store has no such bytes."""


class Store(Protocol):
    """Where blobs are. A digest is 64 lower-case hexadecimal digits; what is stored under it is
    never changed."""

    def put(self, organization_id: UUID, draft: Path, sha256: str) -> None:
        """Make the file's bytes durable under their digest; the file is gone after it. Again with
        the same bytes is the same. Raises InsufficientStorage."""

    def open_range(
        self, organization_id: UUID, sha256: str, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        """The bytes from `offset`, all or `length` of them, in chunks of at most CHUNK_BYTES.
        Raises BlobMissing at once, not at the first chunk."""

    def size(self, organization_id: UUID, sha256: str) -> int | None:
        """In bytes; None where there is no such blob."""

    def exists(self, organization_id: UUID, sha256: str) -> bool: ...

    def remove(self, organization_id: UUID, sha256: str) -> None:
        """Again, or of what never was, is the same. Only for blobs that no row names."""

    def probe(self) -> None:
        """Raises StorageUnavailable, or OSError, where nothing can be stored at all."""


class DirectStore(Protocol):
    """A store that senders reach themselves. What they send is an object by the upload's id, of
    which a blob is made once its bytes were read back."""

    def begin(self, organization_id: UUID, upload_id: UUID) -> str:
        """Expect parts; how the store names the whole of them."""

    def address(
        self, organization_id: UUID, upload_id: UUID, multipart_id: str, part: Part, seconds: int
    ) -> str:
        """Where anybody may PUT this part, with so many bytes, for so long."""

    def complete(
        self, organization_id: UUID, upload_id: UUID, multipart_id: str, parts: list[Part]
    ) -> None:
        """Make the object of these parts, which nobody changes from then on. Again is the same.
        Raises UploadIncomplete."""

    def open_received(self, organization_id: UUID, upload_id: UUID) -> tuple[str, Iterator[bytes]]:
        """The object's version, and its bytes. Raises BlobMissing at once."""

    def place(
        self, organization_id: UUID, upload_id: UUID, version: str, blob: Blob
    ) -> Iterator[int]:
        """Make the blob of the object, as long as that has this version, in steps of so many
        bytes. It is there after the last."""

    def discard(self, organization_id: UUID, upload_id: UUID) -> None:
        """Nothing of the upload is left, and no address of it works. Again is the same."""


@dataclass(frozen=True, slots=True)
class Part:
    """Of an object: numbers begin with 1."""

    number: int
    size_bytes: int


def direct() -> DirectStore:
    """Raises DirectUploadsUnsupported where the settings choose files."""
    if not settings.ARTIFACTS.startswith("s3://"):
        raise DirectUploadsUnsupported
    return _direct(settings.ARTIFACTS, settings.S3_ENDPOINT)


def store() -> Store:
    """The one that the settings choose."""
    if settings.ARTIFACTS.startswith("s3://"):
        return _s3(settings.ARTIFACTS, settings.S3_ENDPOINT)
    # Stores import what is here.
    from grants.file_store import FileStore

    return FileStore(Path(settings.ARTIFACTS_DIR))


@cache
def _s3(url: str, endpoint: str | None) -> Store:
    from grants.s3_store import S3Store

    return S3Store(url, endpoint)


@cache
def _direct(url: str, endpoint: str | None) -> DirectStore:
    from grants.s3_direct import DirectS3Store

    return DirectS3Store(url, endpoint)
