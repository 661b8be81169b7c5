"""May a protected operation be done now? For enforcement points, which ask and record nothing.

Whatever is not in force is answered alike: unknown, another organization's, of a session that does
not execute, over, or no grant at all. Advisory: what is allowed now may end the moment after; only
`use` asks under the session's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef, Q
from django.db.models.functions import Least

from grants import offline
from grants.models import Decision, PermissionGrant
from keeptrusts_runners import ids
from keeptrusts_runners.clock import DatabaseNow
from keeptrusts_runners.identity.principal import Principal

INACTIVE: Mapping[str, Any] = {"active": False}
_COLUMNS = ("operation", "resource", "constraints", "single_use", "lease_epoch")


def of_grant(text: str, *, by: Principal) -> Mapping[str, Any]:
    """By the grant's id."""
    try:
        grant_id = ids.decode("grant", text)
    except ValueError:
        return INACTIVE
    return _found(grant_id, Q(), by)


def of_token(text: str, *, by: Principal) -> Mapping[str, Any]:
    """By a grant token, or by the grant's id where an enforcement point has nothing else."""
    claims = offline.read(text)
    if claims is None:
        return of_grant(text, by=by)
    in_time = Q(lease_epoch=claims.lease_epoch, now__lt=claims.expires_at)
    found = _found(claims.grant_id, in_time, by)
    if not found["active"]:
        return INACTIVE
    return {**found, "exp": min(found["exp"], int(claims.expires_at.timestamp()))}


def _found(grant_id: UUID, more: Q, by: Principal) -> Mapping[str, Any]:
    """One query by primary keys. `exp` is the first end to come, in whole seconds: what an
    enforcement point remembers until then outlives neither grant nor lease by the clock."""
    approvals = Decision.objects.filter(grant_id=OuterRef("id"), decision="approve")
    rows = (
        PermissionGrant.objects.usable()
        .filter(organization_id=by.organization_id, id=grant_id)
        .annotate(now=DatabaseNow())
        .filter(more)
        .annotate(
            until=Least("expires_at", "session__lease_expires_at"),
            approvers=ArraySubquery(approvals.order_by("at").values("by_id")),
        )
    )
    row = rows.values(*_COLUMNS, "session_id", "until", "approvers").first()
    if row is None:
        return INACTIVE
    return {
        "active": True,
        "grant_id": ids.encode("grant", grant_id),
        "session_id": ids.encode("sess", row["session_id"]),
        **{name: row[name] for name in _COLUMNS},
        "exp": int(row["until"].timestamp()),
        "approvers": [ids.encode("user", each) for each in row["approvers"]],
    }
