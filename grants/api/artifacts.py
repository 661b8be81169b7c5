"""/v1/runners/sessions/{id}/artifacts: bytes stream to the store; only then is there a row."""

from __future__ import annotations

import hashlib
import json
from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from grants import artifacts, integrity, queries, removals, resumable
from grants.api import uploads
from grants.api.downloads import BYTERANGES, OCTETS, download
from grants.api.resumable_uploads import (
    CREATE_HEADERS,
    ResumableUploads,
    completed,
    is_incomplete,
    state,
)
from grants.artifacts import Description
from grants.drafts import Draft
from grants.filters import ArtifactFilters
from grants.models import Artifact, Retention
from grants.resumable import Fence
from grants.serializers import (
    ArtifactAnswer,
    ArtifactDetailOut,
    ArtifactOut,
    ArtifactVerificationOut,
    RemovalIn,
    upload_out,
)
from grants.storage import Blob
from keeptrusts_runners.api import body, etag
from keeptrusts_runners.api.answers import TEXT
from keeptrusts_runners.api.idempotency import attempt_for
from keeptrusts_runners.api.lease_epoch import named_epoch
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.errors import (
    ArtifactNotStored,
    ContentBroken,
    ContentMissing,
    DigestMismatch,
    EvidenceHeld,
    IdempotencyKeyReused,
    InsufficientStorage,
    Invalid,
    LeaseEpochRequired,
    LeaseLost,
    LengthRequired,
    LimitReached,
    NotLeased,
    NotLeaseHolder,
    PayloadTooLarge,
    RangeNotSatisfiable,
    RequestInFlight,
    StorageUnavailable,
    UnsupportedMediaType,
)
from keeptrusts_runners.evidence.file_names import SUMS_NAME
from keeptrusts_runners.identity.scopes import Scope
from profiles.serializers import NothingIn
from sessions import queries as session_queries

_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "contentMediaType": OCTETS},
        "name": {"type": "string", "minLength": 1, "maxLength": 255},
        "kind": {"type": "string", "pattern": "^[a-z][a-z0-9_.-]{0,63}$"},
        "retention": {"type": "string", "enum": Retention.values},
        "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
    "additionalProperties": False,
}


