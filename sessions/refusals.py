"""What was refused for a session, on record beside its chain and in the log.

A refusal rolls its transaction back, so it is written in one of its own, after the answer is
decided. What fails here changes no answer.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import structlog
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest

from keeptrusts_runners import ids
from keeptrusts_runners.api import refusals
from keeptrusts_runners.errors import (
    DomainError,
    ExecutorDraining,
    LeaseEpochRequired,
    LeaseLost,
    NotClaimable,
    NotLeased,
    NotLeaseHolder,
    StateConflict,
)
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions.refusal_models import Refusal

log = structlog.get_logger(__name__)

# Refused because of the lease, whatever was asked; and what only a claim is refused for.
_OF_LEASES = (LeaseLost, NotLeased, LeaseEpochRequired, NotLeaseHolder)
_OF_CLAIMS = (*_OF_LEASES, StateConflict, NotClaimable, ExecutorDraining)

# Served by runner_refusal_once_a_minute. The session is the organization's, or the reference of
# the table refuses the row.
_COUNT = """
INSERT INTO runner_refusal AS r
       (id, organization_id, session_id, operation, code, reason, actor, named_epoch, lease_epoch,
        minute, count, first_at, last_at, request_id)
SELECT %(id)s, %(organization)s, %(session)s, %(operation)s, %(code)s, %(reason)s, %(actor)s,
       %(named_epoch)s, %(lease_epoch)s, date_trunc('minute', now), 1, now, now, %(request_id)s
  FROM clock_timestamp() AS now
    ON CONFLICT (session_id, minute, operation, code, reason, actor, named_epoch) DO UPDATE
   SET count = r.count + 1, last_at = excluded.last_at, lease_epoch = excluded.lease_epoch,
       request_id = excluded.request_id
"""


@refusals.register
def record(principal: Principal | None, request: HttpRequest, error: DomainError) -> None:
    """Keep a refused claim or stale write; log it with what an operator needs to find it."""
    match = request.resolver_match
    if principal is None or match is None:
        return
    operation = _operation(match.route, request.method or "")
    if not isinstance(error, _OF_CLAIMS if operation == "claim" else _OF_LEASES):
        return
    # Who claims the next session, whichever it is, is refused none in particular.
    session_id = match.kwargs.get("session_id")
    kept = _row(principal, session_id, operation, error, getattr(request, "request_id", ""))
    if session_id is not None:
        with organization_scope(principal.organization_id), connection.cursor() as cursor:
            cursor.execute(_COUNT, kept)
    log.warning(
        "claim.refused" if operation == "claim" else "write.refused",
        session=ids.encode("sess", session_id) if session_id else None,
        operation=operation,
        code=error.code,
        reason=kept["reason"] or None,
        epoch=kept["named_epoch"] or None,
        lease_epoch=kept["lease_epoch"],
        executor=error.fields.get("executor_id"),
        actor=principal.actor,
    )


def _operation(route: str, method: str) -> str:
    """The last word of the address, such as `heartbeat`; the method where that is an id."""
    last = route.rsplit("/", 1)[-1]
    return method.lower() if last.endswith(">") else last


def _row(
    principal: Principal,
    session_id: UUID | None,
    operation: str,
    error: DomainError,
    request_id: str,
) -> dict[str, Any]:
    named = principal.lease_epoch or error.fields.get("named_epoch") or 0
    return {
        "id": ids.new(),
        "organization": principal.organization_id,
        "session": session_id,
        "operation": operation[:64],
        "code": error.code,
        "reason": str(error.fields.get("reason") or error.fields.get("current_state") or "")[:64],
        "actor": principal.actor,
        "named_epoch": named,
        "lease_epoch": error.fields.get("lease_epoch") or 0,
        "request_id": request_id,
    }


def of_session(session_id: UUID) -> QuerySet[Refusal]:
    """Newest first. Served by runner_refusal_newest."""
    return Refusal.objects.filter(session_id=session_id).order_by("-id")
