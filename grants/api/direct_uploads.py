"""/v1/runners/sessions/{id}/artifacts/direct, …/parts, …/complete: uploads to the store itself."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from grants import artifacts, direct, resumable
from grants.resumable import Fence
from grants.serializers import (
    ArtifactAnswer,
    CompletionIn,
    DirectUploadIn,
    DirectUploadOut,
    PartOut,
    PartsIn,
    PartsOut,
    upload_out,
)
from grants.storage import Blob, Part
from grants.upload_models import Upload
from keeptrusts_runners import clock
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.idempotency import attempt_for, request_digest
from keeptrusts_runners.api.lease_epoch import named_epoch
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import (
    AlreadyCreated,
    DigestMismatch,
    DirectUploadsUnsupported,
    IdempotencyKeyReused,
    LeaseEpochRequired,
    LeaseLost,
    LimitReached,
    NotLeased,
    NotLeaseHolder,
    PayloadTooLarge,
    RequestInFlight,
    StorageUnavailable,
    UploadCompleted,
    UploadIncomplete,
    UploadKindMismatch,
)
from keeptrusts_runners.identity.scopes import Scope

# Parts whose addresses an answer has, unless it is asked for others.
PARTS = 100
_FENCED = (
    NotLeased,
    LeaseLost,
    LeaseEpochRequired,
    NotLeaseHolder,
    DirectUploadsUnsupported,
    StorageUnavailable,
)
_GOES_ON = (UploadKindMismatch, UploadCompleted)


class DirectUploadViewSet(ApiViewSet):
    """Artifacts whose bytes go to the store without passing through this server."""

    tag = "Artifacts"
    scopes: ClassVar = {"create": Scope.WRITE, "parts": Scope.WRITE, "complete": Scope.WRITE}
    session_token_actions: ClassVar = frozenset({"create", "parts", "complete"})
    # What asks the store holds no lock meanwhile.
    non_atomic_actions: ClassVar = frozenset({"create", "parts", "complete"})
    inputs: ClassVar = {"create": DirectUploadIn, "parts": PartsIn, "complete": CompletionIn}
    outputs: ClassVar = {"create": DirectUploadOut, "parts": PartsOut, "complete": ArtifactAnswer}
    statuses: ClassVar = {"complete": 202}
    parameters: ClassVar = {
        "create": {
            "Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1},
            "Idempotency-Key": {"in": "header", "type": "string", "maxLength": 255},
        },
        "parts": {"Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1}},
        "complete": {"Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1}},
    }
    refuses: ClassVar = {
        "create": (
            *_FENCED,
            LimitReached,
            PayloadTooLarge,
            AlreadyCreated,
            IdempotencyKeyReused,
            RequestInFlight,
        ),
        "parts": (*_FENCED, *_GOES_ON),
        "complete": (*_FENCED, *_GOES_ON, UploadIncomplete, DigestMismatch),
    }
    examples: ClassVar = {
        "create": (
            Example(
                "A large bundle",
                request={
                    "name": "weights.tar",
                    "kind": "bundle",
                    "media_type": "application/x-tar",
                    "size_bytes": 40_000_000_000,
                    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                },
            ),
        ),
    }

    def create(self, request: Request, session_id: UUID) -> HttpResponse:
        """Begin an upload that goes directly to the store.

        Its size and digest are said beforehand, and its room is taken. PUT each part to its `url`,
        then complete. Only with an S3-compatible store; 409 `direct_uploads_unsupported` else.
        """
        given = self.body()
        fence = Fence(session_id, self.principal, named_epoch(request, given))
        upload = self._begun(fence, given)
        parts = self._addressed(upload, 1, PARTS)
        said = upload_out(upload, 0) | {"desired_state": upload.session.desired_state} | parts
        return self.answer(said, 201)

    def _begun(self, fence: Fence, given: dict[str, Any]) -> Upload:
        """The upload. Addresses are credentials: a repeat is told its id alone."""
        described = artifacts.describe(
            given["name"],
            given.get("kind", "file"),
            given.get("media_type", ""),
            **({"retention": given["retention"]} if "retention" in given else {}),
        )
        attempt, digest = attempt_for(self), request_digest(self)
        with self.organization_scope():
            if attempt is not None:
                attempt.begin()
                attempt.recorded(digest)
            upload = direct.begin(fence, described, Blob(given["sha256"], given["size_bytes"]))
            if attempt is not None:
                answer = self.answer(upload_out(upload, 0), 201)
                attempt.record(digest, answer, credentials=True)
        return upload

    def parts(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponse:
        """Get addresses of a direct upload's parts, from number `first` on.

        They expire; ask again for those that are still to be sent. A part that was sent again
        replaces what it was.
        """
        given = self.body()
        fence = Fence(session_id, self.principal, named_epoch(request, given))
        with self.organization_scope():
            upload = direct.open_upload(fence, artifact_id)
        first, count = given.get("first", 1), given.get("count", PARTS)
        return self.answer(self._addressed(upload, first, count))

    def complete(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponse:
        """Complete a direct upload whose parts are all sent.

        It is `verifying` until the server has read it back: then it is `stored`, or `broken` and
        not kept. Wait for that before the session ends: what is not stored by then is discarded.
        """
        fence = Fence(session_id, self.principal, named_epoch(request, self.body()))
        upload = direct.complete(fence, artifact_id)
        said = upload_out(upload, resumable.offset_of(upload))
        return self.answer(said | {"desired_state": upload.session.desired_state}, 202)

    def _addressed(self, upload: Upload, first: int, count: int) -> dict[str, Any]:
        """The members of an answer that has addresses."""
        expires_at = clock.now() + timedelta(seconds=direct.ADDRESS_SECONDS)
        parts = direct.parts_of(upload)
        asked = list(islice(parts, first - 1, first - 1 + count))
        urls = direct.addresses(upload, asked)
        following = first + len(asked)
        return {
            "parts": [_part(*each, expires_at) for each in zip(asked, urls, strict=True)],
            "next_number": following if following <= len(parts) else None,
        }


def _part(part: Part, url: str, expires_at: Any) -> dict[str, Any]:
    said = {"number": part.number, "size_bytes": part.size_bytes}
    return PartOut.render(said | {"url": url, "expires_at": expires_at})
