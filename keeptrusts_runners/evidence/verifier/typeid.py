"""The UUID behind a TypeID (spec 0.3), such as sess_ and 26 characters of Crockford base32."""

from __future__ import annotations

import re

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# 26 characters hold 130 bits: the first one is at most 7.
_SUFFIX = re.compile(f"[0-7][{_ALPHABET}]{{25}}")


def uuid_bytes(prefix: str, text: object) -> bytes:
    """The 16 bytes. Raises ValueError for anything that is not an id of this prefix."""
    if not isinstance(text, str) or not text.startswith(f"{prefix}_"):
        raise ValueError(f"not an id of the form {prefix}_…")
    suffix = text[len(prefix) + 1 :]
    if not _SUFFIX.fullmatch(suffix):
        raise ValueError(f"not an id of the form {prefix}_…")
    number = 0
    for character in suffix:
        number = number << 5 | _ALPHABET.index(character)
    return number.to_bytes(16, "big")
