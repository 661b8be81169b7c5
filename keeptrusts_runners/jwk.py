"""Ed25519 public keys as JSON Web Keys (RFC 8037), and what such a key is called (RFC 7638)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

PUBLIC_KEY_BYTES = 32


def required_members(public_raw: bytes) -> dict[str, str]:
    return {"crv": "Ed25519", "kty": "OKP", "x": base64url(public_raw)}


def thumbprint(public_raw: bytes) -> str:
    """RFC 7638: base64url of SHA-256 over the required members, sorted and without spaces."""
    canonical = json.dumps(required_members(public_raw), sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(canonical.encode()).digest())


def public_key(jwk: Mapping[str, Any]) -> bytes:
    """The 32 bytes of a JWK. Raises ValueError for a key of another kind or a broken one."""
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        raise ValueError("not an Ed25519 key")
    x = jwk.get("x")
    if not isinstance(x, str):
        raise ValueError("a key without x")
    try:
        raw = base64.b64decode(x + "=" * (-len(x) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("x is not base64url") from None
    if len(raw) != PUBLIC_KEY_BYTES or base64url(raw) != x:
        raise ValueError("x is not 32 bytes in base64url")
    return raw


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
