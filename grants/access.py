"""Permission grants from request to end: issue, use, revoke, expire.

A grant lives at most as long as the lease it was activated under. Locks in this order: session,
ledger head, grants. Times are compared in a statement after the lock.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connections

from grants import ledger, policy
from grants.ledger import Record
from grants.models import OPEN_GRANT_STATES, GrantState, Level, PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import Conflict, NotFound
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import claims, transitions
from sessions.models import RunnerSession
from sessions.states import EXECUTING, State

log = structlog.get_logger(__name__)

REQUEST_LAPSES_AFTER = timedelta(hours=1)


def request(
    session_id: UUID,
    fields: Mapping[str, Any],
    *,
    by: Principal,
    lease_epoch: int | None = None,
) -> PermissionGrant:
    """Ask for a grant, or issue one where the policy lets this principal do so.

    `fields`: operation, resource, constraints, reason, ttl_seconds. Raises Invalid for a ttl over
    the rule's maximum, StateConflict for a session that ends, and as claims.require_lease does.
    """
    session = transitions.lock(session_id, by=by)
    if by.is_executor:
        claims.require_lease(session, by=by, named_epoch=lease_epoch)
    if session.is_final or session.state == State.CANCELLING:
        raise Conflict("The session is ending or over.", current_state=session.state)
    terms = policy.terms(session, fields, by=by)
    now = clock.now()
    grant = asked(session, fields, terms, by, now)
    ledger.append({session.id: requested(grant, session, by=by, now=now)})
    return grant


def requested(
    grant: PermissionGrant, session: RunnerSession, *, by: Principal, now: datetime
) -> list[Record]:
    """The request, saved; in effect at once where it takes nobody's approval."""
    records = [record_of(grant, "grant.requested", by, session, terms_of(grant))]
    if grant.approvals_required == 0:
        records += _take_effect(grant, session, by, now)
    grant.save(force_insert=True)
    return records


def asked(
    session: RunnerSession,
    fields: Mapping[str, Any],
    terms: policy.Terms,
    by: Principal,
    now: datetime,
) -> PermissionGrant:
    """A request as it begins; not saved yet."""
    return PermissionGrant(
        organization_id=session.organization_id,
        session=session,
        **fields,
        state=GrantState.REQUESTED,
        operation_digest=operation_digest(session, fields),
        rule=terms.rule,
        policy_version=session.grant_policy_version,
        approvals_required=terms.approvals_required,
        single_use=terms.single_use,
        lease_epoch=session.lease_epoch if by.is_executor else None,
        requested_by=by.actor,
        requested_owner=by.owner_user_id,
        requested_at=now,
        request_lapses_at=now + REQUEST_LAPSES_AFTER,
    )


def operation_digest(session: RunnerSession, fields: Mapping[str, Any]) -> str:
    """Over exactly what an approver is shown and decides on."""
    shown = {
        "session_id": ids.encode("sess", session.id),
        "operation": fields["operation"],
        "resource": fields.get("resource", ""),
        "constraints": fields.get("constraints", {}),
        "ttl_seconds": fields["ttl_seconds"],
        "reason": fields["reason"],
        "policy_version": session.grant_policy_version,
    }
    if renewed := fields.get("renews_id"):
        shown["renews"] = ids.encode("grant", renewed)
    return "sha256:" + hashlib.sha256(ledger.serialise(shown)).hexdigest()


def terms_of(grant: PermissionGrant) -> dict[str, Any]:
    terms = {
        "operation": grant.operation,
        "resource": grant.resource,
        "constraints": grant.constraints,
        "reason": grant.reason,
        "ttl_seconds": grant.ttl_seconds,
        "operation_digest": grant.operation_digest,
        "approvals_required": grant.approvals_required,
        "policy_version": grant.policy_version,
    }
    renews = {"renews": ids.encode("grant", grant.renews_id)} if grant.renews_id else {}
    return terms | renews


def record_of(
    grant: PermissionGrant, kind: str, by: Principal, session: RunnerSession, data: Any = None
) -> Record:
    level = Level.WARNING if kind in ("grant.refused", "grant.revoked", "grant.denied") else "info"
    return Record(
        kind=kind,
        actor=by.actor,
        lease_epoch=session.lease_epoch,
        level=level,
        message=f"{grant.operation} {kind.partition('.')[2]}",
        data={
            "grant_id": ids.encode("grant", grant.id),
            "operation": grant.operation,
            **(data or {}),
        },
    )


