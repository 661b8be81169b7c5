"""Path converters for TypeIDs: `<sess:session_id>` gives a UUID, and only to a well-formed id.

A malformed id matches no route, so its answer is the resolver's 404: the same document as for an
id that does not exist.
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.urls import register_converter
from django.urls.converters import get_converters

from keeptrusts_runners import ids

# The first of the 26 characters carries three bits only.
SUFFIX_PATTERN = "[0-7][0-9a-hjkmnp-tv-z]{25}"


class TypeIDConverter:
    """One subclass per prefix; see `register_all`."""

    prefix: ClassVar[str]
    regex: ClassVar[str]

    def to_python(self, value: str) -> UUID:
        return ids.decode(self.prefix, value)

    def to_url(self, value: UUID | str) -> str:
        return value if isinstance(value, str) else ids.encode(self.prefix, value)


def converter(prefix: str) -> Any:
    """The converter class of one prefix."""
    attributes = {"prefix": prefix, "regex": f"{prefix}_{SUFFIX_PATTERN}"}
    return type(f"{prefix.capitalize()}Converter", (TypeIDConverter,), attributes)


def register_all() -> None:
    """Make `<prefix:name>` known to `path()` for every known prefix, once."""
    for prefix in sorted(ids.PREFIXES - get_converters().keys()):
        register_converter(converter(prefix), prefix)
