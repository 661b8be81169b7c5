"""Checkpoints of a log: C2SP tlog-checkpoint in C2SP signed-note, signed with Ed25519.

https://c2sp.org/tlog-checkpoint and https://c2sp.org/signed-note. A note is a text, an empty
line, and one line for each signature. Pure functions: what signs and what verifies is handed in.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

# What an organization's log is called, before its id. A name as good as an address: it stays the
# same wherever the product runs, and nothing is to be fetched from there.
ORIGIN_PREFIX = "keeptrusts.runners/"

_ED25519 = b"\x01"
_SIGNATURE_LINE = re.compile("\u2014 ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})")
_TREE_SIZE = re.compile("0|[1-9][0-9]{0,18}")
_TREE_ROOT_BYTES = 32
_MAX_NOTE_BYTES = 64 * 1024
_MAX_SIGNATURES = 16


class NoteSigner(Protocol):
    """A key that signs notes, and its public half of 32 bytes."""

    @property
    def public_raw(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """`key_hash` is four bytes, a hint which key signed."""

    name: str
    key_hash: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a checkpoint says: the log, how many leaves it has, and their root."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The bytes that are signed, as text."""
        return f"{self.origin}\n{self.size}\n{_standard_base64(self.root)}\n"


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    head: TreeHead
    signatures: tuple[NoteSignature, ...]

    def note(self) -> str:
        """The one spelling that we write."""
        lines = (
            f"\u2014 {each.name} {_standard_base64(each.key_hash + each.signature)}\n"
            for each in self.signatures
        )
        return f"{self.head.text()}\n{''.join(lines)}"

    def signed_by(self, public_raw: bytes, verify: Callable[[bytes, bytes, bytes], bool]) -> bool:
        """Whether one of the signatures is this key's, under the log's own name; `verify` takes
        public key, message and signature."""
        expected = note_key_hash(self.head.origin, public_raw)
        message = self.head.text().encode()
        return any(
            verify(public_raw, message, each.signature)
            for each in self.signatures
            if (each.name, each.key_hash) == (self.head.origin, expected)
        )


def log_origin(organization_id: str) -> str:
    """The name of the log of an organization, whose TypeID this is."""
    return ORIGIN_PREFIX + organization_id


def note_key_hash(name: str, public_raw: bytes) -> bytes:
    """signed-note, "Signatures": the first four bytes of a hash over the key's name and key."""
    return sha256(name.encode() + b"\n" + _ED25519 + public_raw).digest()[:4]


def verifier_key(name: str, public_raw: bytes) -> str:
    """The key as other readers of notes want it: name, hash and key in one line."""
    key_hash = note_key_hash(name, public_raw).hex()
    return f"{name}+{key_hash}+{_standard_base64(_ED25519 + public_raw)}"


def sign_checkpoint(head: TreeHead, keys: Iterable[NoteSigner]) -> SignedCheckpoint:
    """A checkpoint with one signature of each key, all under the log's name."""
    message = head.text().encode()
    signatures = tuple(
        NoteSignature(head.origin, note_key_hash(head.origin, key.public_raw), key.sign(message))
        for key in keys
    )
    return SignedCheckpoint(head, signatures)


def read_checkpoint(note: bytes) -> SignedCheckpoint:
    """Read a checkpoint. Raises ValueError for anything that we would not have written so; what
    signatures are worth is another question."""
    if len(note) > _MAX_NOTE_BYTES:
        raise ValueError("it is too long for a checkpoint")
    try:
        text, empty_line, lines = note.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if not empty_line or not lines.endswith("\n"):
        raise ValueError("it is not a signed note")
    checkpoint = SignedCheckpoint(_tree_head(text), _note_signatures(lines))
    if checkpoint.note().encode() != note:
        raise ValueError("it is not the one spelling of its checkpoint")
    return checkpoint


def _tree_head(text: str) -> TreeHead:
    lines = text.split("\n")
    if len(lines) != 3 or not lines[0] or not _TREE_SIZE.fullmatch(lines[1]):
        raise ValueError("it does not have a log's name, size and root")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("its root is not base64") from None
    if len(root) != _TREE_ROOT_BYTES:
        raise ValueError("its root has not 32 bytes")
    return TreeHead(lines[0], int(lines[1]), root)


def _note_signatures(text: str) -> tuple[NoteSignature, ...]:
    lines = text.removesuffix("\n").split("\n")
    found = [_SIGNATURE_LINE.fullmatch(line) for line in lines[: _MAX_SIGNATURES + 1]]
    if len(found) > _MAX_SIGNATURES:
        raise ValueError("it has too many signatures")
    signatures = []
    for match in found:
        if match is None:
            raise ValueError("a line is not a signature")
        signatures.append(_note_signature(match[1], match[2]))
    return tuple(signatures)


def _note_signature(name: str, encoded: str) -> NoteSignature:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a signature is not base64") from None
    if len(raw) < 5:
        raise ValueError("a signature is too short")
    return NoteSignature(name, raw[:4], raw[4:])


def _standard_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
