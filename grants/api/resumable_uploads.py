"""Resumable uploads at …/artifacts/{id}/content: begin, ask for the offset, go on, cancel.

After draft-ietf-httpbis-resumable-upload-15. Its interim answers (104) are not sent: the server
under this one has no way to.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request

from grants import direct, resumable
from grants.api import uploads
from grants.models import Artifact
from grants.partials import Appender, UploadMovedError
from grants.resumable import Fence
from grants.serializers import ArtifactAnswer, upload_out
from grants.storage import Blob
from grants.upload_models import Upload
from keeptrusts_runners import ids
from keeptrusts_runners.api import body
from keeptrusts_runners.api.idempotency import attempt_for
from keeptrusts_runners.api.lease_epoch import named_epoch
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import (
    ArtifactNotStored,
    DigestMismatch,
    InsufficientStorage,
    LeaseEpochRequired,
    LeaseLost,
    LengthRequired,
    LimitReached,
    Malformed,
    NotLeased,
    NotLeaseHolder,
    PayloadTooLarge,
    StorageUnavailable,
    UnsupportedMediaType,
    UploadCompleted,
    UploadKindMismatch,
    UploadLengthInconsistent,
    UploadLost,
    UploadOffsetMismatch,
)

PARTIAL = "application/partial-upload"
_INTEGER = re.compile(r"[0-9]{1,15}")
_HEADERS: dict[str, dict[str, Any]] = {
    "Upload-Complete": {"in": "header", "type": "string", "enum": ["?0", "?1"]},
    "Upload-Offset": {"in": "header", "type": "integer", "minimum": 0},
    "Upload-Length": {"in": "header", "type": "integer", "minimum": 0},
}
CREATE_HEADERS = {name: _HEADERS[name] for name in ("Upload-Complete", "Upload-Length")}
_EPOCH = {"Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1}}
_FENCED = (NotLeased, LeaseLost, LeaseEpochRequired, NotLeaseHolder, UploadCompleted)


def is_incomplete(request: HttpRequest) -> bool:
    """Whether more is to come in requests of their own."""
    return str(request.META.get("HTTP_UPLOAD_COMPLETE", "")).strip() == "?0"


def state(upload: Upload, request: HttpRequest) -> HttpResponse:
    """The answer to HEAD. Raises ArtifactNotStored for GET, and for what goes on elsewhere."""
    if request.method != "HEAD" or upload.is_direct:
        raise ArtifactNotStored(artifact_status=upload.status)
    return HttpResponse(status=204, headers=_headers(upload, resumable.offset_of(upload)))


def completed(artifact: Artifact) -> dict[str, str]:
    """What a download's headers say too, for whom the last answer was lost."""
    size = str(artifact.size_bytes)
    return {"Upload-Complete": "?1", "Upload-Offset": size, "Upload-Length": size}


def _headers(upload: Upload, offset: int) -> dict[str, str]:
    said = {
        "Upload-Complete": "?0",
        "Upload-Offset": str(offset),
        "Cache-Control": "no-store",
        **resumable.limits_of(upload),
    }
    if upload.length_bytes is not None:
        said["Upload-Length"] = str(upload.length_bytes)
    return said


@dataclass(frozen=True, slots=True)
class _Written:
    """Where the file ends now, and the artifact if that was the last."""

    offset: int
    made: Artifact | None


