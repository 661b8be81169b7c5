"""Tokens: signed with Ed25519, verified without the database, then checked against it.

A verified signature says who the bearer was when the token was issued; `resolve` says who it is
now. A disabled user, a removed membership, a revoked service account or a revoked token loses
access on the next request. When a token begins and ends is the database's to say as well: it is
stamped with that clock and judged by it, so that no process's own clock lets anybody in or out.
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

from keeptrusts_runners import clock, ids
from keeptrusts_runners.clock import DatabaseNow
from keeptrusts_runners.errors import InvalidToken
from keeptrusts_runners.identity.models import RefreshToken as RefreshTokenRow
from keeptrusts_runners.identity.models import RevokedToken
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, SESSION_TOKEN_SCOPES, Role, Scope
from keeptrusts_runners.identity.tenancy import organization_scope
from keeptrusts_runners.keys import SigningKey, load_or_create

# For a clock that is set back a little, as when another database takes over.
CLOCK_LEEWAY = timedelta(seconds=5)
_CONF: dict[str, Any] = settings.SIMPLE_JWT
ACCESS_LIFETIME: timedelta = _CONF["ACCESS_TOKEN_LIFETIME"]
REFRESH_LIFETIME: timedelta = _CONF["REFRESH_TOKEN_LIFETIME"]


@lru_cache(maxsize=1)
def signing_key() -> SigningKey:
    return load_or_create(settings.TOKEN_KEY_FILE)


class KeyedBackend(TokenBackend):
    """simplejwt's backend, with the `kid` that it does not write, and without the times, which
    it would judge by this process's clock."""

    def __init__(self) -> None:
        super().__init__(_CONF["ALGORITHM"], None, "", _CONF["AUDIENCE"], _CONF["ISSUER"])
        self.key = signing_key()

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        return jwt.decode(
            token,
            self.key.private.public_key(),
            algorithms=[self.algorithm],
            audience=self.audience,
            issuer=self.issuer,
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )

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
        if "sub" not in self.payload or "org" not in self.payload:
            raise TokenError("Token lacks a claim")

    def check_exp(self, *_: Any, **__: Any) -> None:
        """Left to `resolve`, which asks the database."""


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
    begins_at: datetime
    expires_at: datetime
    account: str
    lease_epoch: int | None = None

    def resolve(self) -> Principal:
        """As the function of this name does."""
        return resolve(self)


_PREFIX_OF_KIND = {"user": "user", "service_account": "sa", "session": "sess"}


def _stamp(
    token: Token, kind: str, subject: UUID, organization_id: UUID, issued_at: datetime
) -> None:
    token["sub"] = ids.encode(_PREFIX_OF_KIND[kind], subject)
    token["org"] = ids.encode("org", organization_id)
    token["principal_type"] = kind
    token.set_iat(at_time=issued_at)
    token.set_exp(from_time=issued_at)


def issue_access(
    kind: PrincipalKind, subject: UUID, organization_id: UUID, scopes: frozenset[Scope]
) -> str:
    token = AccessToken()
    _stamp(token, kind.value, subject, organization_id, clock.now())
    token["scope"] = " ".join(sorted(scopes))
    return str(token)


def issue_session(
    session_id: UUID,
    claimed_by: Principal,
    lease_epoch: int,
    lease_ttl_seconds: int,
    extended_at: datetime | None = None,
) -> str:
    """The token of one lease: life max(15 min, 2 × lease), from when the lease was last extended.
    Renewing it with that said costs no database; without it, it is now."""
    issued_at = extended_at or clock.now()
    token = SessionToken()
    _stamp(token, "session", session_id, claimed_by.organization_id, issued_at)
    token["scope"] = " ".join(sorted(SESSION_TOKEN_SCOPES))
    token["lease_epoch"] = lease_epoch
    token["azp"] = claimed_by.account
    lifetime = max(timedelta(minutes=15), timedelta(seconds=2 * lease_ttl_seconds))
    token.set_exp(from_time=issued_at, lifetime=lifetime)
    return str(token)


