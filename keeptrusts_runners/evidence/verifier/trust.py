"""Whose signature the statement bears, and whether that is a key that the reader trusts."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners.evidence.dsse import Envelope, pae
from keeptrusts_runners.evidence.verifier.ed25519 import verify_signature
from keeptrusts_runners.evidence.verifier.report import Unusable, shown
from keeptrusts_runners.evidence.verifier.strict_json import parse_json
from keeptrusts_runners.jwk import public_key, thumbprint

_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]*)-----END PUBLIC KEY-----\s*")
# RFC 8410: the SubjectPublicKeyInfo of an Ed25519 key is this and the key's 32 bytes.
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
_MAX_KEY_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pin:
    """Keys that the reader trusts, by thumbprint; None where only the thumbprint was given."""

    keys: dict[str, bytes | None]


def read_pin(text: str) -> Pin:
    """A pin from a file with a public key (PEM, JWK or JWK set) or from a key's thumbprint."""
    if _THUMBPRINT.fullmatch(text) and not _is_key_file(text):
        return Pin({text: None})
    if not _is_key_file(text):
        raise Unusable(f"--key={shown(text)}: neither a file nor a key id of 43 characters")
    return Pin({thumbprint(key): key for key in _keys_of_file(Path(text))})


def _is_key_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        return False


def _keys_of_file(path: Path) -> list[bytes]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_KEY_FILE_BYTES)
        if content.lstrip().startswith(b"-----"):
            return [_key_of_pem(content.strip())]
        return keys_of_document(content)
    except (OSError, ValueError) as error:
        raise Unusable(f"--key={shown(str(path))}: {error}") from None


def _key_of_pem(content: bytes) -> bytes:
    match = _PEM.fullmatch(content)
    if match is None:
        raise ValueError("not the PEM of a public key")
    try:
        spki = base64.b64decode(b"".join(match[1].split()), validate=True)
    except binascii.Error:
        raise ValueError("not the PEM of a public key") from None
    if not spki.startswith(_SPKI_PREFIX) or len(spki) != len(_SPKI_PREFIX) + 32:
        raise ValueError("not an Ed25519 public key")
    return spki[len(_SPKI_PREFIX) :]


def keys_of_document(content: bytes) -> list[bytes]:
    """The public keys of a JWK or a JWK set. Raises ValueError if there is none."""
    document = parse_json(content)
    if not isinstance(document, dict):
        raise ValueError("not a JSON Web Key")
    entries: Any = document.get("keys", [document])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("not a set of JSON Web Keys")
    if not entries:
        raise ValueError("a set without keys")
    return [public_key(entry) for entry in entries]


def signing_key_of(envelope: Envelope, carried: list[bytes], pin: Pin | None) -> str:
    """The thumbprint of the trusted key that signed. Raises ValueError if none did.

    Without a pin the keys that the bundle carries are taken at their word.
    """
    by_thumbprint = {thumbprint(key): key for key in carried}
    if pin is not None:
        by_thumbprint = {
            kid: key or by_thumbprint[kid]
            for kid, key in pin.keys.items()
            if key or kid in by_thumbprint
        }
    message = pae(envelope.payload_type, envelope.payload)
    candidates = [entry for entry in envelope.signatures if entry.keyid in by_thumbprint]
    if not candidates:
        trusted = "the key that you trust" if pin else "any key in keys.json"
        raise ValueError(f"it is not signed by {trusted}")
    for entry in candidates:
        if verify_signature(by_thumbprint[entry.keyid], message, entry.sig):
            return entry.keyid
    raise ValueError("the signature is not its key's over this statement")
