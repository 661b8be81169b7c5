"""Tokens: signed with Ed25519, verified without the database, then checked against it.

A verified signature says who the bearer was when the token was issued; `resolve` says who it is
now. A disabled user, a removed membership, a revoked service account or a revoked token loses
access on the next request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import jwt
from django.conf import settings
from django.db import connection
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.tokens import Token

from keeptrusts_runners import ids
from keeptrusts_runners.clock import DatabaseNow
from keeptrusts_runners.errors import InvalidToken
from keeptrusts_runners.identity.models import RefreshToken as RefreshTokenRow
from keeptrusts_runners.identity.models import RevokedToken
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, SESSION_TOKEN_SCOPES, Role, Scope
from keeptrusts_runners.identity.tenancy import organization_scope
from keeptrusts_runners.keys import SigningKey, load_or_create

CLOCK_LEEWAY = timedelta(seconds=5)
_CONF: dict[str, Any] = settings.SIMPLE_JWT
ACCESS_LIFETIME: timedelta = _CONF["ACCESS_TOKEN_LIFETIME"]
REFRESH_LIFETIME: timedelta = _CONF["REFRESH_TOKEN_LIFETIME"]


@lru_cache(maxsize=1)
def signing_key() -> SigningKey:
    return load_or_create(settings.TOKEN_KEY_FILE)


class KeyedBackend(TokenBackend):
    """simplejwt's backend, with the `kid` that it does not write."""

    def __init__(self) -> None:
        super().__init__(
            _CONF["ALGORITHM"], None, "", _CONF["AUDIENCE"], _CONF["ISSUER"], None, CLOCK_LEEWAY
        )
        self.key = signing_key()

    @property
    def prepared_verifying_key(self) -> Any:
        return self.key.private.public_key()

    def encode(self, payload: dict[str, Any]) -> str:
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        headers = {"kid": self.key.kid}
        return jwt.encode(claims, self.key.private, algorithm=self.algorithm, headers=headers)


@lru_cache(maxsize=1)
def backend() -> KeyedBackend:
    return KeyedBackend()


class _Token(Token):
    def get_token_backend(self) -> TokenBackend:
        return backend()

    def verify(self) -> None:
        super().verify()
        if "iat" not in self.payload or "sub" not in self.payload or "org" not in self.payload:
            raise TokenError("Token lacks a claim")


class AccessToken(_Token):
    """What a user or a service account presents: 15 minutes."""

    token_type = "access"
    lifetime = ACCESS_LIFETIME


class SessionToken(_Token):
    """What executing code holds: one session, one lease epoch, renewed by heartbeats."""

    token_type = "session"
    lifetime = timedelta(minutes=15)


class RefreshToken(_Token):
    """What a user exchanges for the next access token, once."""

    token_type = "refresh"
    lifetime = REFRESH_LIFETIME


@dataclass(frozen=True, slots=True)
class Claims:
    """A verified token's content. `account` is whose credential it rests on: the subject itself,
    or for a session token the user or service account that claimed the session."""

    kind: PrincipalKind
    subject: UUID
    organization_id: UUID
    scopes: frozenset[str]
    jti: UUID
    expires_at: datetime
    account: str
    lease_epoch: int | None = None


_PREFIX_OF_KIND = {"user": "user", "service_account": "sa", "session": "sess"}


def _stamp(token: Token, kind: str, subject: UUID, organization_id: UUID) -> None:
    token["sub"] = ids.encode(_PREFIX_OF_KIND[kind], subject)
    token["org"] = ids.encode("org", organization_id)
    token["principal_type"] = kind


def issue_access(
    kind: PrincipalKind, subject: UUID, organization_id: UUID, scopes: frozenset[Scope]
) -> str:
    token = AccessToken()
    _stamp(token, kind.value, subject, organization_id)
    token["scope"] = " ".join(sorted(scopes))
    return str(token)


def issue_session(
    session_id: UUID, claimed_by: Principal, lease_epoch: int, lease_ttl_seconds: int
) -> str:
    """The token of one lease: life max(15 min, 2 × lease); renewing it costs no database."""
    token = SessionToken()
    _stamp(token, "session", session_id, claimed_by.organization_id)
    token["scope"] = " ".join(sorted(SESSION_TOKEN_SCOPES))
    token["lease_epoch"] = lease_epoch
    token["azp"] = claimed_by.account
    token.set_exp(lifetime=max(timedelta(minutes=15), timedelta(seconds=2 * lease_ttl_seconds)))
    return str(token)