def _take_effect(
    grant: PermissionGrant, session: RunnerSession, by: Principal, now: datetime
) -> list[Record]:
    """Active at once under a live lease, else approved until there is one. Sets columns only."""
    if session.state not in EXECUTING:
        grant.state = GrantState.APPROVED
        grant.lease_epoch = None
        return [record_of(grant, "grant.approved", by, session)]
    return [activate(grant, session, by, now)]


def activate(
    grant: PermissionGrant, session: RunnerSession, by: Principal, now: datetime
) -> Record:
    grant.state = GrantState.ACTIVE
    grant.lease_epoch = session.lease_epoch
    grant.activated_at = now
    # A renewal has its bound from what it renews.
    longest = timedelta(seconds=policy.max_ttl_seconds(grant.rule))
    grant.renewable_until = grant.renewable_until or now + longest
    grant.expires_at = min(now + timedelta(seconds=grant.ttl_seconds), grant.renewable_until)
    until = {"expires_at": _until(grant), "lease_epoch": session.lease_epoch}
    return record_of(grant, "grant.activated", by, session, until)


def take_effect(
    grant: PermissionGrant, session: RunnerSession, *, by: Principal, now: datetime
) -> list[Record]:
    """For approvals: the last decision is in."""
    records = [record_of(grant, "grant.approved", by, session)]
    grant.version += 1
    if session.state in EXECUTING:
        records.append(activate(grant, session, by, now))
        records += _take_over(grant, session, by, now)
    else:
        grant.state, grant.lease_epoch = GrantState.APPROVED, None
    grant.save()
    return records


def _take_over(
    grant: PermissionGrant, session: RunnerSession, by: Principal, now: datetime
) -> list[Record]:
    """A renewal is active: what it renews has done its part, so that no operation is allowed
    twice."""
    if grant.renews_id is None:
        return []
    renewed = held(session, grant.renews_id)
    if renewed.state not in OPEN_GRANT_STATES:
        return []
    data = {"renewed_as": ids.encode("grant", grant.id), "expires_at": _until(grant)}
    records = [
        record_of(renewed, "grant.renewed", by, session, data),
        run_out(renewed, session, by, now)
        or end(renewed, GrantState.ENDED, "renewed", by, session, now),
    ]
    renewed.save()
    return records


def _until(grant: PermissionGrant) -> str | None:
    return clock.rfc3339(grant.expires_at)


# --- use, revoke -----------------------------------------------------------------------------


def held(session: RunnerSession, grant_id: UUID) -> PermissionGrant:
    """The session's grant, locked. Raises NotFound, also for another session's."""
    grant = (
        PermissionGrant.objects.select_for_update()
        .filter(session_id=session.id, id=grant_id)
        .first()
    )
    if grant is None:
        raise NotFound
    grant.session = session
    return grant


def use(
    session_id: UUID,
    grant_id: UUID,
    *,
    by: Principal,
    target: str = "",
    lease_epoch: int | None = None,
) -> tuple[PermissionGrant, bool]:
    """May it be done, now? Records the use, or the refusal; a single use is then consumed."""
    session = transitions.lock(session_id, by=by)
    claims.require_lease(session, by=by, named_epoch=lease_epoch)
    grant = held(session, grant_id)
    now = clock.now()
    refusal = why_not(grant, session, now)
    if refusal:
        data = {"target": target, "refusal": refusal}
        ledger.append({session.id: [record_of(grant, "grant.refused", by, session, data)]})
        return grant, False
    grant.uses += 1
    records = [record_of(grant, "grant.used", by, session, {"target": target, "use": grant.uses})]
    if grant.single_use:
        records.append(end(grant, GrantState.CONSUMED, "consumed", by, session, now))
    grant.save()
    ledger.append({session.id: records})
    return grant, True


def why_not(grant: PermissionGrant, session: RunnerSession, now: datetime) -> str | None:
    """What keeps it from being used at this instant; None when nothing does."""
    if grant.state != GrantState.ACTIVE:
        return f"grant_{grant.state}"
    if session.state not in EXECUTING or grant.lease_epoch != session.lease_epoch:
        return "lease_ended"
    if grant.expires_at is None or grant.expires_at <= now:
        return "grant_expired"
    if session.lease_expires_at is None or session.lease_expires_at <= now:
        return "lease_expired"
    return None


