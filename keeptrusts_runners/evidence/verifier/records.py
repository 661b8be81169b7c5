"""One line of events.ndjson: read strictly, and its body held against its digest."""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

from keeptrusts_runners.evidence.chain import SALT_BYTES, Header, body_digest

# The one spelling of a record. It is JSON, but a JSON reader would take five times as long and
# accept more.
_WORD = rb'"([^\x00-\x1f\x7f"\\]+)"'
_UNSIGNED = rb"(0|[1-9][0-9]{0,18})"
# What stands before the padding has no bits but its own.
_BASE64 = rb'(?:null|"([A-Za-z0-9+/]*(?:[AEIMQUYcgkosw048]=|[AQgw]==)?)")'
_HASH = rb'"([0-9a-f]{64})"'
_LINE = re.compile(
    rb'\{"seq":%b,"at":%b,"kind":%b,"actor":%b,"epoch":%b,"body":%b,"salt":%b,'
    rb'"body_digest":%b,"hash":%b\}'
    % (_UNSIGNED, _UNSIGNED, _WORD, _WORD, _UNSIGNED, _BASE64, _BASE64, _HASH, _HASH)
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
    hash: bytes


def read_record(line: bytes, seq: int) -> LedgerRecord:
    """The record of a line that must be number `seq`. Raises BrokenRecord."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise BrokenRecord(seq, "the line is not a record in its one spelling")
    found, at, kind, actor, epoch, body, salt, digest, record_hash = match.groups()
    _check_number(int(found), seq)
    raw_digest = binascii.unhexlify(digest)
    try:
        content = _body(body, salt, raw_digest)
        header = (int(at), kind.decode(), actor.decode(), int(epoch), raw_digest)
    except ValueError as error:
        raise BrokenRecord(seq, str(error)) from None
    return LedgerRecord(seq, header, content, binascii.unhexlify(record_hash))


def _check_number(found: int, expected: int) -> None:
    if found > expected:
        raise BrokenRecord(expected, f"it is missing, number {found} stands in its place")
    if found < expected:
        raise BrokenRecord(expected, f"number {found} stands in its place")


def _body(body: bytes | None, salt: bytes | None, digest: bytes) -> bytes | None:
    if body is None and salt is None:
        return None
    if body is None or salt is None:
        raise ValueError("only a redaction takes away body or salt, and it takes both")
    content, raw_salt = binascii.a2b_base64(body), binascii.a2b_base64(salt)
    if len(raw_salt) != SALT_BYTES:
        raise ValueError("the salt has not 32 bytes")
    if body_digest(raw_salt, content) != digest:
        raise ValueError("its body is not the one that was recorded: the digest is another")
    return content