def issue_refresh(
    user_id: UUID, organization_id: UUID, scopes: frozenset[Scope]
) -> tuple[str, UUID, datetime]:
    """The token, its id and its end. It holds the scopes that a renewal may have at most."""
    token = RefreshToken()
    _stamp(token, "user", user_id, organization_id, clock.now())
    token["scope"] = " ".join(sorted(scopes))
    return str(token), UUID(hex=token["jti"]), datetime.fromtimestamp(token["exp"], UTC)


_UNREADABLE = (
    TokenError,
    jwt.PyJWTError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,  # of an instant that no calendar has
)


def verify(raw: str, kinds: tuple[type[_Token], ...] = (AccessToken, SessionToken)) -> Claims:
    """The claims of a token of ours, whether or not it is in force; that is for `resolve` to say.
    Raises InvalidToken; touches no database."""
    try:
        unverified = jwt.decode(raw, options={"verify_signature": False})
        kind = {cls.token_type: cls for cls in kinds}[unverified["token_type"]]
        payload = kind(raw).payload  # type: ignore[arg-type]  # simplejwt: str is what it takes
        return _claims(payload)
    except _UNREADABLE as error:
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
        begins_at=datetime.fromtimestamp(max(payload["iat"], payload.get("nbf", 0)), UTC),
        expires_at=datetime.fromtimestamp(payload["exp"], UTC),
        account=payload["azp"] if is_session else payload["sub"],
        lease_epoch=int(payload["lease_epoch"]) if is_session else None,
    )


# Both end in the same three columns; the primary keys and identity_membership_once serve them.
_USER_NOW = """
SELECT m.role, u.email, NULL::uuid
  FROM identity_membership m JOIN identity_user u ON u.id = m.user_id
 WHERE m.user_id = %(subject)s AND u.is_active
"""
_SERVICE_ACCOUNT_NOW = """
SELECT a.role, a.name, a.owner_id
  FROM identity_service_account a
 WHERE a.id = %(subject)s AND a.revoked_at IS NULL
"""
_IN_FORCE = """
   AND clock_timestamp() >= %(begins_at)s AND clock_timestamp() < %(expires_at)s
   AND NOT EXISTS (SELECT 1 FROM identity_revoked_token r WHERE r.id = %(jti)s)
"""


def principal_of(
    account: str, organization_id: UUID, *, by_token: Claims | None = None
) -> Principal | None:
    """Who this user or service account is now, with all that its role allows: for what goes on
    after its request is over. None when it has no access any more, or not by this token. Call
    within the organization's scope."""
    kind = PrincipalKind.USER if account.startswith("user_") else PrincipalKind.SERVICE_ACCOUNT
    is_user = kind is PrincipalKind.USER
    account_id = ids.decode(_PREFIX_OF_KIND[kind.value], account)
    statement, given = _USER_NOW if is_user else _SERVICE_ACCOUNT_NOW, {"subject": account_id}
    if by_token is not None:
        statement, given = statement + _IN_FORCE, given | _terms(by_token)
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        row = cursor.fetchone()
    if row is None:
        return None
    role, name, owner = Role(row[0]), row[1], row[2]
    return Principal(
        kind, account_id, organization_id, ROLE_SCOPES[role], role, name, account=account,
        owner_user_id=account_id if is_user else owner,
    )  # fmt: skip


def _terms(claims: Claims) -> dict[str, Any]:
    return {
        "jti": claims.jti,
        "begins_at": claims.begins_at - CLOCK_LEEWAY,
        "expires_at": claims.expires_at,
    }


def resolve(claims: Claims) -> Principal:
    """Who the bearer is now, if the token is in force. Call within the organization's scope.
    Raises InvalidToken."""
    account = principal_of(claims.account, claims.organization_id, by_token=claims)
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