def revoke(
    session_id: UUID,
    grant_id: UUID,
    *,
    by: Principal,
    reason: str = "",
    lease_epoch: int | None = None,
    check: Callable[[PermissionGrant], None] = lambda grant: None,
) -> PermissionGrant:
    """End a grant, or withdraw its request, and whatever waits to renew it. One that is over
    stays as it is.

    `check` sees the locked grant before anything is written, for If-Match.
    """
    by.require(Scope.WRITE)
    session = transitions.lock(session_id, by=by)
    if by.is_executor:
        claims.require_lease(session, by=by, named_epoch=lease_epoch)
    grant = held(session, grant_id)
    check(grant)
    if grant.state in OPEN_GRANT_STATES:
        renewals = grant.renewals.select_for_update().filter(state__in=OPEN_GRANT_STATES)
        now = clock.now()
        ended = [grant, *renewals.order_by("id")]
        records = [revoked(each, session, by, now, reason or "revoked") for each in ended]
        ledger.append({session.id: records})
    return grant


def revoked(
    grant: PermissionGrant, session: RunnerSession, by: Principal, now: datetime, reason: str
) -> Record:
    """The end of an open grant or request, saved."""
    record = run_out(grant, session, by, now) or end(
        grant, GrantState.REVOKED, reason, by, session, now
    )
    grant.save()
    return record


_ENDING_KIND = {GrantState.REVOKED: "grant.revoked", GrantState.DENIED: "grant.denied"}


def end(
    grant: PermissionGrant,
    state: GrantState,
    reason: str,
    by: Principal,
    session: RunnerSession,
    now: datetime,
) -> Record:
    """Sets columns only; the caller saves."""
    grant.state, grant.end_reason = state, reason[:64]
    grant.ended_at, grant.ended_by = now, by.actor
    grant.version += 1
    kind = _ENDING_KIND.get(state, "grant.ended")
    return record_of(grant, kind, by, session, {"state": state.value, "reason": reason})


def deny(
    grant: PermissionGrant, session: RunnerSession, *, by: Principal, now: datetime, comment: str
) -> list[Record]:
    """For approvals: somebody said no."""
    record = end(grant, GrantState.DENIED, "denied", by, session, now)
    record.data = {**record.data, "comment": comment}
    grant.save()
    return [record]


# --- time ------------------------------------------------------------------------------------

# Served by runner_grant_waiting and runner_grant_active. Nothing depends on this sweep: it only
# writes down what `usable()` already knows.
_OVERDUE = """
SELECT organization_id, session_id, id FROM runner_grant
 WHERE (state = 'requested' AND request_lapses_at <= clock_timestamp())
    OR (state = 'active' AND expires_at <= clock_timestamp())
 LIMIT 500
"""


def run_once() -> Counter[str]:
    """Write down requests that lapsed and grants that expired; counts by state."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_OVERDUE)
        overdue = cursor.fetchall()
    counts: Counter[str] = Counter()
    for organization_id, session_id, grant_id in overdue:
        try:
            with organization_scope(organization_id):
                counts[_lapse(session_id, grant_id, principal.system(organization_id))] += 1
        except Exception:
            # A poison row is logged and left to the next pass.
            log.exception("grants.failed_to_lapse", grant=ids.encode("grant", grant_id))
            counts["failed"] += 1
    return counts


def _lapse(session_id: UUID, grant_id: UUID, by: Principal) -> str:
    session = transitions.lock(session_id, by=by)
    grant = held(session, grant_id)
    if record := run_out(grant, session, by, clock.now()):
        grant.save()
        ledger.append({session.id: [record]})
    return grant.state


def run_out(
    grant: PermissionGrant, session: RunnerSession, by: Principal, now: datetime
) -> Record | None:
    """The end by the clock, where that has come and is not written down yet. Whatever else ends
    a grant asks this first, so that how it ended does not depend on who came by when. Sets
    columns only."""
    state = current_state(grant, now)
    return None if state == grant.state else end(grant, GrantState(state), state, by, session, now)


def current_state(grant: PermissionGrant, now: datetime) -> str:
    """What the grant is at this instant, whether or not the sweep has come by."""
    if grant.state == GrantState.REQUESTED and grant.request_lapses_at <= now:
        return GrantState.LAPSED.value
    if grant.state == GrantState.ACTIVE and grant.expires_at and grant.expires_at <= now:
        return GrantState.EXPIRED.value
    return grant.state
