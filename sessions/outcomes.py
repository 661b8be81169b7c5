"""How an attempt ends: complete, fail, acknowledge, or lost with its runner.

An ending is recorded once per epoch. The same ending again is answered with what is recorded;
another one is refused. While cancelling every outcome ends as cancelled, with what the runner
reported kept beside it.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from keeptrusts_runners import clock
from keeptrusts_runners.errors import LeaseEpochRequired, NotLeaseHolder, OutcomeConflict
from keeptrusts_runners.identity.principal import Principal
from sessions import claims, lifecycle, transitions
from sessions.models import DesiredState, RunnerSession, SideEffects
from sessions.states import State, Verb
from sessions.transitions import Step

MAX_BACKOFF = timedelta(minutes=15)


def end(
    session_id: UUID,
    outcome: Verb,
    report: Mapping[str, Any],
    *,
    by: Principal,
    lease_epoch: int | None = None,
) -> RunnerSession:
    """Complete or fail under the current lease.

    `report` holds what the runner says: result, error {code, message}, retryable. Raises as
    claims.require_lease does, and OutcomeConflict.
    """
    session = transitions.lock(session_id, by=by)
    digest = digest_of(outcome, report)
    if _already_ended(session, by, lease_epoch):
        if bytes(session.outcome_digest or b"") == digest:
            return session
        raise OutcomeConflict(current_state=session.state)
    claims.require_lease(session, by=by, named_epoch=lease_epoch)
    if lease_epoch is None and not by.is_executor and not claims.holds(session, by):
        raise LeaseEpochRequired(current_state=session.state, lease_epoch=session.lease_epoch)
    now = clock.now()
    changes = {
        "reported_outcome": "completed" if outcome is Verb.COMPLETE else "failed",
        "outcome_epoch": session.lease_epoch,
        "outcome_digest": digest,
        "result": report.get("result"),
        "error": report.get("error"),
    }
    target, reason, more = _ending(session, outcome, report, now)
    data = {**report, "reported_outcome": changes["reported_outcome"]}
    return transitions.transition(
        session, outcome, target, by=by, now=now, reason=reason,
        data=data | claims.on_behalf(session, by), changes=changes | more,
    )  # fmt: skip


def digest_of(outcome: Verb, report: Mapping[str, Any]) -> bytes:
    body = json.dumps([outcome.value, dict(report)], sort_keys=True, default=str)
    return hashlib.sha256(body.encode()).digest()


def _already_ended(session: RunnerSession, by: Principal, named: int | None) -> bool:
    """Has the epoch that this principal writes under ended by an outcome, with no lease since?
    Raises NotLeaseHolder where it was another runner's."""
    if session.is_leased or session.outcome_epoch != session.lease_epoch:
        return False
    by.require_session(session.id)
    if not claims.means_last_epoch(session, by, named):
        return False
    if by.is_executor and by.account != session.lease_account:
        raise NotLeaseHolder
    return True


def _ending(
    session: RunnerSession, outcome: Verb, report: Mapping[str, Any], now: datetime
) -> tuple[State, str, dict[str, Any]]:
    if session.state == State.CANCELLING:
        return State.CANCELLED, "cancel_requested", {}
    if outcome is Verb.COMPLETE:
        return State.COMPLETED, "", {}
    code = str((report.get("error") or {}).get("code") or "failed")
    if not report.get("retryable"):
        return State.FAILED, code, {}
    return _retry_or(State.FAILED, session, code, now)


def _retry_or(
    otherwise: State, session: RunnerSession, reason: str, now: datetime
) -> tuple[State, str, dict[str, Any]]:
    """While attempts remain: paused where that was wanted, else pending after a backoff. With
    none left, the final state."""
    failures = session.failures + 1
    changes: dict[str, Any] = {"failures": failures}
    if _may_have_acted(session) or failures >= session.max_attempts:
        return otherwise, reason, changes
    if session.desired_state == DesiredState.PAUSED:
        return State.PAUSED, reason, changes | lifecycle.put_aside(session, now)
    not_before = now + _backoff(session.backoff_seconds, failures)
    return State.PENDING, reason, changes | lifecycle.requeued(session, now, not_before=not_before)


def _may_have_acted(session: RunnerSession) -> bool:
    """Has something begun that may happen at most once?"""
    return session.side_effects == SideEffects.AT_MOST_ONCE and session.started_at is not None


def _backoff(seconds: int, failures: int) -> timedelta:
    """Doubling, capped, with a jitter of up to a quarter against thundering herds."""
    delay = min(timedelta(seconds=seconds) * (1 << min(failures - 1, 20)), MAX_BACKOFF)
    return delay * random.uniform(1.0, 1.25)  # noqa: S311  (spreads load, guards nothing)


def acknowledge(
    session_id: UUID, wished: DesiredState, *, by: Principal, lease_epoch: int | None = None
) -> RunnerSession:
    """The runner has stopped as it was asked: the lease ends, paused or cancelled.

    Raises StateConflict where that was not asked for; the recorded ending again is no error.
    """
    session = transitions.lock(session_id, by=by)
    ended_as = {DesiredState.PAUSED: State.PAUSED, DesiredState.CANCELLED: State.CANCELLED}[wished]
    held = by.account == session.lease_account and session.state == ended_as
    if held and claims.means_last_epoch(session, by, lease_epoch):
        by.require_session(session.id)
        return session
    claims.require_lease(session, by=by, named_epoch=lease_epoch)
    if session.desired_state != wished:
        raise transitions.conflict(session, Verb.ACKNOWLEDGE, f"Nobody asked for {wished}.")
    now = clock.now()
    if wished is DesiredState.PAUSED:
        changes, reason = lifecycle.put_aside(session, now), "paused"
    else:
        changes, reason = {}, "cancel_acknowledged"
    return transitions.transition(
        session, Verb.ACKNOWLEDGE, ended_as, by=by, now=now, reason=reason,
        data=claims.on_behalf(session, by), changes=changes,
    )  # fmt: skip


def lose(session: RunnerSession, *, by: Principal, now: datetime) -> RunnerSession:
    """The lease of a locked session has run out."""
    return transitions.apply([lost(session, now)], by=by, now=now)[0]


def lost(
    session: RunnerSession, now: datetime, *, reason: str = "lease_expired", comment: str = ""
) -> Step:
    """What becomes of a locked session whose lease ends without an outcome, because it ran out or
    was taken away: cancelled, paused, tried again, or lost."""
    if session.state == State.CANCELLING:
        target, changes = State.CANCELLED, {}
    elif session.desired_state == DesiredState.PAUSED and not _may_have_acted(session):
        target = State.PAUSED
        changes = lifecycle.put_aside(session, now) | {"failures": session.failures + 1}
    else:
        target, reason, changes = _retry_or(State.LOST, session, reason, now)
    ended = {
        "lease_epoch": session.lease_epoch,
        "holder": session.lease_account,
        "expired_at": clock.rfc3339(session.lease_expires_at),
        "last_heartbeat_at": clock.rfc3339(session.heartbeat_at),
    }
    kind = "lease.expired" if reason == "lease_expired" else "lease.revoked"
    data = {"comment": comment} if comment else {}
    return Step(
        session, Verb.LOSE, target, reason=reason, data=data, changes=changes,
        also=((kind, ended),),
    )  # fmt: skip
