"""PATCH on a session: which verb a wished state is depends on who wishes it.

From the lease holder or its session token, `completed` and `failed` end the session, `paused` and
`cancelled` acknowledge. From anybody else, `paused`, `cancelled` and `running` are the operator's
verbs, and an outcome names the lease epoch that it is reported for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from keeptrusts_runners import clock
from keeptrusts_runners.errors import PermissionDenied, field_error
from keeptrusts_runners.identity.principal import Principal
from sessions import claims, lifecycle, outcomes, transitions
from sessions.lifecycle import AMENDABLE
from sessions.models import DesiredState, RunnerSession
from sessions.states import Verb

_OUTCOMES = {"completed": Verb.COMPLETE, "failed": Verb.FAIL}
_OF_FAILURES = frozenset({"error", "retryable"})
_PERSONS_ONLY = frozenset({"priority", "deadline_at", "labels"})
_OF_OUTCOMES = frozenset({"result", "error", "retryable", "event_count"})


def amend(
    session_id: UUID,
    fields: Mapping[str, Any],
    *,
    by: Principal,
    lease_epoch: int | None = None,
    check: Callable[[RunnerSession], None] = lambda session: None,
) -> RunnerSession:
    """Apply a PATCH: first what is not a state, then the state. `check` sees the locked session
    before anything is written, for If-Match."""
    session = transitions.lock(session_id, by=by)
    check(session)
    _coherent(fields)
    if by.is_executor and (refused := sorted(_PERSONS_ONLY & fields.keys())):
        raise PermissionDenied(f"Only people change {refused[0]}.")
    now = clock.now()
    plain = {name: fields[name] for name in AMENDABLE & fields.keys()}
    if by.is_executor and plain:
        claims.require_lease(session, by=by, named_epoch=lease_epoch)
    if "deadline_at" in plain and plain["deadline_at"] <= now:
        raise field_error("/deadline_at", "in_the_past", "This lies in the past.")
    lifecycle.amend(session, plain, by=by, now=now)
    if "progress" in fields:
        claims.require_lease(session, by=by, named_epoch=lease_epoch)
        claims.report_progress(session, fields["progress"], now=now)
    if "state" in fields:
        return _to_state(session, fields, by, lease_epoch)
    return session


def _coherent(fields: Mapping[str, Any]) -> None:
    """Members that belong to a state or to an outcome come with one."""
    state = fields.get("state")
    if state is None and "reason" in fields:
        raise field_error("/reason", "contradiction", "A reason goes with a state.")
    for name in sorted(_OF_OUTCOMES & fields.keys()):
        if state not in _OUTCOMES or (name in _OF_FAILURES and state != "failed"):
            raise field_error(f"/{name}", "contradiction", f"This does not go with {state}.")


def _to_state(
    session: RunnerSession, fields: Mapping[str, Any], by: Principal, lease_epoch: int | None
) -> RunnerSession:
    session_id, state, reason = session.id, fields["state"], fields.get("reason", "")
    if outcome := _OUTCOMES.get(state):
        report = {name: fields[name] for name in (*_OF_OUTCOMES, "reason") if name in fields}
        return outcomes.end(session_id, outcome, report, by=by, lease_epoch=lease_epoch)
    if state == "running" and by.is_executor:
        raise field_error("/state", "invalid_choice", "A heartbeat makes a session run.")
    if by.is_executor or (state != "running" and claims.holds(session, by)):
        return outcomes.acknowledge(session_id, DesiredState(state), by=by, lease_epoch=lease_epoch)
    match state:
        case "paused":
            return lifecycle.pause(session_id, by=by, reason=reason)
        case "cancelled":
            return lifecycle.cancel(session_id, by=by, reason=reason)
    return lifecycle.resume(session_id, by=by)
