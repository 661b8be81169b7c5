"""From DRF's trees of errors to the flat list of a problem document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rest_framework.settings import api_settings

from keeptrusts_runners.errors import FieldError


def pointer(*segments: str | int) -> str:
    """A JSON pointer (RFC 6901): `pointer("events", 3, "kind")` → `/events/3/kind`."""
    return "".join("/" + str(segment).replace("~", "~0").replace("/", "~1") for segment in segments)


def field_errors(detail: Any, base: str = "") -> list[FieldError]:
    """Every leaf of a `ValidationError.detail`, with the pointer to its field."""
    return list(_walk(detail, base))


def _walk(detail: Any, base: str) -> Iterator[FieldError]:
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            here = key == api_settings.NON_FIELD_ERRORS_KEY
            yield from _walk(value, base if here else base + pointer(key))
    elif isinstance(detail, (list, tuple)):
        for index, value in enumerate(detail):
            # A list of messages belongs to the field itself; a list of trees to its items.
            yield from _walk(value, base + pointer(index) if _is_tree(value) else base)
    else:
        yield FieldError(base, getattr(detail, "code", None) or "invalid", str(detail))


def _is_tree(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple))
