"""How a ledger record is written in a bundle: one line of JSON with one spelling."""

from __future__ import annotations

import binascii
import re

from keeptrusts_runners.evidence.chain import Header

# Kinds and actors are words: what JSON would have to escape cannot be in them.
_WORD = re.compile(r"[^\x00-\x1f\x7f\"\\]+")


def encode_record(
    seq: int, header: Header, body: bytes | None, salt: bytes | None, record_hash: bytes
) -> bytes:
    """The line of one record; body and salt are None together, when it is redacted.

    Raises ValueError for a kind or actor that is no word.
    """
    at_us, kind, actor, epoch, digest = header
    for word in (kind, actor):
        if not _WORD.fullmatch(word):
            raise ValueError(f"record {seq}: {word!r} cannot be a kind or an actor")
    return (
        b'{"seq":%d,"at":%d,"kind":"%b","actor":"%b","epoch":%d,"body":%b,"salt":%b,'
        b'"body_digest":"%b","hash":"%b"}\n'
        % (
            seq,
            at_us,
            kind.encode(),
            actor.encode(),
            epoch,
            _base64_or_null(body),
            _base64_or_null(salt),
            digest.hex().encode(),
            record_hash.hex().encode(),
        )
    )


def _base64_or_null(raw: bytes | None) -> bytes:
    return b"null" if raw is None else b'"%b"' % binascii.b2a_base64(raw, newline=False)
