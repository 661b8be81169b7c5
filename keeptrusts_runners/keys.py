"""Ed25519 signing keys in files: made once, readable by nobody else, named by their thumbprint."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


class KeyFileError(SystemExit):
    """A key file that cannot be used: ends the process with one line that names it."""


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class SigningKey:
    """A private key and the names it goes by."""

    private: Ed25519PrivateKey

    @cached_property
    def public_raw(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    def public_jwk(self) -> dict[str, str]:
        """The public key as RFC 8037 writes it, with its id."""
        return self._members() | {"kid": self.kid}

    def _members(self) -> dict[str, str]:
        return {"crv": "Ed25519", "kty": "OKP", "x": _base64url(self.public_raw)}

    @cached_property
    def kid(self) -> str:
        """RFC 7638: the SHA-256 of the required members, sorted and compact."""
        canonical = json.dumps(self._members(), sort_keys=True, separators=(",", ":"))
        return _base64url(hashlib.sha256(canonical.encode()).digest())

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)


def load_or_create(path: Path) -> SigningKey:
    """The key in this PEM file, which is made if there is none. Raises KeyFileError."""
    try:
        if not path.exists():
            _create(path)
        if path.stat().st_mode & 0o077:
            raise KeyFileError(f"keeptrusts: {path} is readable by others; chmod 600 it.")
        loaded = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError) as error:
        raise KeyFileError(f"keeptrusts: the key {path} cannot be used: {error}.") from None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise KeyFileError(f"keeptrusts: {path} holds no Ed25519 key.")
    return SigningKey(loaded)


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link, unlike a rename, lets the first of two processes that start at once win.
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
