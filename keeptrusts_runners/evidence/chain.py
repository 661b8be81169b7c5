"""The hash chain of one session's ledger, format kt.ledger.v1 (docs/evidence-format.md).

Pure functions over bytes. The server chains with them and the verifier recomputes with them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import sha256

FORMAT = b"kt.ledger.v1"
DIGEST_BYTES = 32
SALT_BYTES = 32
GENESIS = bytes(DIGEST_BYTES)

_LENGTH = struct.Struct(">I")
_TWO_INTEGERS = struct.Struct(">IQIQ")
_INTEGER_AND_LENGTH = struct.Struct(">IQI")
_DIGEST_LENGTH = _LENGTH.pack(DIGEST_BYTES)

# at in microseconds, kind, actor, epoch (0: none), body_digest
Header = tuple[int, str, str, int, bytes]


def body_digest(salt: bytes, body: bytes) -> bytes:
    """SHA-256 over the salt and the stored bytes."""
    return sha256(salt + body).digest()


def link(
    organization: bytes,
    session: bytes,
    seq: int,
    at_us: int,
    kind: str,
    actor: str,
    epoch: int,
    body_digest: bytes,
    prev: bytes,
) -> bytes:
    """The hash of one record; `organization` and `session` are the 16 bytes of their UUIDs."""
    header = (at_us, kind, actor, epoch, body_digest)
    return extend(organization, session, seq - 1, prev, [header])[0]


def extend(
    organization: bytes, session: bytes, head_seq: int, head_hash: bytes, records: Iterable[Header]
) -> list[bytes]:
    """The hashes of the records that follow a head, the first of them being `head_seq` + 1.

    Raises ValueError for digests and UUIDs of another length, struct.error for numbers outside
    unsigned 64 bits.
    """
    prefix = _prefix(organization, session)
    seq, prev = head_seq, head_hash
    if len(prev) != DIGEST_BYTES:
        raise ValueError("the head's hash has 32 bytes")
    # Most records of a batch share these three fields. Spelt out, without a call of our own:
    # ingest and verification spend their time in this loop.
    middles: dict[tuple[str, str, int], bytes] = {}
    hashes = []
    for at_us, kind, actor, epoch, digest in records:
        seq += 1
        if len(digest) != DIGEST_BYTES:
            raise ValueError(f"the body digest of record {seq} has not 32 bytes")
        key = (kind, actor, epoch)
        middle = middles.get(key)
        if middle is None:
            middle = middles[key] = _middle(kind, actor, epoch)
        seq_and_at = _TWO_INTEGERS.pack(8, seq, 8, at_us)
        fields = (prefix, seq_and_at, middle, digest, _DIGEST_LENGTH, prev)
        prev = sha256(b"".join(fields)).digest()
        hashes.append(prev)
    return hashes


def _prefix(organization: bytes, session: bytes) -> bytes:
    """The fields that all records of a session begin with."""
    if len(organization) != 16 or len(session) != 16:
        raise ValueError("organization and session are the 16 bytes of a UUID")
    return _field(FORMAT) + _field(organization) + _field(session)


def _middle(kind: str, actor: str, epoch: int) -> bytes:
    """The fields between the time and the body's digest, and the length of the latter."""
    integer = _INTEGER_AND_LENGTH.pack(8, epoch, DIGEST_BYTES)
    return _field(kind.encode()) + _field(actor.encode()) + integer


def _field(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value