class ArtifactViewSet(ResumableUploads):
    """Produced outputs: logs, bundles, generated files."""

    tag = "Artifacts"
    scopes: ClassVar = {
        "list": Scope.READ,
        "create": Scope.WRITE,
        "retrieve": Scope.READ,
        "destroy": Scope.WRITE,
        "content": Scope.READ,
        "manifest": Scope.READ,
        "append": Scope.WRITE,
        "cancel": Scope.WRITE,
        "verify": Scope.AUDIT,
    }
    inputs: ClassVar = {"verify": NothingIn}
    session_token_actions: ClassVar = frozenset(
        {"list", "create", "retrieve", "content", "manifest", "append", "cancel"}
    )
    non_atomic_actions: ClassVar = frozenset({"create", "content", "append", "cancel", "verify"})
    outputs: ClassVar = {
        "list": ArtifactOut,
        "create": ArtifactAnswer,
        "retrieve": ArtifactDetailOut,
        "append": ArtifactAnswer,
        "verify": ArtifactVerificationOut,
    }
    filters: ClassVar = {"list": ArtifactFilters}
    media_types: ClassVar = {"content": (OCTETS, BYTERANGES), "manifest": (TEXT,)}
    statuses: ClassVar = {"content": (200, 206), "cancel": 204}
    tagged_actions: ClassVar = frozenset({"retrieve", "destroy", "content", "manifest"})
    bodies: ClassVar = {
        "create": {uploads.MULTIPART: _FORM, OCTETS: {"type": "string"}},
        "append": ResumableUploads.append_body,
    }
    parameters: ClassVar = {
        "create": {
            "name": {"type": "string", "maxLength": 255},
            "kind": {"type": "string", "maxLength": 64},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "retention": {"type": "string", "enum": Retention.values},
            "Content-Digest": {"in": "header", "type": "string"},
            "Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1},
            "Idempotency-Key": {"in": "header", "type": "string", "maxLength": 255},
            **CREATE_HEADERS,
        },
        "append": ResumableUploads.append_parameters,
        "cancel": ResumableUploads.cancel_parameters,
        "destroy": {
            "reason": {"type": "string", "required": True, "minLength": 1, "maxLength": 2000}
        },
        "content": {
            "Range": {"in": "header", "type": "string"},
            "If-Range": {"in": "header", "type": "string"},
        },
    }
    refuses: ClassVar = {
        "create": (
            NotLeased,
            LeaseLost,
            LeaseEpochRequired,
            NotLeaseHolder,
            LimitReached,
            LengthRequired,
            DigestMismatch,
            PayloadTooLarge,
            InsufficientStorage,
            StorageUnavailable,
            RequestInFlight,
            IdempotencyKeyReused,
            Invalid,
            UnsupportedMediaType,
        ),
        "destroy": (EvidenceHeld, Invalid),
        "append": ResumableUploads.append_refuses,
        "cancel": ResumableUploads.cancel_refuses,
        "content": (RangeNotSatisfiable, ContentBroken, ContentMissing, ArtifactNotStored),
        "verify": (ArtifactNotStored,),
    }

    def list(self, request: Request, session_id: UUID) -> HttpResponse:
        """List a session's artifacts, newest first."""
        session_queries.session(session_id, by=self.principal)
        rows = self.filtered(queries.artifacts(session_id))
        return self.answer(list_answer(*page(rows, request), ArtifactOut))

    def create(self, request: Request, session_id: UUID) -> HttpResponse:
        """Upload an artifact.

        As `multipart/form-data` (`file`, `name`, `kind`), or as the raw body with `?name=&kind=`
        and its media type as Content-Type. A digest in `Content-Digest` or `sha256` is checked.
        An artifact is visible only when it is whole. With `Upload-Complete: ?0` it is an upload
        that goes on by PATCH at `Location`, with as much of the raw body as is here already.
        """
        epoch = named_epoch(request)
        if is_incomplete(request._request):
            return self.begin(request, Fence(session_id, self.principal, epoch))
        with self.organization_scope():
            room = artifacts.room(session_id, by=self.principal, lease_epoch=epoch)
        room.require(body.announced_length(request._request))
        with Draft(self.organization_id, room.max_bytes) as draft:
            description = uploads.receive(request._request, draft)
            blob = artifacts.keep(draft)
        with self.organization_scope():
            return self._seal(session_id, blob, description, epoch)

    def _seal(
        self, session_id: UUID, blob: Blob, description: Description, epoch: int | None
    ) -> HttpResponse:
        attempt = attempt_for(self)
        digest = hashlib.sha256(
            json.dumps([str(session_id), description.name, description.kind, blob.sha256]).encode()
        ).digest()
        if attempt is not None:
            attempt.begin()
            if kept := attempt.recorded(digest):
                return kept
        made = artifacts.seal(session_id, blob, description, by=self.principal, lease_epoch=epoch)
        answer = self.answer(ArtifactAnswer.render(made), 201)
        if attempt is not None:
            attempt.record(digest, answer)
        return answer

    def retrieve(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponse:
        """Get one artifact's description."""
        session_queries.session(session_id, by=self.principal)
        if upload := resumable.find(session_id, artifact_id):
            offset = resumable.offset_of(upload)
            return self.answer(
                upload_out(upload, offset), tag=etag.strong(upload.id, (offset, upload.status))
            )
        found = artifacts.artifact(session_id, artifact_id)
        return self.answer(ArtifactDetailOut.render(found), tag=_tag(found))

    def destroy(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponse:
        """Remove an artifact's content, for the reason that a person gives.

        The row stays with its digest, and the session's chain says who removed it and why.
        """
        # Content of a DELETE has no meaning that servers on the way would know.
        reason = RemovalIn.read(request._request.GET.dict())["reason"]
        removals.remove(
            session_id,
            artifact_id,
            reason,
            by=self.principal,
            check=lambda artifact: self.require_match(_tag(artifact)),
        )
        return self.answer(status=204)

    def content(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponseBase:
        """Download an artifact's bytes, or up to 16 ranges of them.

        The ETag is the content's SHA-256, which `Repr-Digest` says as well, so that a download
        that was cut goes on with `Range` and `If-Range`. A whole answer that is complete has that
        digest; where the stored bytes turn out not to have it, the connection is cut. Bytes that
        are known to be broken or missing are a 410. HEAD of an upload answers 204 with
        `Upload-Offset`, where the next bytes belong.
        """
        with self.organization_scope():
            session_queries.session(session_id, by=self.principal)
            if upload := resumable.find(session_id, artifact_id):
                return state(upload, request._request)
            found = artifacts.artifact(session_id, artifact_id)
        response = download(found, request._request, by=self.principal)
        for name, value in completed(found).items():
            response[name] = value
        return response

    def manifest(self, request: Request, session_id: UUID) -> HttpResponse:
        """List the digests of a session's artifacts, as `sha256sum -c` reads them.

        One line each, in the order in which they were stored, under names that are plain files
        and differ from one another. Content that was removed is named in a comment.
        """
        session_queries.session(session_id, by=self.principal)
        content = queries.manifest(session_id).encode()
        tag = f'"{hashlib.sha256(content).hexdigest()}"'
        headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
        if etag.is_unchanged(request, tag):
            return HttpResponse(status=304, headers=headers)
        headers |= {"Content-Disposition": f'inline; filename="{SUMS_NAME}"'}
        return HttpResponse(content, content_type=f"{TEXT}; charset=utf-8", headers=headers)

    def verify(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponse:
        """Read an artifact's bytes back now, and keep what is found.

        `verified`, `broken` (other bytes) or `missing`. What is not `verified` is not given out
        until a later check finds it good. A large artifact takes as long as its disk needs.
        """
        self.body()
        check = integrity.verify(session_id, artifact_id, by=self.principal)
        return self.answer(ArtifactVerificationOut.render(check))


def _tag(artifact: Artifact) -> str:
    return etag.strong(artifact.id, (artifact.status, artifact.checked_at))
