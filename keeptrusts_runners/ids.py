"""TypeIDs (spec 0.3): how an id is written outside, and UUIDv7, how it is stored.

`sess_01k…` is a prefix, an underscore and 26 characters of Crockford base32 for the 128 bits of
a UUID. Session ids are minted by the database (`kt_uuid7()`), so that a process with a wrong
clock cannot put one into the wrong partition; all other ids may be minted here.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

_IDENTITY, _WHERE = ["org", "user", "sa"], ["prof", "harn", "exec"]
_WHAT = ["sess", "batch", "ckpt", "evt", "art", "grant", "aud", "exp"]
PREFIXES = frozenset([*_IDENTITY, *_WHERE, *_WHAT])

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {character: value for value, character in enumerate(_ALPHABET)}
_LENGTH = 26
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new() -> UUID:
    """A new UUIDv7 (RFC 9562): 48 bits of milliseconds, 74 random bits."""
    return at(time.time_ns() // 1_000_000, os.urandom(10))


def at(milliseconds: int, random: bytes) -> UUID:
    """The UUIDv7 of this instant since the Unix epoch with these ten bytes."""
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(random)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


# Two characters at a time: each event that is recorded has its id written.
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)


def floor(at: datetime) -> UUID:
    """The least UUIDv7 of this instant's millisecond: where a range of ids by time begins."""
    return UUID(int=(at - _EPOCH) // timedelta(milliseconds=1) << 80)


def encode(prefix: str, value: UUID) -> str:
    """`encode("sess", uuid)` → `sess_` + 26 characters."""
    number = value.int
    suffix = "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])
    return f"{prefix}_{suffix}"


def decode(prefix: str, text: str) -> UUID:
    """The UUID behind a TypeID of this prefix. Raises ValueError for anything else."""
    head, _, suffix = text.rpartition("_")
    if head != prefix or len(suffix) != _LENGTH:
        raise ValueError(f"not an id of the form {prefix}_…")
    number = 0
    try:
        for character in suffix:
            number = number << 5 | _VALUES[character]
    except KeyError:
        raise ValueError(f"not an id of the form {prefix}_…") from None
    if number >> 128:
        raise ValueError(f"not an id of the form {prefix}_…")
    return UUID(int=number)


def prefix_of(text: str) -> str | None:
    """The known prefix that this text begins with, if it looks like a TypeID at all."""
    head, _, _ = text.rpartition("_")
    return head if head in PREFIXES else None
