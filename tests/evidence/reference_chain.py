"""kt.ledger.v1 written down a second time, straight from its page and without regard to speed."""

import hashlib


def field(value):
    if isinstance(value, int):
        value = value.to_bytes(8, "big")
    if isinstance(value, str):
        value = value.encode("utf-8")
    return len(value).to_bytes(4, "big") + value


def preimage(organization, session, seq, at_us, kind, actor, epoch, body_digest, prev):
    fields = ["kt.ledger.v1", organization, session, seq, at_us, kind, actor, epoch]
    return b"".join(field(value) for value in [*fields, body_digest, prev])


def record_hash(*fields):
    return hashlib.sha256(preimage(*fields)).digest()