def issue_refresh(
    user_id: UUID, organization_id: UUID, scopes: frozenset[Scope]
) -> tuple[str, UUID, datetime]:
    """The token, its id and its end. It holds the scopes that a renewal may have at most."""
    token = RefreshToken()
    _stamp(token, "user", user_id, organization_id)
    token["scope"] = " ".join(sorted(scopes))
    return str(token), UUID(hex=token["jti"]), datetime.fromtimestamp(token["exp"], UTC)


def verify(raw: str, kinds: tuple[type[_Token], ...] = (AccessToken, SessionToken)) -> Claims:
    """The claims of a token of ours that is in force. Raises InvalidToken; touches no database."""
    try:
        unverified = jwt.decode(raw, options={"verify_signature": False})
        kind = {cls.token_type: cls for cls in kinds}[unverified["token_type"]]
        payload = kind(raw).payload  # type: ignore[arg-type]  # simplejwt: str is what it takes
        return _claims(payload)
    except (TokenError, jwt.PyJWTError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InvalidToken from error


def _claims(payload: Mapping[str, Any]) -> Claims:
    kind = PrincipalKind(payload["principal_type"])
    is_session = kind is PrincipalKind.SESSION
    return Claims(
        kind=kind,
        subject=ids.decode(_PREFIX_OF_KIND[kind.value], payload["sub"]),
        organization_id=ids.decode("org", payload["org"]),
        scopes=frozenset(payload["scope"].split()),
        jti=UUID(hex=payload["jti"]),
        expires_at=datetime.fromtimestamp(payload["exp"], UTC),
        account=payload["azp"] if is_session else payload["sub"],
        lease_epoch=int(payload["lease_epoch"]) if is_session else None,
    )


# Both end in the same three columns; the primary keys and identity_membership_once serve them.
# No token is revoked under a jti of NULL.
_USER_NOW = """
SELECT m.role, u.email, NULL::uuid
  FROM identity_membership m JOIN identity_user u ON u.id = m.user_id
 WHERE m.user_id = %(subject)s AND u.is_active
   AND NOT EXISTS (SELECT 1 FROM identity_revoked_token r WHERE r.id = %(jti)s)
"""
_SERVICE_ACCOUNT_NOW = """
SELECT a.role, a.name, a.owner_id
  FROM identity_service_account a
 WHERE a.id = %(subject)s AND a.revoked_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM identity_revoked_token r WHERE r.id = %(jti)s)
"""


def principal_of(
    account: str, organization_id: UUID, *, jti: UUID | None = None
) -> Principal | None:
    """Who this user or service account is now, with all that its role allows: for what goes on
    after its request is over. None when it has no access any more, or not by this token. Call
    within the organization's scope."""
    kind = PrincipalKind.USER if account.startswith("user_") else PrincipalKind.SERVICE_ACCOUNT
    is_user = kind is PrincipalKind.USER
    account_id = ids.decode(_PREFIX_OF_KIND[kind.value], account)
    with connection.cursor() as cursor:
        statement = _USER_NOW if is_user else _SERVICE_ACCOUNT_NOW
        cursor.execute(statement, {"subject": account_id, "jti": jti})
        row = cursor.fetchone()
    if row is None:
        return None
    role, name, owner = Role(row[0]), row[1], row[2]
    return Principal(
        kind, account_id, organization_id, ROLE_SCOPES[role], role, name, account=account,
        owner_user_id=account_id if is_user else owner,
    )  # fmt: skip


def resolve(claims: Claims) -> Principal:
    """Who the bearer is now. Call within the organization's scope. Raises InvalidToken."""
    account = principal_of(claims.account, claims.organization_id, jti=claims.jti)
    if account is None:
        raise InvalidToken
    is_session = claims.kind is PrincipalKind.SESSION
    held = SESSION_TOKEN_SCOPES if is_session else account.scopes
    return replace(
        account,
        kind=claims.kind,
        id=claims.subject,
        scopes=frozenset(scope for scope in held if scope in claims.scopes),
        role=None if is_session else account.role,
        lease_epoch=claims.lease_epoch,
    )


def authenticate(raw: str) -> Principal:
    """Verify and resolve in a transaction of its own."""
    claims = verify(raw)
    with organization_scope(claims.organization_id):
        return resolve(claims)


def clean_up(using: str = "maintain") -> int:
    """Forget tokens that would be over by now anyway, in all organizations; how many."""
    deleted = 0
    for model in (RevokedToken, RefreshTokenRow):
        deleted += model.objects.using(using).filter(expires_at__lt=DatabaseNow()).delete()[0]
    return deleted
