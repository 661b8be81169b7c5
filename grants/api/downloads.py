"""An artifact's bytes as a download: whole or in ranges, inert, and never other bytes than those
that were stored.

The bytes are read while they are sent, after the request's transaction. A whole one is hashed on
its way, and its last chunk is held back until the digest is right: an answer that is complete is
the artifact.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from itertools import chain
from urllib.parse import quote

from django.http import (
    HttpRequest,
    HttpResponse,
    HttpResponseNotModified,
    StreamingHttpResponse,
)
from django.http.response import HttpResponseBase

from grants import integrity, storage
from grants.models import Artifact
from keeptrusts_runners.api import etag, ranges
from keeptrusts_runners.api.ranges import Span
from keeptrusts_runners.evidence.file_names import file_name
from keeptrusts_runners.identity.principal import Principal

OCTETS = "application/octet-stream"
BYTERANGES = "multipart/byteranges"
SANDBOX = "sandbox; default-src 'none'"
# What a quoted file name may have: neither what ends it, nor what some browsers decode in it.
_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$&'()+,-.;=@[]^_`{}~<>"
)


def download(artifact: Artifact, request: HttpRequest, *, by: Principal) -> HttpResponseBase:
    """What of the bytes the request asks for, as an attachment that no browser renders; on record
    as this principal's, in the present scope. Raises ContentBroken, ContentMissing,
    RangeNotSatisfiable."""
    integrity.require_good(artifact)
    headers = inert(artifact) | {
        "Accept-Ranges": "bytes",
        "Content-Disposition": attachment(artifact.name),
    }
    if etag.is_unchanged(request, headers["ETag"]):
        return HttpResponseNotModified(headers=headers)
    spans = ranges.asked(request, artifact.size_bytes, headers["ETag"])
    if request.method == "HEAD":
        return _head(artifact, headers)
    answer = _answer(artifact, spans, headers)
    answered = ",".join(f"{span.start}-{span.end - 1}" for span in spans)
    integrity.record_download(artifact, answered, by=by)
    return answer


def inert(artifact: Artifact) -> dict[str, str]:
    """The headers of an artifact's bytes wherever they are served: validators, and what keeps a
    browser from guessing what they are and from running them."""
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    return {
        "ETag": f'"{artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": SANDBOX,
        "Cross-Origin-Resource-Policy": "same-origin",
    }


def attachment(name: str) -> str:
    """`Content-Disposition` for a foreign name (RFC 6266): the name as it is where it is plain,
    else a plain one that resembles it, and the name itself encoded (RFC 8187)."""
    safe = file_name(name)
    if set(safe) <= _PLAIN:
        return f'attachment; filename="{safe}"'
    likeness = "".join(c if c in _PLAIN else "_" for c in safe)
    encoded = quote(safe, safe="!#$&+^`|~")
    return f"attachment; filename=\"{likeness}\"; filename*=UTF-8''{encoded}"


class Chunks(StreamingHttpResponse):
    """Bytes that need nothing of the request any more: neither its thread nor its transaction."""

    sent_in_turns = True


def stream(
    chunks: Iterator[bytes],
    status: int,
    length: int,
    headers: dict[str, str],
    content_type: str = OCTETS,
) -> StreamingHttpResponse:
    """An answer of so many bytes, sent as they are read."""
    sized = headers | {"Content-Length": str(length)}
    return Chunks(chunks, status=status, content_type=content_type, headers=sized)


# --- the answers -----------------------------------------------------------------------------


def _answer(
    artifact: Artifact, spans: list[Span], headers: dict[str, str]
) -> StreamingHttpResponse:
    if len(spans) > 1:
        return _parts(artifact, spans, headers)
    return _part(artifact, spans[0], headers) if spans else _whole(artifact, headers)


def _head(artifact: Artifact, headers: dict[str, str]) -> HttpResponse:
    """No range: it is defined for GET alone."""
    length = {"Content-Length": str(artifact.size_bytes)}
    return HttpResponse(content_type=OCTETS, headers=_with_digest(headers) | length)


def _whole(artifact: Artifact, headers: dict[str, str]) -> StreamingHttpResponse:
    chunks = integrity.proved(artifact)
    # What fits into a chunk or two is proved before the answer begins, and refused with a problem.
    first = next(chunks, b"")
    return stream(chain([first], chunks), 200, artifact.size_bytes, _with_digest(headers))


def _with_digest(headers: dict[str, str]) -> dict[str, str]:
    """The content is the whole representation, so that one digest is both."""
    return headers | {"Content-Digest": headers["Repr-Digest"]}


def _part(artifact: Artifact, span: Span, headers: dict[str, str]) -> StreamingHttpResponse:
    placed = headers | {"Content-Range": span.content_range(artifact.size_bytes)}
    return stream(_read(artifact, span), 206, span.length, placed)


def _parts(artifact: Artifact, spans: list[Span], headers: dict[str, str]) -> StreamingHttpResponse:
    """As multipart/byteranges, whose length is known beforehand."""
    boundary = os.urandom(16).hex()
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {OCTETS}\r\n"
        f"Content-Range: {span.content_range(artifact.size_bytes)}\r\n\r\n".encode()
        for span in spans
    ]
    end = f"\r\n--{boundary}--\r\n".encode()

    def chunks() -> Iterator[bytes]:
        for head, span in zip(heads, spans, strict=True):
            yield head
            yield from _read(artifact, span)
        yield end

    length = sum(map(len, heads)) + sum(span.length for span in spans) + len(end)
    return stream(chunks(), 206, length, headers, f"{BYTERANGES}; boundary={boundary}")


def _read(artifact: Artifact, span: Span) -> Iterator[bytes]:
    return storage.store().open_range(
        artifact.organization_id, artifact.sha256, span.start, span.length
    )
