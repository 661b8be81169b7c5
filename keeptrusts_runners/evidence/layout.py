"""A bundle's layout: the names of its files in their order, and tar headers for them.

The archive is POSIX ustar and every header has exactly one spelling for its name and size, so
that each byte of a bundle is either a file's content, which is signed, or known beforehand.
"""

from __future__ import annotations

README = "README.txt"
SESSION = "session.json"
PROFILE = "profile.json"
HARNESS = "harness.json"
TRANSITIONS = "transitions.ndjson"
EVENTS = "events.ndjson"
GRANTS = "grants.json"
ARTIFACTS = "artifacts.json"
SUMS = "SHA256SUMS"
CHECKPOINTS = "checkpoints.json"
COMPLETENESS = "completeness.json"
REFUSALS = "refusals.json"
ANCHOR = "anchor.json"
LOG_CHECKPOINT = "checkpoint.txt"
KEYS = "keys.json"
STATEMENT = "statement.dsse.json"

MEMBERS = (
    README,
    SESSION,
    PROFILE,
    HARNESS,
    TRANSITIONS,
    EVENTS,
    GRANTS,
    ARTIFACTS,
    SUMS,
    CHECKPOINTS,
    COMPLETENESS,
    REFUSALS,
    ANCHOR,
    LOG_CHECKPOINT,
    KEYS,
    STATEMENT,
)

# Bundles that were written before these existed are whole without them.
OPTIONAL = frozenset({SUMS})

# Whole documents are read into memory; the two .ndjson files are read line by line.
STREAMED = frozenset({TRANSITIONS, EVENTS})
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024

BLOCK = 512
END = bytes(2 * BLOCK)
_MAX_STREAMED_BYTES = 8**11 - 1  # eleven octal digits


def max_bytes(name: str) -> int:
    """How large a file of this name may be."""
    return _MAX_STREAMED_BYTES if name in STREAMED else MAX_DOCUMENT_BYTES


def tar_header(name: str, size: int) -> bytes:
    """The 512 bytes before a file. Raises ValueError for a file that is too large."""
    if not 0 <= size <= max_bytes(name):
        raise ValueError(f"{name} has {size} bytes, more than {max_bytes(name)}")
    before_checksum = name.encode("ascii").ljust(100, b"\0") + b"0000644\0" + 2 * b"0000000\0"
    before_checksum += b"%011o\0" % size + b"%011o\0" % 0  # mtime: the same files, the same bytes
    after_checksum = (b"0" + bytes(100) + b"ustar\x0000").ljust(BLOCK - 156, b"\0")
    total = sum(before_checksum) + sum(after_checksum) + 8 * ord(" ")
    return before_checksum + b"%06o\0 " % total + after_checksum


def tar_padding(size: int) -> bytes:
    """The zeros that fill a file's last block."""
    return bytes(-size % BLOCK)
