"""Blobs in an S3-compatible service, by digest below the organization's id.

Credentials and region come from where every AWS client looks for them. A client is shared by all
threads of a process, and opens no connection until it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from grants.storage import CHUNK_BYTES, BlobMissing
from keeptrusts_runners.errors import InsufficientStorage, StorageUnavailable

_MISSING = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
_FULL = frozenset({"507", "InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"})
_RETRY_SECONDS = 5
# A part at a time: memory does not grow with what is sent. 16 MiB parts reach 160 GB.
_TRANSFER = TransferConfig(
    multipart_threshold=16 << 20, multipart_chunksize=16 << 20, use_threads=False
)
_CLIENT = Config(
    connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 3}
)


class S3Store:
    """Below `s3://BUCKET/PREFIX`; `endpoint` is for services that are not AWS."""

    config: ClassVar[Config] = Config()

    def __init__(self, url: str, endpoint: str | None = None) -> None:
        self._bucket, _, prefix = url.removeprefix("s3://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        config = _CLIENT.merge(self.config)
        self._client: Any = boto3.client("s3", endpoint_url=endpoint, config=config)

    def key_of(self, organization_id: UUID, sha256: str) -> str:
        return f"{self._prefix}{organization_id.hex}/{sha256[:2]}/{sha256}"

    def put(self, organization_id: UUID, draft: Path, sha256: str) -> None:
        """An object is there whole or not at all."""
        key = self.key_of(organization_id, sha256)
        with answers():
            self._client.upload_file(str(draft), self._bucket, key, Config=_TRANSFER)
        draft.unlink()

    def open_range(
        self, organization_id: UUID, sha256: str, offset: int = 0, length: int | None = None
    ) -> Iterator[bytes]:
        asked: dict[str, Any] = self._object(organization_id, sha256)
        size = self.size(organization_id, sha256)
        if size is None:
            raise BlobMissing
        end = size if length is None else min(size, offset + length)
        if offset >= end:
            return iter(())
        if (offset, end) != (0, size):
            asked["Range"] = f"bytes={offset}-{end - 1}"
        with answers():
            body = self._client.get_object(**asked)["Body"]
        return chunks(body)

    def size(self, organization_id: UUID, sha256: str) -> int | None:
        with suppress(BlobMissing), answers():
            found = self._client.head_object(**self._object(organization_id, sha256))
            return int(found["ContentLength"])
        return None

    def exists(self, organization_id: UUID, sha256: str) -> bool:
        return self.size(organization_id, sha256) is not None

    def remove(self, organization_id: UUID, sha256: str) -> None:
        with answers():
            self._client.delete_object(**self._object(organization_id, sha256))

    def probe(self) -> None:
        """One small question, to be asked before anybody depends on the answer."""
        with answers():
            self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)

    def _object(self, organization_id: UUID, sha256: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self.key_of(organization_id, sha256)}


def chunks(body: Any) -> Iterator[bytes]:
    """Of an object that is being read."""
    with body, answers():
        yield from body.iter_chunks(CHUNK_BYTES)


@contextmanager
def answers() -> Iterator[None]:
    """What a service says, in our words. Raises BlobMissing, InsufficientStorage,
    StorageUnavailable."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _MISSING:
            raise BlobMissing from error
        if code in _FULL:
            raise InsufficientStorage from error
        raise _unavailable(error) from error
    except (BotoCoreError, Boto3Error) as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> StorageUnavailable:
    return StorageUnavailable(reason=type(error).__name__, retry_after=_RETRY_SECONDS)
