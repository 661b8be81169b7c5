"""Grant tokens: a grant in force, signed for an enforcement point that cannot ask.

Where the rule says `offline`. Anybody verifies one by the published keys; nobody can end one, so
that its life is what an end may be exposed to: at most a minute, and never past grant or lease.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from django.conf import settings
from jwt.types import Options

from grants import access, ledger
from grants.models import PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import Conflict, PermissionDenied, field_error
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.identity.principal import Principal
from sessions import claims, transitions
from sessions.models import RunnerSession

LIFETIME = timedelta(seconds=60)
# RFC 8725 §3.11: says what it is, so that no reader takes it for another token of the same key.
TYPE = "kt-grant+jwt"
_CONF: dict[str, Any] = settings.SIMPLE_JWT
_ALGORITHM: str = _CONF["ALGORITHM"]
_ISSUER: str = _CONF["ISSUER"]
_OWN_AUDIENCE: str = _CONF["AUDIENCE"]


@dataclass(frozen=True, slots=True)
class Issued:
    """A token and what it was issued for."""

    grant: PermissionGrant
    token: str
    audience: str
    expires_at: datetime
    expires_in: int


def issue(
    session_id: UUID,
    grant_id: UUID,
    *,
    audience: str,
    by: Principal,
    lease_epoch: int | None = None,
) -> Issued:
    """A token for the grant, recorded. Raises Conflict where it is not in force, PermissionDenied
    where its rule gives none, Invalid for our own audience, and as claims.require_lease does."""
    session = transitions.lock(session_id, by=by)
    claims.require_lease(session, by=by, named_epoch=lease_epoch)
    grant = access.held(session, grant_id)
    now = clock.now()
    _require_offline(grant, audience)
    if refusal := access.why_not(grant, session, now):
        state = access.current_state(grant, now)
        raise Conflict("The grant is not in force.", state=state, reason=refusal)
    begins_at, ends_at = _whole_seconds(grant, session, now)
    token_id = ids.new()
    content = _claims(grant, session, audience) | {
        "jti": token_id.hex,
        "iat": int(begins_at.timestamp()),
        "exp": int(ends_at.timestamp()),
    }
    data = {"audience": audience, "token_id": token_id.hex, "expires_at": clock.rfc3339(ends_at)}
    record = access.record_of(grant, "grant.token_issued", by, session, data)
    ledger.append({session.id: [record]})
    lasts = int((ends_at - begins_at).total_seconds())
    return Issued(grant, _signed(content), audience, ends_at, lasts)


def _require_offline(grant: PermissionGrant, audience: str) -> None:
    if not (grant.rule or {}).get("offline"):
        raise PermissionDenied("The rule for this operation gives no offline tokens.")
    if grant.single_use:
        raise PermissionDenied("A token could be used twice, and this grant is for a single use.")
    if audience == _OWN_AUDIENCE:
        raise field_error("/audience", "invalid", "Name the enforcement point, not this server.")


def _whole_seconds(
    grant: PermissionGrant, session: RunnerSession, now: datetime
) -> tuple[datetime, datetime]:
    """Both rounded down: a JWT has no fractions, and none may make it last longer."""
    assert grant.expires_at is not None
    assert session.lease_expires_at is not None
    begins_at = now.replace(microsecond=0)
    last = min(begins_at + LIFETIME, grant.expires_at, session.lease_expires_at)
    ends_at = last.replace(microsecond=0)
    if ends_at <= now:
        raise Conflict("The grant or its lease ends within this second.")
    return begins_at, ends_at


def _claims(grant: PermissionGrant, session: RunnerSession, audience: str) -> dict[str, Any]:
    approved = grant.decisions.filter(decision="approve").order_by("at")
    return {
        "token_type": "grant",
        "iss": _ISSUER,
        "aud": audience,
        "sub": ids.encode("grant", grant.id),
        "org": ids.encode("org", grant.organization_id),
        "session_id": ids.encode("sess", session.id),
        "lease_epoch": session.lease_epoch,
        "operation": grant.operation,
        "resource": grant.resource,
        "constraints": grant.constraints,
        "approvers": [ids.encode("user", decision.by_id) for decision in approved],
    }


def _signed(content: Mapping[str, Any]) -> str:
    key = tokens.signing_key()
    headers = {"kid": key.kid, "typ": TYPE}
    return jwt.encode(dict(content), key.private, algorithm=_ALGORITHM, headers=headers)


# --- reading ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GrantClaims:
    """What introspection asks of a token whose signature is ours."""

    grant_id: UUID
    lease_epoch: int
    expires_at: datetime


# Times are for the database's clock to judge.
_OPTIONS: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "require": ["exp", "iat", "sub", "aud"],
}


def read(text: str) -> GrantClaims | None:
    """The claims of a grant token of ours, in force or not; None for everything else."""
    key = tokens.signing_key().private.public_key()
    try:
        found = jwt.decode_complete(
            text, key, algorithms=[_ALGORITHM], issuer=_ISSUER, options=_OPTIONS
        )
        payload = found["payload"]
        if (found["header"].get("typ"), payload["token_type"]) != (TYPE, "grant"):
            return None
        return GrantClaims(
            grant_id=ids.decode("grant", payload["sub"]),
            lease_epoch=int(payload["lease_epoch"]),
            expires_at=datetime.fromtimestamp(payload["exp"], UTC),
        )
    except (jwt.PyJWTError, KeyError, ValueError, TypeError, OverflowError):
        return None
