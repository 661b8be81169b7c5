"""Ed25519 signing keys in files: for bundles and checkpoints, and for the tokens of identity.

A key file is unencrypted PKCS #8 in PEM, mode 0600. A key's id is its RFC 7638 JWK thumbprint,
so that it names the key itself and not the place where it is kept.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keeptrusts_runners import jwk

_MAX_FILE_BYTES = 16_384


class KeyFileRefused(Exception):  # noqa: N818 - named for what happened, as in errors.py
    """A key file cannot be used; the message says which and why, and never quotes the file."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key pair; `kid` is its thumbprint, `public_raw` the 32 bytes of its public half."""

    kid: str
    private: Ed25519PrivateKey = field(repr=False, compare=False)
    public_raw: bytes

    @classmethod
    def from_private(cls, private: Ed25519PrivateKey) -> SigningKey:
        public_raw = private.public_key().public_bytes_raw()
        return cls(kid=jwk.thumbprint(public_raw), private=private, public_raw=public_raw)

    @classmethod
    def generate(cls) -> SigningKey:
        return cls.from_private(Ed25519PrivateKey.generate())

    def sign(self, message: bytes) -> bytes:
        """The 64 bytes of the RFC 8032 signature."""
        return self.private.sign(message)

    def private_pem(self) -> bytes:
        return self.private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def public_jwk(self) -> dict[str, str]:
        members = jwk.required_members(self.public_raw)
        return {**members, "kid": self.kid, "alg": "EdDSA", "use": "sig"}


def load_or_create(path: Path) -> SigningKey:
    """The key in `path`, made on first use; of several processes starting at once all get one.

    Raises KeyFileRefused for a file that others may read or that holds no Ed25519 key, and
    OSError for a place that cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _create(path, SigningKey.generate().private_pem())
    return load(path)


def load(path: Path) -> SigningKey:
    """The key in an existing file. Raises KeyFileRefused, or OSError if it cannot be read."""
    try:
        private = serialization.load_pem_private_key(_read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFileRefused(f"{path} is not an unencrypted PEM private key.") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileRefused(f"{path} holds a key of another kind; an Ed25519 key is needed.")
    return SigningKey.from_private(private)


def _create(path: Path, pem: bytes) -> None:
    """Link a finished file into place: nobody sees half a key, and the first one to link wins."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
        _sync_directory(path.parent)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_private(path: Path) -> bytes:
    """The bytes of a regular file; the check and the read are on one descriptor."""
    with open(path, "rb", opener=_open_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileRefused(f"{path} is not a regular file.")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise KeyFileRefused(f"{path} may be read by others than its owner: chmod 600 it.")
        return file.read(_MAX_FILE_BYTES)


def _open_without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)
