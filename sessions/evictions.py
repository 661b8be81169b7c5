"""What operators decide about executors: drain, evict, and take that back.

A claim shares a lock of its executor's row until it commits, and whoever drains or evicts takes
that row for himself. So no claim that began before is still under way when an eviction looks for
leases to end, and none that begins after is granted. Lock order: the executor, then sessions.
"""

from __future__ import annotations

from uuid import UUID

import structlog

from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import NotFound, PermissionDenied
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity.principal import Principal
from sessions import outcomes, transitions, wakeups
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession

log = structlog.get_logger(__name__)

# How many leases one eviction ends; asked again, it goes on.
MAX_EVICTED = 200
_DRAINING = ("draining_at", "draining_by", "draining_reason")


def drain(executor_id: UUID, *, by: Principal, reason: str = "") -> RunnerExecutor:
    """Nothing new is handed to it; what it holds goes on. Again is the same, and the first reason
    stands. Raises NotFound, PermissionDenied for executors."""
    executor = _taken(executor_id, by)
    if executor.draining_at is None:
        before = audit.State(executor)
        executor.draining_at, executor.draining_by = clock.now(), by.actor
        executor.draining_reason = reason
        executor.save(update_fields=_DRAINING)
        detail = {"name": executor.name, "reason": reason}
        audit.changed("executor.drained", "exec", executor, by=by, before=before, detail=detail)
    return executor


def undrain(executor_id: UUID, *, by: Principal) -> RunnerExecutor:
    """It may claim again. Again is the same."""
    executor = _taken(executor_id, by)
    if executor.draining_at is not None:
        before = audit.State(executor)
        executor.draining_at, executor.draining_by, executor.draining_reason = None, "", ""
        executor.save(update_fields=_DRAINING)
        detail = {"name": executor.name}
        audit.changed("executor.undrained", "exec", executor, by=by, before=before, detail=detail)
        wakeups.announce(by.organization_id)
    return executor


def evict(executor_id: UUID, *, by: Principal, reason: str) -> RunnerExecutor:
    """Drain it and end its leases now, at most MAX_EVICTED: each session is tried again, paused
    or lost as if the lease had run out."""
    executor = drain(executor_id, by=by, reason=reason)
    ended = _end_leases([executor_id], "executor_evicted", by=by, comment=reason)
    detail = {"name": executor.name, "reason": reason, "leases_ended": ended}
    audit.changed("executor.evicted", "exec", executor, by=by, detail=detail)
    log.warning(
        "executor.evicted", executor=ids.encode("exec", executor_id), by=by.actor, leases=ended
    )
    return executor


def end_leases_of_account(account: str, *, by: Principal) -> int:
    """All that this account's executors hold, because the account is no more; how many."""
    held = RunnerExecutor.objects.filter(organization_id=by.organization_id, account=account)
    executor_ids = list(held.select_for_update().order_by("id").values_list("id", flat=True))
    ended = 0
    while step := _end_leases(executor_ids, "account_revoked", by=by):
        ended += step
    return ended


def _taken(executor_id: UUID, by: Principal) -> RunnerExecutor:
    """The executor, locked against every claim that is under way."""
    if by.is_executor:
        raise PermissionDenied("Executors do not decide about executors.")
    found = (
        RunnerExecutor.objects.filter(organization_id=by.organization_id, id=executor_id)
        .select_for_update()
        .first()
    )
    if found is None:
        raise NotFound
    return found


def _end_leases(executor_ids: list[UUID], reason: str, *, by: Principal, comment: str = "") -> int:
    """Served by runner_session_held."""
    held = RunnerSession.objects.leased().filter(executor_id__in=executor_ids)
    sessions = list(held.select_for_update(no_key=True).order_by("id")[:MAX_EVICTED])
    now = clock.now()
    steps = [outcomes.lost(session, now, reason=reason, comment=comment) for session in sessions]
    if steps:
        transitions.apply(steps, by=by, now=now)
    return len(steps)
