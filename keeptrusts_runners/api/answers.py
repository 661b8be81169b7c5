"""How an answer is written: compact UTF-8 JSON, straight from plain values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.http import HttpResponse

from keeptrusts_runners.clock import rfc3339

JSON = "application/json"
NDJSON = "application/x-ndjson"
TEXT = "text/plain"


def _default(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in an answer")


def encode(data: Any) -> bytes:
    """The bytes of an answer. Never NaN, never HTML-escaped: the media type is fixed."""
    text = json.dumps(
        data, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default
    )
    return text.encode("utf-8", errors="replace")


def json_answer(
    data: Any,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    content_type: str = JSON,
) -> HttpResponse:
    return HttpResponse(encode(data), status=status, headers=headers, content_type=content_type)
