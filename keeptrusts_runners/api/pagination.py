"""Keyset pages: the same cost on page 1 and page 100,000, no OFFSET, no COUNT.

A cursor is the ordering key of the last row shown, signed together with the address and the
ordering that it belongs to: it leads nowhere else, and a forged one is refused.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from rest_framework.request import Request

from keeptrusts_runners.api.shapes import OutputShape
from keeptrusts_runners.errors import FieldError, InvalidCursor, InvalidParameter

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 200
PAGE_PARAMETERS: Final = frozenset({"limit", "cursor"})

_LIMIT = re.compile(r"[0-9]{1,4}")
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,1024}")
_SEAL_BYTES = 12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Key = Sequence[Any]


def page(
    queryset: QuerySet[Any],
    request: HttpRequest | Request,
    *,
    order: Sequence[str] = ("-id",),
    to_key: Callable[[Any], Key] | None = None,
) -> tuple[list[Any], str | None]:
    """One page of rows and the cursor of the next one.

    `order` names columns that are never null, the last of them unique, with `-` for descending;
    an index over them in this order keeps every page cheap. `to_key` reads the key of a row
    where it is not simply the attributes of these names. Raises InvalidParameter, InvalidCursor.
    """
    limit = read_limit(request)
    after = resume(request, order)
    rows = _rows(queryset.order_by(*order), order, after, limit + 1)
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    key = to_key(rows[-1]) if to_key else _key(rows[-1], order)
    return rows, _seal(key, request, order)


def resume(request: HttpRequest | Request, order: Sequence[str]) -> Key | None:
    """Where the request's cursor goes on; None without one. Raises InvalidCursor."""
    cursor = request.GET.get("cursor")
    return None if cursor is None else _open(cursor, request, order)


def cursor_after(key: Key, request: HttpRequest | Request, order: Sequence[str]) -> str:
    """The cursor that goes on behind this key, for lists that know better than `page`."""
    return _seal(key, request, order)


def list_answer(
    rows: Iterable[Any], next_cursor: str | None, shape: type[OutputShape]
) -> dict[str, Any]:
    """What every list answers."""
    return {"items": shape.render_many(rows), "next_cursor": next_cursor}


def read_limit(request: HttpRequest | Request) -> int:
    """`?limit=`, 1 to 200. Raises InvalidParameter."""
    text = request.GET.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        detail = f"limit must be a number from 1 to {MAX_LIMIT}."
        raise InvalidParameter(detail, errors=[FieldError("limit", "invalid", detail)])
    return int(text)


def _rows(queryset: QuerySet[Any], order: Sequence[str], after: Key | None, most: int) -> list[Any]:
    """The rows behind `after`: first those equal to it in all columns but the last, then in all
    but the last two, and so on. Each is one range of the index, however many rows share a
    leading value and whatever the directions are; together they are the ordering."""
    if after is None:
        return list(queryset[:most])
    rows: list[Any] = []
    for depth in range(len(order) - 1, -1, -1):
        if len(rows) == most:
            break
        names = [name.removeprefix("-") for name in order]
        operator = "lt" if order[depth].startswith("-") else "gt"
        condition = dict(zip(names[:depth], after, strict=False))
        condition[f"{names[depth]}__{operator}"] = after[depth]
        rows += queryset.filter(**condition)[: most - len(rows)]
    return rows


def _key(row: Any, order: Sequence[str]) -> Key:
    names = [name.removeprefix("-") for name in order]
    if isinstance(row, dict):
        return [row[name] for name in names]
    return [getattr(row, name) for name in names]


# --- the cursor ------------------------------------------------------------------------------


def _seal(key: Key, request: HttpRequest | Request, order: Sequence[str]) -> str:
    content = json.dumps([_write(value) for value in key], separators=(",", ":")).encode()
    return _encode(_signature(content, request, order) + content)


def _encode(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _open(cursor: str, request: HttpRequest | Request, order: Sequence[str]) -> Key:
    if not _CURSOR.fullmatch(cursor):
        raise InvalidCursor
    try:
        sealed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except ValueError:
        raise InvalidCursor from None
    if _encode(sealed) != cursor:
        raise InvalidCursor
    signature, content = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
    if not hmac.compare_digest(signature, _signature(content, request, order)):
        raise InvalidCursor
    return [_read(kind, value) for kind, value in json.loads(content)]


def _signature(content: bytes, request: HttpRequest | Request, order: Sequence[str]) -> bytes:
    principal = getattr(request, "principal", None)
    organization = principal.organization_id.hex if principal else ""
    binding = "\0".join((organization, request.path, *order)).encode()
    digest = salted_hmac("keeptrusts.cursor", binding + b"\0" + content, algorithm="sha256")
    return digest.digest()[:_SEAL_BYTES]


def _write(value: Any) -> tuple[str, Any]:
    if isinstance(value, UUID):
        return "u", value.hex
    if isinstance(value, datetime):
        return "t", (value - _EPOCH) // _MICROSECOND
    if isinstance(value, (int, str)):
        return "v", value
    raise TypeError(f"{type(value).__name__} cannot order a list")


def _read(kind: str, value: Any) -> Any:
    if kind == "u":
        return UUID(hex=value)
    return _EPOCH + value * _MICROSECOND if kind == "t" else value
