"""Decisions on grant requests: k distinct people, bound to what they saw, never one's own.

Excluded are the requester, the dispatcher of the session, and the owner of a service account
behind either. Nobody is above this, superusers included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from grants import access, ledger, policy
from grants.ledger import Record
from grants.models import Decision, GrantState, PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import (
    AlreadyDecided,
    PermissionDenied,
    RequestChanged,
    RoleNotAllowed,
    SelfApproval,
    field_error,
)
from keeptrusts_runners.identity.models import ServiceAccount
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from sessions import transitions
from sessions.models import RunnerSession


def approve(
    session_id: UUID,
    grant_id: UUID,
    *,
    operation_digest: str,
    by: Principal,
    comment: str = "",
    ttl_seconds: int | None = None,
    constraints: Mapping[str, Any] | None = None,
) -> PermissionGrant:
    """One person's yes; the last one that is needed makes the grant take effect.

    `ttl_seconds` and `constraints` may narrow what was asked for. Raises RequestChanged,
    SelfApproval, RoleNotAllowed, AlreadyDecided, Invalid.
    """
    session, grant, now = _open_request(session_id, grant_id, by)
    if operation_digest != grant.operation_digest:
        raise RequestChanged(operation_digest=grant.operation_digest)
    _four_eyes(grant, session, by)
    if ttl_seconds is not None and ttl_seconds > grant.ttl_seconds:
        raise field_error("/ttl_seconds", "widened", "An approver may shorten, never lengthen.")
    decision = _decide(grant, "approve", by, comment, now, ttl_seconds, constraints)
    _narrow(grant, decision)
    records = [_decided(grant, session, by, comment, decision)]
    given = grant.decisions.filter(decision="approve").count()
    if given >= grant.approvals_required:
        records = access.take_effect(grant, session, by=by, now=now)
        records[0].data |= decision_data(decision, comment)
    else:
        grant.version += 1
        grant.save()
    ledger.append({session.id: records})
    return grant


def deny(session_id: UUID, grant_id: UUID, *, by: Principal, comment: str) -> PermissionGrant:
    """One person's no ends the request."""
    session, grant, now = _open_request(session_id, grant_id, by)
    _decide(grant, "deny", by, comment, now, None, None)
    ledger.append({session.id: access.deny(grant, session, by=by, now=now, comment=comment)})
    return grant


def deny_each(
    wanted: Sequence[tuple[UUID, UUID]], *, by: Principal, comment: str
) -> tuple[list[PermissionGrant], list[UUID]]:
    """Deny these, as (session, grant); those that are denied now, and those that somebody has
    decided on or the clock has ended meanwhile. Sessions are locked in their order, as whatever
    locks several does."""
    denied, skipped = [], []
    for session_id, grant_id in sorted(wanted):
        try:
            denied.append(deny(session_id, grant_id, by=by, comment=comment))
        except AlreadyDecided:
            skipped.append(grant_id)
    return denied, skipped


def _open_request(
    session_id: UUID, grant_id: UUID, by: Principal
) -> tuple[RunnerSession, PermissionGrant, datetime]:
    by.require(Scope.APPROVE)
    if not by.is_person:
        raise PermissionDenied("People decide; a machine cannot.")
    session = transitions.lock(session_id, by=by)
    grant = access.held(session, grant_id)
    now = clock.now()
    state = access.current_state(grant, now)
    if state != GrantState.REQUESTED:
        deciders = [ids.encode("user", row.by_id) for row in grant.decisions.order_by("at")]
        raise AlreadyDecided(f"This request is {state}.", state=state, decided_by=deciders or None)
    return session, grant, now


def excluded(grant: PermissionGrant, session: RunnerSession, user_id: UUID) -> bool:
    """Is this person the requester, the dispatcher, or the owner of a machine that was?"""
    person = ids.encode("user", user_id)
    if person in (grant.requested_by, session.dispatched_by) or grant.requested_owner == user_id:
        return True
    if not session.dispatched_by.startswith("sa_"):
        return False
    dispatcher = ids.decode("sa", session.dispatched_by)
    return ServiceAccount.objects.filter(id=dispatcher, owner_id=user_id).exists()


def _four_eyes(grant: PermissionGrant, session: RunnerSession, by: Principal) -> None:
    if by.id is None or excluded(grant, session, by.id):
        raise SelfApproval
    if not policy.may_approve(grant.rule, by):
        raise RoleNotAllowed(approver_roles=(grant.rule or {}).get("approver_roles"))


def _decide(
    grant: PermissionGrant,
    word: str,
    by: Principal,
    comment: str,
    now: datetime,
    ttl_seconds: int | None,
    constraints: Mapping[str, Any] | None,
) -> Decision:
    assert by.id is not None
    try:
        with transaction.atomic():
            return Decision.objects.create(
                organization_id=grant.organization_id,
                grant=grant,
                by_id=by.id,
                decision=word,
                operation_digest=grant.operation_digest,
                comment=comment,
                ttl_seconds=ttl_seconds,
                constraints=dict(constraints) if constraints is not None else None,
                at=now,
            )
    except IntegrityError:
        raise AlreadyDecided("You have decided on this request already.") from None


def _narrow(grant: PermissionGrant, decision: Decision) -> None:
    """What counts is the intersection of all approvals."""
    if decision.ttl_seconds is not None:
        grant.ttl_seconds = min(grant.ttl_seconds, decision.ttl_seconds)
    for name, value in (decision.constraints or {}).items():
        if grant.constraints.setdefault(name, value) != value:
            raise field_error(f"/constraints/{name}", "widened", "This is constrained otherwise.")


def decision_data(decision: Decision, comment: str) -> dict[str, Any]:
    return {
        "by": ids.encode("user", decision.by_id),
        "decision": decision.decision,
        "operation_digest": decision.operation_digest,
        "comment": comment,
        "ttl_seconds": decision.ttl_seconds,
        "constraints": decision.constraints,
    }


def _decided(
    grant: PermissionGrant, session: RunnerSession, by: Principal, comment: str, decision: Decision
) -> Record:
    return Record(
        kind="grant.approved",
        actor=by.actor,
        lease_epoch=session.lease_epoch,
        message=f"{grant.operation} approved by one of {grant.approvals_required}",
        data={
            "grant_id": ids.encode("grant", grant.id),
            "operation": grant.operation,
            **decision_data(decision, comment),
        },
    )
