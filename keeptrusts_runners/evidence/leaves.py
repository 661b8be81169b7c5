"""The entries of an organization's log, format kt.log.v1 (docs/evidence-format.md)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

LEAF_FORMAT = b"kt.log.v1"
SESSION_LEAF = "session"
AUDIT_LEAF = "audit"
ROLLBACK_LEAF = "rollback"

_LEAF_LENGTH = struct.Struct(">I")
_LEAF_NUMBER = struct.Struct(">IQ")


@dataclass(frozen=True, slots=True)
class Leaf:
    """One thing that was anchored: that a session's chain had record `seq` with this hash, or
    that an audit record, whose id is `subject`, has this digest; ids are the bytes of UUIDs."""

    organization: bytes
    kind: str
    subject: bytes
    seq: int
    hash: bytes

    def entry(self) -> bytes:
        """The bytes that the log is over. Raises ValueError for ids and hashes of another length,
        struct.error for a number outside unsigned 64 bits."""
        if len(self.organization) != 16 or len(self.subject) != 16 or len(self.hash) != 32:
            raise ValueError("ids of a leaf are the 16 bytes of a UUID, its hash has 32")
        fields = (LEAF_FORMAT, self.organization, self.kind.encode(), self.subject)
        lengths = (_LEAF_LENGTH.pack(len(field)) + field for field in fields)
        seq = _LEAF_NUMBER.pack(8, self.seq)
        return b"".join([*lengths, seq, _LEAF_LENGTH.pack(32), self.hash])
