"""/v1/runners/sessions/{id}/artifacts: bytes stream to the store; only then is there a row."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import FileResponse, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from rest_framework.request import Request

from grants import artifacts, queries, storage
from grants.artifacts import Description
from grants.filters import ArtifactFilters
from grants.models import Artifact
from grants.serializers import ArtifactOut
from grants.storage import Blob, Draft
from keeptrusts_runners.api import body, etag
from keeptrusts_runners.api.idempotency import attempt_for
from keeptrusts_runners.api.lease_epoch import named_epoch
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import (
    DigestMismatch,
    DomainError,
    InsufficientStorage,
    LeaseEpochRequired,
    LeaseLost,
    LengthRequired,
    LimitReached,
    Malformed,
    NotFound,
    NotLeased,
    NotLeaseHolder,
    field_error,
)
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries

MULTIPART = "multipart/form-data"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):")


class ArtifactViewSet(ApiViewSet):
    """Produced outputs: logs, bundles, generated files."""

    tag = "Artifacts"
    scopes: ClassVar = {
        "list": Scope.READ,
        "create": Scope.WRITE,
        "retrieve": Scope.READ,
        "content": Scope.READ,
    }
    session_token_actions: ClassVar = frozenset({"list", "create", "retrieve", "content"})
    non_atomic_actions: ClassVar = frozenset({"create"})
    outputs: ClassVar = dict.fromkeys(("list", "create", "retrieve"), ArtifactOut)
    filters: ClassVar = {"list": ArtifactFilters}
    media_types: ClassVar = {"content": ("application/octet-stream",)}
    parameters: ClassVar = {
        "create": {
            "name": {"type": "string", "maxLength": 255},
            "kind": {"type": "string", "maxLength": 64},
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "Content-Digest": {"in": "header", "type": "string"},
            "Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1},
        }
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
            InsufficientStorage,
        )
    }

    def list(self, request: Request, session_id: UUID) -> HttpResponse:
        """List a session's artifacts, newest first."""
        session_queries.session(session_id, by=self.principal)
        rows = self.filtered(queries.artifacts(session_id))
        return self.answer(list_answer(*page(rows, request), ArtifactOut))

    def create(self, request: Request, session_id: UUID) -> HttpResponse:
        """Upload an artifact.

        As `multipart/form-data` (`file`, `name`, `kind`), or as the raw body with `?name=&kind=`
        and its media type as Content-Type. A digest in `Content-Digest` or `?sha256=` is checked.
        An artifact is visible only when it is whole.
        """
        epoch = named_epoch(request)
        with self.organization_scope():
            room = artifacts.room(session_id, by=self.principal, lease_epoch=epoch)
        description, blob = self._receive(room)
        self._check_digest(request, blob)
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
        answer = self.answer(ArtifactOut.render(made), 201)
        if attempt is not None:
            attempt.record(digest, answer)
        return answer

    def _receive(self, room: int) -> tuple[Description, Blob]:
        request = self.request._request
        if body.content_type(request) == MULTIPART:
            return _receive_form(request, self.organization_id, room)
        body.require_length(request)
        description = artifacts.describe(
            _parameter(request, "name"),
            request.GET.get("kind", "file"),
            request.META.get("CONTENT_TYPE") or "",
        )
        announced = int(request.META.get("CONTENT_LENGTH") or 0)
        blob = storage.receive(self.organization_id, _chunks(request), room)
        if blob.size_bytes != announced:
            raise Malformed("The body ended before its announced length.")
        return description, blob

    def _check_digest(self, request: Request, blob: Blob) -> None:
        for announced in (_content_digest(request), _sha256_parameter(request)):
            if announced is not None and announced != blob.sha256:
                raise DigestMismatch(received=blob.sha256, announced=announced)

    def retrieve(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponse:
        """Get one artifact's description."""
        found = self._artifact(session_id, artifact_id)
        return self.answer(ArtifactOut.render(found), tag=etag.strong(found.id, 1))

    def content(self, request: Request, session_id: UUID, artifact_id: UUID) -> HttpResponseBase:
        """Download an artifact's bytes."""
        return download(self._artifact(session_id, artifact_id))

    def _artifact(self, session_id: UUID, artifact_id: UUID) -> Artifact:
        session_queries.session(session_id, by=self.principal)
        return artifacts.artifact(session_id, artifact_id)


def download(artifact: Artifact) -> FileResponse:
    """The bytes as an attachment that no browser will render. Raises NotFound when gone."""
    try:
        chunks = storage.read(artifact.organization_id, artifact.sha256)
    except FileNotFoundError:
        raise NotFound("The artifact's bytes are gone.") from None
    response = FileResponse(
        chunks,
        as_attachment=True,
        filename=artifact.name,
        content_type="application/octet-stream",
    )
    response["Content-Length"] = str(artifact.size_bytes)
    response["ETag"] = f'"{artifact.sha256}"'
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


# --- reading what was sent -------------------------------------------------------------------


def _parameter(request: HttpRequest, name: str) -> str:
    value = request.GET.get(name)
    if value is None:
        raise field_error(f"/{name}", "required", f"Name it: ?{name}=… beside a raw body.")
    return value


def _chunks(request: HttpRequest) -> Iterator[bytes]:
    try:
        while chunk := request.read(storage.CHUNK_BYTES):
            yield chunk
    except OSError as error:
        raise Malformed("The upload was cut.") from error


def _content_digest(request: Request) -> str | None:
    header = request.META.get("HTTP_CONTENT_DIGEST")
    if header is None:
        return None
    found = _CONTENT_DIGEST.search(header)
    if found is None:
        raise Malformed("Content-Digest needs a sha-256 in the form of RFC 9530.")
    try:
        return base64.b64decode(found[1], validate=True).hex()
    except binascii.Error:
        raise Malformed("Content-Digest is not base64.") from None


def _sha256_parameter(request: Request) -> str | None:
    value = request.GET.get("sha256")
    if value is not None and not _SHA256.fullmatch(value):
        raise field_error("/sha256", "invalid", "This must be 64 lower-case hexadecimal digits.")
    return value


class _StoredUpload(UploadedFile):
    """A form's file, already in the store."""

    blob: Blob


class _StoreHandler(FileUploadHandler):
    """Streams the form's one file straight into the store."""

    chunk_size = storage.CHUNK_BYTES

    def __init__(self, organization_id: UUID, max_bytes: int) -> None:
        super().__init__()
        self._organization_id, self._max_bytes = organization_id, max_bytes
        self._draft: Draft | None = None
        self.refusal: DomainError | None = None
        self.files = 0

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.files += 1
        if self.files > 1:
            self._refuse(field_error("/file", "repeated", "Send one file at a time."))
        try:
            self._draft = Draft(self._organization_id, self._max_bytes).__enter__()
        except DomainError as error:
            self._refuse(error)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        assert self._draft is not None
        try:
            self._draft.write(raw_data)
        except DomainError as error:
            self._refuse(error)

    def _refuse(self, error: DomainError) -> None:
        self.refusal = error
        self.close()
        # Let go of the connection instead of reading gigabytes that will be thrown away.
        raise StopUpload(connection_reset=True)

    def file_complete(self, file_size: int) -> UploadedFile:
        assert self._draft is not None
        stored = _StoredUpload(name=self.file_name, content_type=self.content_type, size=file_size)
        try:
            stored.blob = self._draft.store()
        except DomainError as error:
            self._refuse(error)
        return stored

    def upload_interrupted(self) -> None:
        self.close()

    def close(self) -> None:
        if self._draft is not None:
            self._draft.__exit__(None, None, None)
            self._draft = None


def _receive_form(
    request: HttpRequest, organization_id: UUID, room: int
) -> tuple[Description, Blob]:
    handler = _StoreHandler(organization_id, room)
    request.upload_handlers = [handler]
    try:
        fields, files = request.POST, request.FILES
    except MultiPartParserError as error:
        raise Malformed(f"The form cannot be read: {error}.") from None
    finally:
        handler.close()
    if handler.refusal is not None:
        raise handler.refusal
    if unknown := sorted((fields.keys() | files.keys()) - {"file", "name", "kind"}):
        raise field_error(f"/{unknown[0][:64]}", "unknown_field", "The form has no such field.")
    file = files.get("file")
    if not isinstance(file, _StoredUpload):
        raise field_error("/file", "required", "Send the bytes in the field `file`.")
    name = str(fields.get("name") or file.name or "")
    kind = str(fields.get("kind") or "file")
    return artifacts.describe(name, kind, file.content_type or ""), file.blob