class ResumableUploads(ApiViewSet):
    """What the artifacts' view does over several requests."""

    append_parameters: ClassVar[dict[str, Any]] = {
        **_HEADERS,
        "Upload-Complete": {**_HEADERS["Upload-Complete"], "required": True},
        "Upload-Offset": {**_HEADERS["Upload-Offset"], "required": True},
        "Content-Digest": {"in": "header", "type": "string"},
        **_EPOCH,
    }
    cancel_parameters: ClassVar[dict[str, Any]] = _EPOCH
    append_body: ClassVar[dict[str, Any]] = {PARTIAL: {"type": "string"}}
    append_refuses: ClassVar = (
        *_FENCED,
        UploadKindMismatch,
        UploadOffsetMismatch,
        UploadLengthInconsistent,
        UploadLost,
        LimitReached,
        LengthRequired,
        DigestMismatch,
        PayloadTooLarge,
        UnsupportedMediaType,
        InsufficientStorage,
        StorageUnavailable,
    )
    cancel_refuses: ClassVar = (*_FENCED, StorageUnavailable)

    # --- begin -------------------------------------------------------------------------------

    def begin(self, request: Request, fence: Fence) -> HttpResponse:
        """Create the upload, and append what has come with the request."""
        raw = request._request
        if body.content_type(raw) == uploads.MULTIPART:
            raise UnsupportedMediaType("Send the bytes themselves, not a form, over several.")
        body.require_length(raw)
        with self.organization_scope():
            upload, answer = self._begun(raw, fence)
        coming = body.announced_length(raw)
        if upload is None or coming == 0:
            return answer
        written = self._append(raw, fence, upload, 0, coming, complete=False)
        return self._acknowledged(fence, upload, written.offset, 201)

    def _begun(self, raw: HttpRequest, fence: Fence) -> tuple[Upload | None, HttpResponse]:
        """The upload and the answer; the upload is None in an answer that was given before."""
        description, sha256 = uploads.described(raw)
        length = _integer(raw, "HTTP_UPLOAD_LENGTH")
        attempt = attempt_for(self)
        said = [str(fence.session_id), asdict(description), length, sha256]
        digest = hashlib.sha256(json.dumps(said).encode()).digest()
        if attempt is not None:
            attempt.begin()
            if kept := attempt.recorded(digest):
                return None, kept
        upload = resumable.begin(fence, description, length=length, sha256=sha256 or "")
        answer = self._answer(upload, 0, 201)
        if attempt is not None:
            attempt.record(digest, answer)
        return upload, answer

    # --- go on -------------------------------------------------------------------------------

    def append(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponse:
        """Go on with an upload, from the offset that HEAD answers.

        The body is the bytes from `Upload-Offset` on; `Upload-Complete: ?1` says that they are the
        last. Of two requests at the same offset one is refused.
        """
        raw, fence = request._request, self._fence(request, session_id)
        offset, complete = _required(raw)
        body.require_length(raw)
        body.require_plain(raw)
        coming = body.announced_length(raw)
        with self.organization_scope():
            upload = resumable.appendable(fence, artifact_id)
            if body.content_type(raw) not in ((PARTIAL,) if coming else (PARTIAL, "")):
                raise UnsupportedMediaType(accepted=[PARTIAL], headers={"Accept-Patch": PARTIAL})
            resumable.set_length(upload, _integer(raw, "HTTP_UPLOAD_LENGTH"))
            resumable.require_fit(upload, offset, coming, complete)
            if complete and coming == 0 and upload.placed_sha256:
                return self._stored(resumable.seal(fence, upload.id, _placed(upload, offset)))
        written = self._append(raw, fence, upload, offset, coming, complete=complete)
        if not complete:
            return self._acknowledged(fence, upload, written.offset, 200)
        assert written.made is not None
        return self._stored(written.made)

    def _append(
        self,
        raw: HttpRequest,
        fence: Fence,
        upload: Upload,
        offset: int,
        coming: int,
        *,
        complete: bool,
    ) -> _Written:
        """What comes goes into the file, as much as there is of it."""
        try:
            with closing(Appender(upload.id, offset)) as appender:
                uploads.receive_partial(raw, appender, coming)
                made = resumable.finish(fence, upload, appender) if complete else None
        except UploadMovedError:
            with self.organization_scope():
                raise resumable.overtaken(fence, upload.id, offset) from None
        return _Written(appender.offset, made)

    # --- cancel ------------------------------------------------------------------------------

    def cancel(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponse:
        """Cancel an upload. Nothing of it is kept."""
        fence = self._fence(request, session_id)
        with self.organization_scope():
            upload = resumable.writable(fence, artifact_id)
            if not upload.is_direct:
                resumable.cancel(upload)
        if upload.is_direct:
            direct.discard(upload)
        return self.answer(status=204)

    # --- answers -----------------------------------------------------------------------------

    def _fence(self, request: Request, session_id: UUID) -> Fence:
        return Fence(session_id, self.principal, named_epoch(request))

    def _acknowledged(
        self, fence: Fence, upload: Upload, received: int, status: int
    ) -> HttpResponse:
        with self.organization_scope():
            upload = resumable.acknowledge(fence, upload.id, received)
            return self._answer(upload, received, status)

    def _answer(self, upload: Upload, offset: int, status: int) -> HttpResponse:
        desired = {"desired_state": upload.session.desired_state}
        return self.answer(
            upload_out(upload, offset) | desired,
            status,
            headers={**_headers(upload, offset), "Location": _address(upload)},
        )

    def _stored(self, made: Artifact) -> HttpResponse:
        return self.answer(ArtifactAnswer.render(made), headers={"Upload-Complete": "?1"})


def _placed(upload: Upload, size_bytes: int) -> Blob:
    """Its process died after the bytes came to their place: only the row is missing."""
    return Blob(upload.placed_sha256, size_bytes)


def _address(upload: Upload) -> str:
    session, own = ids.encode("sess", upload.session_id), ids.encode("art", upload.id)
    return f"/v1/runners/sessions/{session}/artifacts/{own}/content"


def _required(raw: HttpRequest) -> tuple[int, bool]:
    """The headers without which nothing can be appended."""
    offset = _integer(raw, "HTTP_UPLOAD_OFFSET")
    said = raw.META.get("HTTP_UPLOAD_COMPLETE", "").strip()
    if offset is None or said not in ("?0", "?1"):
        raise Malformed("Send Upload-Offset, and Upload-Complete as ?0 or ?1.")
    return offset, said == "?1"


def _integer(raw: HttpRequest, header: str) -> int | None:
    """A structured field's integer; what is none counts as left out (RFC 9651)."""
    text = raw.META.get(header, "").strip()
    return int(text) if _INTEGER.fullmatch(text) else None
