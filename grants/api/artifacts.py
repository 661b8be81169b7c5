"""/v1/runners/sessions/{id}/artifacts: bytes stream to the store; only then is there a row."""

from __future__ import annotations

import hashlib
import json
import re
from typing import ClassVar
from uuid import UUID

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotModified,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from rest_framework.request import Request

from grants import artifacts, queries, removals, storage
from grants.api import uploads
from grants.artifacts import Description
from grants.drafts import Draft
from grants.filters import ArtifactFilters
from grants.models import Artifact, Retention
from grants.serializers import ArtifactAnswer, ArtifactOut, RemovalIn
from grants.storage import Blob, BlobMissing
from keeptrusts_runners.api import body, etag
from keeptrusts_runners.api.idempotency import attempt_for
from keeptrusts_runners.api.lease_epoch import named_epoch
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import (
    ArtifactNotStored,
    DigestMismatch,
    EvidenceHeld,
    IdempotencyKeyReused,
    InsufficientStorage,
    Invalid,
    LeaseEpochRequired,
    LeaseLost,
    LengthRequired,
    LimitReached,
    NotFound,
    NotLeased,
    NotLeaseHolder,
    PayloadTooLarge,
    RangeNotSatisfiable,
    RequestInFlight,
    UnsupportedMediaType,
)
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries

OCTETS = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
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


class ArtifactViewSet(ApiViewSet):
    """Produced outputs: logs, bundles, generated files."""

    tag = "Artifacts"
    scopes: ClassVar = {
        "list": Scope.READ,
        "create": Scope.WRITE,
        "retrieve": Scope.READ,
        "destroy": Scope.WRITE,
        "content": Scope.READ,
    }
    session_token_actions: ClassVar = frozenset({"list", "create", "retrieve", "content"})
    non_atomic_actions: ClassVar = frozenset({"create"})
    outputs: ClassVar = {"list": ArtifactOut, "create": ArtifactAnswer, "retrieve": ArtifactOut}
    filters: ClassVar = {"list": ArtifactFilters}
    media_types: ClassVar = {"content": (OCTETS,)}
    statuses: ClassVar = {"content": (200, 206)}
    tagged_actions: ClassVar = frozenset({"retrieve", "destroy", "content"})
    bodies: ClassVar = {"create": {uploads.MULTIPART: _FORM, OCTETS: {"type": "string"}}}
    parameters: ClassVar = {
        "create": {
            "name": {"type": "string", "maxLength": 255},
            "kind": {"type": "string", "maxLength": 64},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "retention": {"type": "string", "enum": Retention.values},
            "Content-Digest": {"in": "header", "type": "string"},
            "Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1},
            "Idempotency-Key": {"in": "header", "type": "string", "maxLength": 255},
        },
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
            RequestInFlight,
            IdempotencyKeyReused,
            Invalid,
            UnsupportedMediaType,
        ),
        "destroy": (EvidenceHeld, Invalid),
        "content": (RangeNotSatisfiable, ArtifactNotStored),
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
        An artifact is visible only when it is whole.
        """
        epoch = named_epoch(request)
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
        found = self._artifact(session_id, artifact_id)
        return self.answer(ArtifactOut.render(found), tag=_tag(found))

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
        """Download an artifact's bytes, or one range of them."""
        return download(self._artifact(session_id, artifact_id), request._request)

    def _artifact(self, session_id: UUID, artifact_id: UUID) -> Artifact:
        session_queries.session(session_id, by=self.principal)
        return artifacts.artifact(session_id, artifact_id)


def _tag(artifact: Artifact) -> str:
    return etag.strong(artifact.id, artifact.status)


# --- downloads -------------------------------------------------------------------------------


def download(artifact: Artifact, request: HttpRequest | None = None) -> HttpResponseBase:
    """The bytes as an attachment that no browser will render; with a request, the part of them
    that it asks for. Raises NotFound when they are gone, RangeNotSatisfiable."""
    headers = {
        "ETag": f'"{artifact.sha256}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if request is not None and etag.is_unchanged(request, headers["ETag"]):
        return HttpResponseNotModified(headers=headers)
    artifacts.require_content(artifact)
    part = _asked_range(request, artifact, headers["ETag"]) if request is not None else None
    start, end = part or (0, artifact.size_bytes)
    try:
        chunks = storage.store().open_range(
            artifact.organization_id, artifact.sha256, start, end - start
        )
    except BlobMissing:
        raise NotFound("The artifact's bytes are gone.") from None
    # FileResponse names only what has a `read`, and would leave chunks without this header.
    name = content_disposition_header(True, _file_name(artifact.name))
    response = StreamingHttpResponse(
        chunks,
        status=206 if part else 200,
        content_type=OCTETS,
        headers=headers | {"Content-Disposition": name or "attachment"},
    )
    response["Content-Length"] = str(end - start)
    if part:
        response["Content-Range"] = f"bytes {start}-{end - 1}/{artifact.size_bytes}"
    return response


def _file_name(name: str) -> str:
    """The last part of the name: what is saved is a file, whatever tree it came from."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return last if last.strip(". ") else "artifact"


def _asked_range(request: HttpRequest, artifact: Artifact, tag: str) -> tuple[int, int] | None:
    """Start and end of the one range that is asked for; None for all of it, also where several
    are asked for or another version is meant (RFC 9110 §14.2)."""
    found = _RANGE.fullmatch(request.META.get("HTTP_RANGE", "").replace(" ", ""))
    if found is None or found[0] == "bytes=-" or request.META.get("HTTP_IF_RANGE", tag) != tag:
        return None
    size = artifact.size_bytes
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
        if found[2] and int(found[2]) < start:
            return None
    if start >= size or start == end:
        raise RangeNotSatisfiable(size_bytes=size)
    return start, end
