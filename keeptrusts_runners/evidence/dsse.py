"""DSSE v1 envelopes: https://github.com/secure-systems-lab/dsse, protocol.md and envelope.md."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Protocol

IN_TOTO = "application/vnd.in-toto+json"


class Signer(Protocol):
    """What signs: a key with a name. `kid` is a hint to the reader, and not signed."""

    @property
    def kid(self) -> str: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Signature:
    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The one spelling that we write: compact, sorted keys, standard base64, a newline."""
        document = {
            "payload": _base64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": signature.keyid, "sig": _base64(signature.sig)}
                for signature in self.signatures
            ],
        }
        return json.dumps(document, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: the bytes that a signature is over."""
    type_bytes = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(type_bytes), type_bytes, len(payload), payload)


def sign_envelope(payload_type: str, payload: bytes, *keys: Signer) -> Envelope:
    """An envelope with one signature of each key."""
    message = pae(payload_type, payload)
    signatures = tuple(Signature(key.kid, key.sign(message)) for key in keys)
    return Envelope(payload_type, payload, signatures)


def decode_envelope(document: bytes) -> Envelope:
    """Read what `encode` wrote. Raises ValueError for any other bytes.

    Other DSSE readers must accept other spellings of an envelope; a bundle has this one alone,
    so that none of its bytes can change unseen.
    """
    try:
        envelope = _from_json(json.loads(document))
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ValueError("not a DSSE envelope") from None
    if envelope.encode() != document:
        raise ValueError("not the one spelling of its envelope")
    return envelope


def _from_json(document: Any) -> Envelope:
    signatures = tuple(
        Signature(_text(entry["keyid"]), _bytes(entry["sig"])) for entry in document["signatures"]
    )
    return Envelope(_text(document["payloadType"]), _bytes(document["payload"]), signatures)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
