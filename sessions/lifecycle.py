"""Verbs of operators and automation on sessions: dispatch, pause, resume, cancel, amend.

Each runs within the organization's scope, locks its session first and takes one step. The verbs
of executors are in claims.py (claim, heartbeat, checkpoint) and outcomes.py (complete, fail,
acknowledge); those of time in reaper.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any
from uuid import UUID

from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import (
    Conflict,
    NotLeaseHolder,
    ProfileArchived,
    field_error,
    unknown_reference,
)
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity.principal import Principal
from profiles import catalog
from profiles.models import HarnessRevision, ProfileStatus, RunnerProfile
from sessions import transitions
from sessions.models import Checkpoint, DesiredState, RunnerSession
from sessions.signals import Change
from sessions.states import LEASED, State, Verb

QUEUE_TIMEOUT = timedelta(hours=24)
RUN_TIMEOUT = timedelta(hours=24)
PAUSE_TIMEOUT = timedelta(days=7)
CANCEL_TIMEOUT = timedelta(seconds=60)
MAX_AHEAD = timedelta(days=366)


def dispatch(
    fields: Mapping[str, Any], *, by: Principal, because: Mapping[str, Any] = MappingProxyType({})
) -> RunnerSession:
    """A new pending session with the harness pinned by id and digest now.

    `fields` are those of the dispatch body, `because` is what the record says of why; raises
    Invalid for references that lead nowhere and ProfileArchived.
    """
    fields = dict(fields)
    profile = _dispatchable(fields.pop("profile_id"), by)
    harness = catalog.harness_to_pin(profile, fields.pop("harness_id", None), by=by)
    now = clock.now()
    session = RunnerSession(
        organization_id=by.organization_id,
        profile=profile,
        harness=harness,
        dispatched_by=by.actor,
        grant_policy=profile.grant_policy,
        grant_policy_version=profile.grant_policy_version,
        backoff_seconds=profile.backoff_seconds,
        max_attempts=fields.pop("max_attempts", None) or profile.max_attempts,
        queue_timeout_seconds=fields.pop("queue_timeout_seconds", None)
        or int(QUEUE_TIMEOUT.total_seconds()),
        timeout_seconds=fields.pop("timeout_seconds", None) or int(RUN_TIMEOUT.total_seconds()),
        created_at=now,
        updated_at=now,
        **fields,
    )
    _foreseeable("/not_before", session.not_before, now)
    session.deadline_at = _queue_deadline(session, now)
    session.save(force_insert=True)
    data = dispatch_record(session, profile, harness) | dict(because)
    transitions.record([Change(session, Verb.DISPATCH, None, State.PENDING, by, now, data=data)])
    return session


def _foreseeable(pointer: str, instant: datetime | None, now: datetime) -> None:
    """What lies centuries ahead is a mistake, and would never come to an end by itself."""
    if instant is not None and instant > now + MAX_AHEAD:
        raise field_error(pointer, "too_far_ahead", f"At most {MAX_AHEAD.days} days ahead.")


def _dispatchable(profile_id: UUID, by: Principal) -> RunnerProfile:
    profile = (
        RunnerProfile.objects.in_organization(by.organization_id).filter(id=profile_id).first()
    )
    if profile is None:
        raise unknown_reference("/profile_id")
    if profile.status == ProfileStatus.ARCHIVED:
        raise ProfileArchived
    return profile


def dispatch_record(
    session: RunnerSession, profile: RunnerProfile, harness: HarnessRevision | None
) -> dict[str, Any]:
    """What was asked for, whole: the ledger proves the input, not only that there was one."""
    return {
        "task_id": session.task_id,
        "retry_of": ids.encode("sess", session.retry_of_id) if session.retry_of_id else None,
        "profile_id": ids.encode("prof", profile.id),
        "profile_version": profile.version,
        "harness_id": ids.encode("harn", harness.id) if harness else None,
        "image_ref": harness.image_ref if harness else None,
        "image_digest": harness.image_digest if harness else None,
        "input": session.input,
        "labels": session.labels,
        "concurrency_key": session.concurrency_key,
        "concurrency_limit": session.concurrency_limit if session.concurrency_key else None,
        "metadata": session.metadata,
        "priority": session.priority,
        "max_attempts": session.max_attempts,
        "side_effects": session.side_effects,
        "grant_policy_version": session.grant_policy_version,
    }


def _queue_deadline(session: RunnerSession, now: datetime) -> datetime:
    """When waiting ends: the queue's timeout, or the run's deadline where that comes first."""
    start = max(now, session.not_before) if session.not_before else now
    deadline = start + timedelta(seconds=session.queue_timeout_seconds)
    return min(deadline, session.run_deadline_at) if session.run_deadline_at else deadline


def requeued(
    session: RunnerSession, now: datetime, *, not_before: datetime | None = None
) -> dict[str, Any]:
    """The columns of a session that becomes pending again."""
    session.not_before = not_before
    return {
        "desired_state": DesiredState.RUNNING,
        "not_before": not_before,
        "deadline_at": _queue_deadline(session, now),
    }


def put_aside(session: RunnerSession, now: datetime) -> dict[str, Any]:
    """The columns of a session that becomes paused: its run clock stops."""
    left = session.run_seconds_left
    if session.run_deadline_at is not None:
        left = max(0.0, (session.run_deadline_at - now).total_seconds())
    return {
        "desired_state": DesiredState.PAUSED,
        "paused_at": now,
        "run_seconds_left": left,
        "run_deadline_at": None,
        "deadline_at": now + PAUSE_TIMEOUT,
    }


def may_operate(session: RunnerSession, by: Principal) -> None:
    """Operators' verbs are theirs on every session; an executor's only under its own lease."""
    if by.is_executor and not (session.is_leased and session.lease_account == by.account):
        raise NotLeaseHolder


def pause(session_id: UUID, *, by: Principal, reason: str = "") -> RunnerSession:
    """Ask for a pause: at once while pending, else when the runner acknowledges it."""
    session = transitions.lock(session_id, by=by)
    may_operate(session, by)
    if session.state == State.PAUSED or (
        session.state in LEASED and session.desired_state == DesiredState.PAUSED
    ):
        return session
    transitions.require(session, Verb.PAUSE)
    now = clock.now()
    if session.state == State.PENDING:
        target, changes = State.PAUSED, put_aside(session, now)
    else:
        target, changes = State(session.state), {"desired_state": DesiredState.PAUSED}
    data = {"desired_state": "paused", "comment": reason}
    return transitions.transition(
        session, Verb.PAUSE, target, by=by, now=now, reason="pause_requested", data=data,
        changes=changes,
    )  # fmt: skip


def resume(session_id: UUID, *, by: Principal, checkpoint_id: UUID | None = None) -> RunnerSession:
    """Back into the queue, from the last or the named checkpoint; withdraws a mere wish to pause.

    Costs no attempt: the next claim is a new epoch, but not a failure.
    """
    session = transitions.lock(session_id, by=by)
    may_operate(session, by)
    transitions.require(session, Verb.RESUME)
    now = clock.now()
    named = named_checkpoint(session, checkpoint_id)
    changes: dict[str, Any] = {"resume_from": named.number if named else None}
    if session.state == State.PAUSED:
        if session.run_seconds_left is not None:
            session.run_deadline_at = now + timedelta(seconds=session.run_seconds_left)
        changes |= {
            **requeued(session, now, not_before=session.not_before),
            "run_deadline_at": session.run_deadline_at,
            "run_seconds_left": None,
            "paused_at": None,
        }
        target = State.PENDING
    elif session.desired_state == DesiredState.PAUSED:
        target, changes["desired_state"] = State(session.state), DesiredState.RUNNING
    else:
        raise transitions.conflict(
            session, Verb.RESUME, "The session is neither paused nor asked to."
        )
    data = {"desired_state": "running", "from_checkpoint": changes["resume_from"]}
    return transitions.transition(
        session, Verb.RESUME, target, by=by, now=now, reason="resumed", data=data, changes=changes
    )


def named_checkpoint(session: RunnerSession, checkpoint_id: UUID | None) -> Checkpoint | None:
    """None if none is named. Raises Invalid for one that is not the session's."""
    if checkpoint_id is None:
        return None
    named = Checkpoint.objects.filter(session_id=session.id, id=checkpoint_id).first()
    if named is None:
        raise unknown_reference("/checkpoint_id", "No such checkpoint of this session.")
    return named


