"""One line of events.ndjson: read strictly, and its body held against its digest."""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Any

from keeptrusts_runners.evidence.chain import DIGEST_BYTES, SALT_BYTES, Header, body_digest
from keeptrusts_runners.evidence.verifier.strict_json import parse_json

_RECORD_MEMBERS = frozenset(
    ("seq", "at", "kind", "actor", "epoch", "body", "salt", "body_digest", "hash")
)


class BrokenRecord(Exception):  # noqa: N818 - says what the record is
    """The record with number `seq` is not the one that has to stand there."""

    def __init__(self, seq: int, detail: str) -> None:
        self.seq = seq
        self.detail = detail
        super().__init__(f"record {seq}: {detail}")


@dataclass(slots=True)
class LedgerRecord:
    """A record whose body, unless redacted (None), is the one that its digest is of."""

    seq: int
    header: Header
    body: bytes | None
    hash: str


def read_record(line: bytes, seq: int) -> LedgerRecord:
    """The record of a line that must be number `seq`. Raises BrokenRecord."""
    try:
        return _record(line, seq)
    except ValueError as error:
        raise BrokenRecord(seq, str(error)) from None


def _record(line: bytes, seq: int) -> LedgerRecord:
    members = _record_members(line)
    _check_number(members["seq"], seq)
    for name in ("at", "epoch"):
        if type(members[name]) is not int or not 0 <= members[name] < 2**63:
            raise ValueError(f"{name} is not an unsigned integer")
    for name in ("kind", "actor", "body_digest", "hash"):
        if not isinstance(members[name], str):
            raise ValueError(f"{name} is not a text")
    if not (members["kind"] + members["actor"]).isprintable():
        raise ValueError("kind or actor has characters that cannot be shown")
    digest = _digest(members["body_digest"])
    header = (members["at"], members["kind"], members["actor"], members["epoch"], digest)
    return LedgerRecord(seq, header, _body(members, digest), members["hash"])


def _record_members(line: bytes) -> dict[str, Any]:
    try:
        value = parse_json(line)
    except ValueError as error:
        raise ValueError(f"the line is not JSON ({error})") from None
    if not isinstance(value, dict) or value.keys() != _RECORD_MEMBERS:
        raise ValueError("the line is not a record: it has other members")
    return value


def _check_number(found: object, expected: int) -> None:
    if type(found) is not int:
        raise ValueError("seq is not an integer")
    if found > expected:
        raise ValueError(f"it is missing, number {found} stands in its place")
    if found < expected:
        raise ValueError(f"number {found} stands in its place")


def _digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != DIGEST_BYTES or digest.hex() != text:
        raise ValueError("body_digest is not 32 bytes in hex")
    return digest


def _body(members: dict[str, Any], digest: bytes) -> bytes | None:
    if members["body"] is None and members["salt"] is None:
        return None
    body, salt = _decoded(members["body"], "body"), _decoded(members["salt"], "salt")
    if len(salt) != SALT_BYTES:
        raise ValueError("the salt has not 32 bytes")
    if body_digest(salt, body) != digest:
        raise ValueError("its body is not the one that was recorded: the digest is another")
    return body


def _decoded(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"{name} is not a text; only a redaction takes body and salt together")
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        raise ValueError(f"{name} is not base64") from None
