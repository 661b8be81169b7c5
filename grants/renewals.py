"""Renewal: the same access for longer, under the same lease, within the rule's longest time.

Where the policy lets this principal have such a grant at once, the grant itself lasts longer. Else
the renewal is a request that people decide on like any other; approved, it takes the place of what
it renews. Either way the rule's longest time counts from the first activation.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from grants import access, ledger, policy
from grants.ledger import Record
from grants.models import GrantState, PermissionGrant
from keeptrusts_runners import clock
from keeptrusts_runners.errors import Conflict, LimitReached
from keeptrusts_runners.identity.principal import Principal
from sessions import claims, transitions
from sessions.models import RunnerSession


def renew(
    session_id: UUID,
    grant_id: UUID,
    *,
    ttl_seconds: int,
    by: Principal,
    reason: str = "",
    lease_epoch: int | None = None,
) -> PermissionGrant:
    """The grant, which lasts `ttl_seconds` from now on, or the request to renew it.

    Never shortens and never leads past `renewable_until`. One request waits at a time: asked
    again, it is answered as it is. Raises Conflict for what cannot be renewed, LimitReached where
    the rule's longest time leaves nothing, Invalid, and as claims.require_lease does.
    """
    session = transitions.lock(session_id, by=by)
    claims.require_lease(session, by=by, named_epoch=lease_epoch)
    grant = access.held(session, grant_id)
    now = clock.now()
    _require_renewable(grant, session, now)
    fields = _fields(grant, ttl_seconds, reason)
    terms = policy.terms(session, fields, by=by)
    if terms.approvals_required == 0:
        return _lengthen(grant, session, fields, by, now)
    return _waiting(grant, session, by, now) or _request(grant, session, fields, terms, by, now)


def _require_renewable(grant: PermissionGrant, session: RunnerSession, now: datetime) -> None:
    if refusal := access.why_not(grant, session, now):
        state = access.current_state(grant, now)
        raise Conflict("Only what is in force can be renewed.", state=state, reason=refusal)
    if grant.single_use:
        raise Conflict("A grant for a single use is not renewed: request another.")
    assert grant.renewable_until is not None
    assert grant.expires_at is not None
    if grant.renewable_until <= grant.expires_at:
        raise LimitReached(
            "It lasts for as long as the rule allows already.",
            limit="max_ttl_seconds",
            renewable_until=clock.rfc3339(grant.renewable_until),
        )


def _fields(grant: PermissionGrant, ttl_seconds: int, reason: str) -> dict[str, Any]:
    """What the grant allows, and nothing besides."""
    return {
        "operation": grant.operation,
        "resource": grant.resource,
        "constraints": grant.constraints,
        "reason": reason or grant.reason,
        "ttl_seconds": ttl_seconds,
        "renews_id": grant.id,
    }


def _lengthen(
    grant: PermissionGrant,
    session: RunnerSession,
    fields: Mapping[str, Any],
    by: Principal,
    now: datetime,
) -> PermissionGrant:
    assert grant.renewable_until is not None
    assert grant.expires_at is not None
    until = min(now + timedelta(seconds=fields["ttl_seconds"]), grant.renewable_until)
    if until > grant.expires_at:
        grant.expires_at = until
        grant.version += 1
        grant.save(update_fields=["expires_at", "version"])
        data = {
            "ttl_seconds": fields["ttl_seconds"],
            "reason": fields["reason"],
            "expires_at": clock.rfc3339(until),
        }
        record = access.record_of(grant, "grant.renewed", by, session, data)
        ledger.append({session.id: [record]})
    return grant


def _waiting(
    grant: PermissionGrant, session: RunnerSession, by: Principal, now: datetime
) -> PermissionGrant | None:
    """The request that waits already; one that has lapsed is written down as such."""
    found = grant.renewals.select_for_update().filter(state=GrantState.REQUESTED).first()
    if found is None:
        return None
    found.session = session
    if lapsed := access.run_out(found, session, by, now):
        found.save()
        ledger.append({session.id: [lapsed]})
        return None
    return found


def _request(
    grant: PermissionGrant,
    session: RunnerSession,
    fields: Mapping[str, Any],
    terms: policy.Terms,
    by: Principal,
    now: datetime,
) -> PermissionGrant:
    assert grant.renewable_until is not None
    request = access.asked(session, fields, terms, by, now)
    # Whoever asks: it is for this lease, and for no longer than it could be of use.
    request.lease_epoch = session.lease_epoch
    request.renewable_until = grant.renewable_until
    request.request_lapses_at = min(request.request_lapses_at, grant.renewable_until)
    request.save(force_insert=True)
    ledger.append({session.id: [_requested(request, session, by)]})
    return request


def _requested(request: PermissionGrant, session: RunnerSession, by: Principal) -> Record:
    return access.record_of(request, "grant.requested", by, session, access.terms_of(request))