def why(reason: str, batch_id: UUID | None = None) -> dict[str, Any]:
    """What a record says of an operator's reason, and of the batch that a step is a part of."""
    batch = {"batch_id": ids.encode("batch", batch_id)} if batch_id else {}
    return {"comment": reason, **batch}


def cancel(
    session_id: UUID,
    *,
    by: Principal,
    reason: str = "",
    force: bool = False,
    batch_id: UUID | None = None,
) -> RunnerSession:
    """End it: at once without a lease; with one the runner has a minute to acknowledge.

    `force` ends the lease now, whatever its runner is doing; the record names the batch that this
    is a part of. Cancelling what is cancelled or on its way there is the same answer again.
    """
    session = transitions.lock(session_id, by=by)
    may_operate(session, by)
    force = force and session.is_leased
    if session.state == State.CANCELLED or (session.state == State.CANCELLING and not force):
        return session
    verb = Verb.FORCE if force else Verb.CANCEL
    transitions.require(session, verb)
    now = clock.now()
    changes: dict[str, Any] = {"desired_state": DesiredState.CANCELLED}
    if session.cancel_requested_at is None:
        changes |= {"cancel_requested_at": now, "cancel_requested_by": by.actor}
    target = State.CANCELLED
    if session.is_leased and not force:
        target = State.CANCELLING
        changes["deadline_at"] = now + CANCEL_TIMEOUT
    return transitions.transition(
        session, verb, target, by=by, now=now,
        reason="cancel_forced" if force else "cancel_requested",
        data=why(reason, batch_id), changes=changes,
    )  # fmt: skip


AMENDABLE = frozenset({"metadata", "labels", "priority", "deadline_at"})


def amend(
    session: RunnerSession, fields: Mapping[str, Any], *, by: Principal, now: datetime
) -> RunnerSession:
    """Operator-driven columns of a locked session, outside the lifecycle and its record: the
    audit log has them."""
    values = {name: fields[name] for name in AMENDABLE & fields.keys()}
    if not values:
        return session
    if "deadline_at" in values:
        _foreseeable("/deadline_at", values["deadline_at"], now)
        values |= _moved_deadline(session, values["deadline_at"])
    values |= {"version": session.version + 1, "updated_at": now}
    before = audit.State(session)
    RunnerSession.objects.filter(id=session.id).update(**values)
    for name, value in values.items():
        setattr(session, name, value)
    audit.changed("session.amended", "sess", session, by=by, before=before)
    return session


def _moved_deadline(session: RunnerSession, deadline: datetime) -> dict[str, Any]:
    """Of a waiting session it is the end of the waiting, of an execution that of the run."""
    if session.is_final or session.state == State.CANCELLING:
        raise Conflict(
            f"The deadline of a {session.state} session stands.", current_state=session.state
        )
    if session.is_leased or session.run_deadline_at is not None:
        return {"deadline_at": deadline, "run_deadline_at": deadline}
    return {"deadline_at": deadline}
