"""Reading an upload: a raw body or a form, streamed into a draft, which its reader then stores.

Nothing here keeps anything: a draft that is not stored leaves no trace.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any, cast

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopUpload
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from grants import artifacts, storage
from grants.artifacts import Description
from grants.drafts import Draft
from grants.models import Retention
from grants.partials import Appender
from keeptrusts_runners.api import body
from keeptrusts_runners.errors import DigestMismatch, DomainError, Malformed, field_error

MULTIPART = "multipart/form-data"
_FIELDS = frozenset({"file", "name", "kind", "sha256", "retention"})
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_SHA256 = field_error("/sha256", "invalid", "This must be 64 lower-case hexadecimal digits.")
_CONTENT_DIGEST = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?=,|$)")


def receive(request: HttpRequest, draft: Draft) -> Description:
    """Write what was sent into the draft, and answer what its sender says of it.

    Raises Malformed for a body that is cut, DigestMismatch, Invalid, and what the draft raises.
    """
    body.require_length(request)
    body.require_plain(request)
    announced = body.announced_length(request)
    received = _Received(request)
    if body.content_type(request) == MULTIPART:
        description, sha256 = _form(request, received, draft)
    else:
        description, sha256 = _raw(request, received, draft)
    if received.size_bytes != announced:
        raise Malformed("The body ended before its announced length.")
    _require(sha256, draft.sha256)
    announced_digest = _content_digest(request)
    if announced_digest is not None and received.hashed is not None:
        # Of the whole message by the letter; many senders mean the file that they send in a form.
        _require(announced_digest, draft.sha256, received.hashed.hexdigest())
    else:
        _require(announced_digest, draft.sha256)
    return description


def receive_partial(request: HttpRequest, appender: Appender, announced: int) -> None:
    """Append what comes, as far as it comes. Raises Malformed for a body that is cut, and
    DigestMismatch for one that is not what `Content-Digest` says, of which nothing stays."""
    expected = _content_digest(request)
    received = _Received(request)
    while chunk := received.read():
        appender.write(chunk)
    if received.size_bytes != announced:
        raise Malformed("The body ended before its announced length.")
    if expected is not None and expected != appender.sha256:
        appender.take_back()
        raise DigestMismatch(received=appender.sha256, announced=expected)


class _Received:
    """The body as it comes in, counted; hashed too where that is not the same as its file."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        is_form = body.content_type(request) == MULTIPART
        self.hashed = hashlib.sha256() if is_form and _content_digest(request) else None
        self.size_bytes = 0
        self.tail = b""

    def read(self, size: int = storage.CHUNK_BYTES) -> bytes:
        try:
            chunk: bytes = self._request.read(size)
        except OSError as error:
            raise Malformed("The upload was cut.") from error
        self.size_bytes += len(chunk)
        if self.hashed is not None:
            self.hashed.update(chunk)
        self.tail = chunk[-512:] if len(chunk) >= 512 else (self.tail + chunk)[-512:]
        return chunk


# --- a raw body ------------------------------------------------------------------------------


def _raw(request: HttpRequest, received: _Received, draft: Draft) -> tuple[Description, str | None]:
    described_as = described(request)
    while chunk := received.read():
        draft.write(chunk)
    return described_as


def described(request: HttpRequest) -> tuple[Description, str | None]:
    """What the query says of a raw body, and the digest that it announces. Raises Invalid."""
    name = request.GET.get("name")
    if name is None:
        raise field_error("/name", "required", "Name it: ?name=… beside a raw body.")
    media_type = str(request.META.get("CONTENT_TYPE") or "")
    description = artifacts.describe(
        name,
        request.GET.get("kind", "file"),
        media_type,
        request.GET.get("retention", Retention.STANDARD),
    )
    sha256 = request.GET.get("sha256")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise _NO_SHA256
    return description, sha256


# --- a form ----------------------------------------------------------------------------------


def _form(
    request: HttpRequest, received: _Received, draft: Draft
) -> tuple[Description, str | None]:
    handler = _IntoDraft(draft)
    try:
        parser = MultiPartParser(request.META, cast(Any, received), [handler], "utf-8")
        fields, files = parser.parse()
    except MultiPartParserError as error:
        raise Malformed(f"The form cannot be read: {error}.") from None
    if handler.refusal is not None:
        raise handler.refusal
    # Django takes a form that just ends for whole.
    if b"--" + _boundary(parser) + b"--" not in received.tail:
        raise Malformed("The form ended before its last boundary.")
    _only_known(fields, files)
    file = files.get("file")
    if not isinstance(file, UploadedFile):
        raise field_error("/file", "required", "Send the bytes in the field `file`.")
    # Fields count before the query, which a raw body has instead.
    given = {name: fields.get(name, request.GET.get(name)) for name in _FIELDS - {"file"}}
    name = file.name if given["name"] is None else given["name"]
    kind = "file" if given["kind"] is None else given["kind"]
    retention = Retention.STANDARD if given["retention"] is None else given["retention"]
    described = artifacts.describe(
        str(name or ""), str(kind), file.content_type or "", str(retention)
    )
    return described, None if given["sha256"] is None else str(given["sha256"])


def _boundary(parser: MultiPartParser) -> bytes:
    boundary = parser._boundary  # type: ignore[attr-defined]  # it has checked the header
    return boundary if isinstance(boundary, bytes) else str(boundary).encode()


def _only_known(fields: QueryDict, files: Any) -> None:
    for name in sorted(fields.keys() | files.keys()):
        if name not in _FIELDS or (name in files) != (name == "file"):
            raise field_error(f"/{name[:64]}", "unknown_field", "The form has no such field.")
        if len([*fields.getlist(name), *files.getlist(name)]) > 1:
            raise field_error(f"/{name}", "repeated", "Send one of each field.")


class _IntoDraft(FileUploadHandler):
    """Streams the form's one file straight into the draft."""

    chunk_size = storage.CHUNK_BYTES

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        self._files = 0
        self.refusal: DomainError | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._files += 1
        if self._files > 1:
            self._refuse(field_error("/file", "repeated", "Send one file at a time."))

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        try:
            self._draft.write(raw_data)
        except DomainError as error:
            self._refuse(error)

    def _refuse(self, error: DomainError) -> None:
        self.refusal = error
        # Let go of the connection instead of reading gigabytes that will be thrown away.
        raise StopUpload(connection_reset=True)

    def file_complete(self, file_size: int) -> UploadedFile:
        return UploadedFile(name=self.file_name, content_type=self.content_type, size=file_size)


# --- digests ---------------------------------------------------------------------------------


def _require(announced: str | None, *received: str) -> None:
    if announced is None:
        return
    if not _SHA256.fullmatch(announced):
        raise _NO_SHA256
    if not any(hmac.compare_digest(announced, digest) for digest in received):
        raise DigestMismatch(received=received[0], announced=announced)


def _content_digest(request: HttpRequest) -> str | None:
    header = request.META.get("HTTP_CONTENT_DIGEST")
    if header is None:
        return None
    found = _CONTENT_DIGEST.search(header)
    if found is None:
        raise Malformed("Content-Digest needs a sha-256 in the form of RFC 9530.")
    return base64.b64decode(found[1]).hex()
