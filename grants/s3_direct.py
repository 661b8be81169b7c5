"""Uploads that go from their sender to an S3-compatible service, by addresses that are signed.

The object of an upload is not a blob: it stands by the upload's id, and its sender's digest is only
believed once the bytes were read back. Then the service copies it to its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar
from uuid import UUID

from botocore.config import Config
from botocore.exceptions import ClientError

from grants.s3_store import S3Store, answers, chunks
from grants.storage import Blob, BlobMissing, Part
from keeptrusts_runners.errors import UploadIncomplete

_NO_UPLOAD = "NoSuchUpload"
# One step of a copy; with 10,000 of them, half of what a service takes at most.
COPY_BYTES = 256 << 20
_MISSING_NAMED = 100


class DirectS3Store(S3Store):
    """The same bucket, with addresses for others."""

    # Whoever holds an address sends no checksum of a kind that the service would insist on.
    config: ClassVar[Config] = Config(
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )

    def begin(self, organization_id: UUID, upload_id: UUID) -> str:
        with answers():
            made = self._client.create_multipart_upload(
                **self._received(organization_id, upload_id)
            )
        return str(made["UploadId"])

    def address(
        self, organization_id: UUID, upload_id: UUID, multipart_id: str, part: Part, seconds: int
    ) -> str:
        """The length is signed too: the service refuses another."""
        asked = self._received(organization_id, upload_id) | {
            "UploadId": multipart_id,
            "PartNumber": part.number,
            "ContentLength": part.size_bytes,
        }
        with answers():
            signed = self._client.generate_presigned_url("upload_part", asked, ExpiresIn=seconds)
        return str(signed)

    def complete(
        self, organization_id: UUID, upload_id: UUID, multipart_id: str, parts: list[Part]
    ) -> None:
        asked = self._received(organization_id, upload_id)
        try:
            self._complete(asked, multipart_id, parts)
        except BlobMissing:
            # An answer that was lost: the parts are the object already.
            if self._size_of(asked) != sum(part.size_bytes for part in parts):
                raise _incomplete(parts) from None

    def _complete(self, asked: dict[str, str], multipart_id: str, parts: list[Part]) -> None:
        whole = asked | {"UploadId": multipart_id}
        tags = self._tags(whole, parts)
        made = [{"PartNumber": part.number, "ETag": tags[part.number]} for part in parts]
        with answers():
            self._client.complete_multipart_upload(**whole, MultipartUpload={"Parts": made})

    def _tags(self, asked: dict[str, str], parts: list[Part]) -> dict[int, str]:
        """By number. Raises UploadIncomplete, BlobMissing where no parts are expected."""
        with answers():
            pages = self._client.get_paginator("list_parts").paginate(**asked)
            here = {each["PartNumber"]: each for page in pages for each in page.get("Parts", ())}
        missing = [
            part
            for part in parts
            if part.number not in here or here[part.number]["Size"] != part.size_bytes
        ]
        if missing:
            raise _incomplete(missing)
        return {number: str(each["ETag"]) for number, each in here.items()}

    def open_received(self, organization_id: UUID, upload_id: UUID) -> tuple[str, Iterator[bytes]]:
        with answers():
            found = self._client.get_object(**self._received(organization_id, upload_id))
        return str(found["ETag"]), chunks(found["Body"])

    def place(
        self, organization_id: UUID, upload_id: UUID, version: str, blob: Blob
    ) -> Iterator[int]:
        place = self._object(organization_id, blob.sha256)
        source: dict[str, Any] = {
            "CopySource": self._received(organization_id, upload_id),
            "CopySourceIfMatch": version,
        }
        if blob.size_bytes <= COPY_BYTES:
            with answers():
                self._client.copy_object(**place, **source)
            yield blob.size_bytes
            return
        with answers():
            whole = place | {"UploadId": self._client.create_multipart_upload(**place)["UploadId"]}
        try:
            yield from self._copy(whole, source, blob.size_bytes)
        except BaseException:
            with suppress(Exception):
                self._client.abort_multipart_upload(**whole)
            raise

    def _copy(self, whole: dict[str, str], source: dict[str, Any], size: int) -> Iterator[int]:
        """Part by part."""
        made = []
        for number, start in enumerate(range(0, size, COPY_BYTES), start=1):
            end = min(start + COPY_BYTES, size)
            span = {"PartNumber": number, "CopySourceRange": f"bytes={start}-{end - 1}"}
            with answers():
                copied = self._client.upload_part_copy(**whole, **source, **span)
            made.append({"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]})
            yield end - start
        with answers():
            self._client.complete_multipart_upload(**whole, MultipartUpload={"Parts": made})

    def discard(self, organization_id: UUID, upload_id: UUID) -> None:
        asked = self._received(organization_id, upload_id)
        with answers():
            found = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=asked["Key"])
            for each in found.get("Uploads", ()):
                self._abort(asked | {"UploadId": each["UploadId"]})
            self._client.delete_object(**asked)

    def _abort(self, whole: dict[str, str]) -> None:
        try:
            self._client.abort_multipart_upload(**whole)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != _NO_UPLOAD:
                raise

    def _received(self, organization_id: UUID, upload_id: UUID) -> dict[str, str]:
        key = f"{self._prefix}{organization_id.hex}/incoming/{upload_id.hex}"
        return {"Bucket": self._bucket, "Key": key}

    def _size_of(self, asked: dict[str, str]) -> int | None:
        with suppress(BlobMissing), answers():
            return int(self._client.head_object(**asked)["ContentLength"])
        return None


def _incomplete(missing: list[Part]) -> UploadIncomplete:
    return UploadIncomplete(missing=[part.number for part in missing[:_MISSING_NAMED]])
