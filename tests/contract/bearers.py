"""Bearers of every kind: who should be let in, and everybody who should not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keeptrusts_runners.identity import accounts, tokens
from keeptrusts_runners.identity.models import RevokedToken
from keeptrusts_runners.identity.scopes import Role
from tests.people import Org, token_of


def forged(token: str, key: Any = None, algorithm: str = "EdDSA", **claims: Any) -> str:
    """The token's content with other claims (None takes one away), signed with our own key or
    another's."""
    payload = jwt.decode(token, options={"verify_signature": False}) | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    own = tokens.signing_key()
    return jwt.encode(payload, key or own.private, algorithm, headers={"kid": own.kid})


def unsigned(token: str) -> str:
    header = _encode(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    return f"{header}.{token.split('.')[1]}."


def confused(token: str, shared: bytes) -> str:
    """HS256 with what everybody knows, the public key, as the shared secret."""
    header = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = f"{header}.{token.split('.')[1]}"
    return f"{signed}.{_encode(hmac.digest(shared, signed.encode(), hashlib.sha256))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def invalid(org: Org) -> dict[str, str]:
    """Tokens that would open everything to an admin of the organization, if they were good."""
    good = token_of(org.admin.principal)
    now = int(time.time())
    public = tokens.signing_key().private.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = good.rpartition(".")[2]
    other_end = ("A" if signature[0] != "A" else "B") + signature[1:]
    return {
        "garbage": "garbage",
        "three parts of garbage": "a.b.c",
        "expired": forged(good, exp=now - 60),
        "without end": forged(good, exp=None),
        "not yet valid": forged(good, nbf=now + 3600),
        "issued in the future": forged(good, iat=now + 3600),
        "wrong key": forged(good, key=Ed25519PrivateKey.generate()),
        "changed signature": f"{good.rpartition('.')[0]}.{other_end}",
        "changed content": good.replace(good.split(".")[1], _encode(_as_other(good))),
        "alg=none": unsigned(good),
        "HS256 with the raw public key": confused(good, raw),
        "HS256 with the PEM public key": confused(good, pem),
        "wrong audience": forged(good, aud="somebody-else"),
        "no audience": forged(good, aud=None),
        "wrong issuer": forged(good, iss="https://elsewhere.test"),
        "no issuer": forged(good, iss=None),
        "no organization": forged(good, org=None),
        "unknown organization": forged(good, org="org_00000000000000000000000000"),
        "unknown subject": forged(good, sub="user_00000000000000000000000000"),
        "system": forged(good, principal_type="system"),
        "refresh token as access token": _refresh(org),
        "revoked": _revoked(org),
        "disabled user": _disabled(org),
        "removed member": _removed(org),
        "revoked service account": _revoked_machine(org),
        "session of a revoked service account": _session_of_revoked_machine(org),
    }


def _refresh(org: Org) -> str:
    by = org.admin
    return tokens.issue_refresh(by.user.id, org.id, by.principal.scopes)[0]


def _as_other(token: str) -> bytes:
    payload = jwt.decode(token, options={"verify_signature": False})
    return json.dumps(payload | {"scope": "runners:read runners:write"}).encode()


def _revoked(org: Org) -> str:
    token = token_of(org.admin.principal)
    claims = tokens.verify(token)
    with org.scope():
        RevokedToken.objects.create(
            id=claims.jti, organization_id=org.id, expires_at=claims.expires_at
        )
    return token


def _disabled(org: Org) -> str:
    person = org.person(Role.ADMIN)
    person.user.is_active = False
    person.user.save(update_fields=["is_active"])
    return token_of(person.principal)


def _removed(org: Org) -> str:
    person = org.person(Role.ADMIN)
    with org.scope():
        accounts.remove_member(org.id, person.user.id)
    return token_of(person.principal)


def _revoked_machine(org: Org) -> str:
    machine = org.machine(Role.ADMIN)
    with org.scope():
        accounts.revoke_service_account(org.id, machine.account.id)
    return token_of(machine.principal)


def _session_of_revoked_machine(org: Org) -> str:
    from tests import factories

    machine = org.machine()
    session = factories.running(org, by=machine)
    with org.scope():
        accounts.revoke_service_account(org.id, machine.account.id)
    return tokens.issue_session(session.id, machine.principal, 1, 60)
