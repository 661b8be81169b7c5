"""Reading a body: its type, its size and its end are checked before anything parses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any, cast
from urllib.parse import parse_qsl

from django.http import HttpRequest

from keeptrusts_runners.api import strict_json
from keeptrusts_runners.errors import (
    LengthRequired,
    Malformed,
    PayloadTooLarge,
    UnsupportedMediaType,
)

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_FORM_BYTES = 16 * 1024
MAX_FIELDS = 32
MAX_DISCARDED = 16 * 1024 * 1024


def content_type(request: HttpRequest) -> str:
    """The media type without parameters, in lower case; empty when none was named."""
    return str(request.META.get("CONTENT_TYPE") or "").partition(";")[0].strip().lower()


def read(request: HttpRequest, max_bytes: int) -> bytes:
    """The whole body. Raises PayloadTooLarge before or while reading, Malformed if it is cut.

    A chunked body that is cut cannot be told from a whole one: what reads a format that may end
    anywhere (NDJSON) calls `require_length` first.
    """
    if hasattr(request, "_body"):
        data = request.body
    else:
        data = _receive(request, max_bytes)
        # Django's own cache of the body, so that whoever asks again gets the same bytes.
        request._body = data
    if len(data) > max_bytes:
        raise PayloadTooLarge(limit_bytes=max_bytes)
    return data


def require_length(request: HttpRequest) -> None:
    """Raises LengthRequired unless the body's size was announced."""
    if _is_chunked(request):
        raise LengthRequired


def require_plain(request: HttpRequest) -> None:
    """Raises UnsupportedMediaType for a compressed body."""
    encoding = request.META.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaType(f"Content-Encoding {encoding[:32]!r} is not read here.")


def _is_chunked(request: HttpRequest) -> bool:
    return "chunked" in request.META.get("HTTP_TRANSFER_ENCODING", "").lower()


def _receive(request: HttpRequest, max_bytes: int) -> bytes:
    require_plain(request)
    if _is_chunked(request):
        # Without a Content-Length Django would see an empty body.
        return _read_to_end(cast(IO[bytes], request.META["wsgi.input"]), max_bytes + 1)
    announced = announced_length(request)
    if announced > max_bytes:
        _discard(request, announced)
        raise PayloadTooLarge(limit_bytes=max_bytes)
    data = request.read(announced) if announced else b""
    if len(data) < announced:
        raise Malformed("The body ended before its announced length.")
    return data


def _discard(request: HttpRequest, announced: int) -> None:
    """Take in what is not much too large: many clients see no answer before all is sent."""
    while 0 < announced <= MAX_DISCARDED and (chunk := request.read(65536)):
        announced -= len(chunk)


def _read_to_end(stream: IO[bytes], most: int) -> bytes:
    chunks: list[bytes] = []
    try:
        while most > 0 and (chunk := stream.read(min(most, 65536))):
            chunks.append(chunk)
            most -= len(chunk)
    except OSError:
        raise Malformed("The body ended before its last chunk.") from None
    return b"".join(chunks)


def announced_length(request: HttpRequest) -> int:
    """`Content-Length`, 0 without one. Raises Malformed for what is no number."""
    text = str(request.META.get("CONTENT_LENGTH") or "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Malformed("Content-Length is not a number.")
    return int(text)


def read_json(request: HttpRequest, max_bytes: int) -> Any:
    """The JSON document in the body; an absent or empty body is `{}`."""
    data = read(request, max_bytes)
    if not data:
        return {}
    if content_type(request) != JSON or not _is_utf8(request):
        raise UnsupportedMediaType(accepted=[JSON])
    return strict_json.loads(data, max_bytes=max_bytes)


def _is_utf8(request: HttpRequest) -> bool:
    charset = (request.content_params or {}).get("charset", "utf-8")
    return charset.strip("\"'").lower() in ("utf-8", "utf8")


# --- forms, for what OAuth has as forms --------------------------------------------------------


def read_form(request: HttpRequest) -> dict[str, str]:
    """The fields of a form; one without a value counts as left out (RFC 6749 §3.1). Raises
    Malformed."""
    try:
        text = read(request, MAX_FORM_BYTES).decode()
        pairs = parse_qsl(text, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Malformed("The form cannot be read.") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name in fields:
            raise Malformed(f"{name[:40]!r} is given more than once.")
        if "\x00" in name + value:
            raise Malformed(f"{name[:40]!r} has a NUL character.")
        fields[name] = value
    return fields


def form_schema(required: str, fields: Mapping[str, str]) -> dict[str, Any]:
    """A form whose fields are texts, for the schema."""
    properties = {name: {"type": "string", "description": text} for name, text in fields.items()}
    return {FORM: {"type": "object", "required": [required], "properties": properties}}
