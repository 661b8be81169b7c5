"""kt.ledger.v1 written down a second time, straight from its page and without regard to speed."""

import hashlib


def field(value):
    if isinstance(value, int):
        value = value.to_bytes(8, "big")
    if isinstance(value, str):
        value = value.encode("utf-8")
    return len(value).to_bytes(4, "big") + value


def record_hash(organization, session, seq, at_us, kind, actor, epoch, body_digest, prev):
    fields = [
        "kt.ledger.v1",
        organization,
        session,
        seq,
        at_us,
        kind,
        actor,
        epoch,
        body_digest,
        prev,
    ]
    return hashlib.sha256(b"".join(field(value) for value in fields)).digest()
