"""Whose signatures statement and checkpoint bear, and whether those are keys that the reader
trusts.

Two keys sign, each for its own purpose: who gets hold of the one for bundles shall not be able to
sign checkpoints with it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners.evidence.checkpoint import SignedCheckpoint
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


_BUNDLES, _CHECKPOINTS = "bundles", "checkpoints"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`purpose` is what its holder says that it is for; None: anything."""

    raw: bytes
    purpose: str | None = None

    def is_for(self, purpose: str) -> bool:
        return self.purpose in (None, purpose)


@dataclass(frozen=True, slots=True)
class Pin:
    """Keys that the reader trusts, by thumbprint; None where only the thumbprint was given."""

    keys: Mapping[str, PublicKey | None]

    def among(self, carried: dict[str, PublicKey], purpose: str) -> dict[str, PublicKey]:
        """Those of a purpose whose key is known, be it from the bundle."""
        known = {kid: key or carried.get(kid) for kid, key in self.keys.items()}
        return {kid: key for kid, key in known.items() if key and key.is_for(purpose)}

    def names_log_keys(self) -> bool:
        """Whether the reader has said which keys may sign checkpoints."""
        return any(key and key.purpose == _CHECKPOINTS for key in self.keys.values())


def read_pin(text: str) -> Pin:
    """A pin from a file with a public key (PEM, JWK or JWK set) or from a key's thumbprint."""
    if _THUMBPRINT.fullmatch(text) and not _is_key_file(text):
        return Pin({text: None})
    if not _is_key_file(text):
        raise Unusable(f"--key={shown(text)}: neither a file nor a key id of 43 characters")
    return Pin(by_thumbprint(_keys_of_file(Path(text))))


def by_thumbprint(keys: list[PublicKey]) -> dict[str, PublicKey]:
    return {thumbprint(key.raw): key for key in keys}


def _is_key_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        return False


def _keys_of_file(path: Path) -> list[PublicKey]:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_KEY_FILE_BYTES)
        if content.lstrip().startswith(b"-----"):
            return [PublicKey(_key_of_pem(content.strip()))]
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


def keys_of_document(content: bytes) -> list[PublicKey]:
    """The public keys of a JWK or a JWK set. Raises ValueError if there is none."""
    document = parse_json(content)
    if not isinstance(document, dict):
        raise ValueError("not a JSON Web Key")
    entries: Any = document.get("keys", [document])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("not a set of JSON Web Keys")
    if not entries:
        raise ValueError("a set without keys")
    return [_key_of_jwk(entry) for entry in entries]


def _key_of_jwk(entry: dict[str, Any]) -> PublicKey:
    purpose = entry.get("purpose")
    if purpose is not None and not isinstance(purpose, str):
        raise ValueError("a key's purpose is a word")
    return PublicKey(public_key(entry), purpose)


@dataclass(frozen=True, slots=True)
class Signatory:
    """A key that signed, by its thumbprint, and whether the reader trusts it."""

    kid: str
    pinned: bool


def statement_signatory(
    envelope: Envelope,
    carried: list[PublicKey],
    pin: Pin | None,
    checkpoint: SignedCheckpoint | None,
) -> Signatory:
    """Who signed the statement. Raises ValueError if nobody trusted did.

    Without a pin the keys that the bundle carries are taken at their word; as well with one that
    signed the checkpoint, which then vouches for what is anchored and for nothing else.
    """
    known = by_thumbprint(carried)
    anything = {kid: key for kid, key in known.items() if key.is_for(_BUNDLES)}
    if pin is None:
        return Signatory(_signed_by_one_of(anything, envelope, "any key in keys.json"), False)
    pinned = pin.among(known, _BUNDLES)
    signs_log = checkpoint is not None and _note_signed_by(
        checkpoint, pin.among(known, _CHECKPOINTS)
    )
    if signs_log and not any(entry.keyid in pinned for entry in envelope.signatures):
        return Signatory(_signed_by_one_of(anything, envelope, "any key in keys.json"), False)
    return Signatory(_signed_by_one_of(pinned, envelope, "the key that you trust"), True)


def _signed_by_one_of(keys: dict[str, PublicKey], envelope: Envelope, whom: str) -> str:
    message = pae(envelope.payload_type, envelope.payload)
    candidates = [entry for entry in envelope.signatures if entry.keyid in keys]
    if not candidates:
        raise ValueError(f"it is not signed by {whom}")
    for entry in candidates:
        if verify_signature(keys[entry.keyid].raw, message, entry.sig):
            return entry.keyid
    raise ValueError("the signature is not its key's over this statement")


def checkpoint_signatory(
    checkpoint: SignedCheckpoint, carried: list[PublicKey], pin: Pin | None
) -> Signatory:
    """Who signed the checkpoint. Raises ValueError if nobody trusted did."""
    known = by_thumbprint(carried)
    if pin is not None:
        kid = _note_signed_by(checkpoint, pin.among(known, _CHECKPOINTS))
        if kid is not None:
            return Signatory(kid, True)
        if pin.names_log_keys():
            raise ValueError("it is not signed by the log's key that you trust")
    named = {kid: key for kid, key in known.items() if key.purpose == _CHECKPOINTS}
    kid = _note_signed_by(checkpoint, named)
    if kid is None:
        raise ValueError("it is not signed by any key of the log in keys.json")
    return Signatory(kid, False)


def _note_signed_by(checkpoint: SignedCheckpoint, keys: dict[str, PublicKey]) -> str | None:
    for kid, key in keys.items():
        if checkpoint.signed_by(key.raw, verify_signature):
            return kid
    return None
