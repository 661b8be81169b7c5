"""What executors do under a lease: claim, heartbeat, checkpoint, and the fence itself.

A lease ends only by a committed change of its row. The fence therefore compares epoch and state
under the row's lock, and never the clock: a heartbeat that waited for the lock while its lease
was taken away sees the new epoch, whatever the time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import (
    ClaimIdReused,
    LeaseEpochRequired,
    LeaseLost,
    NotClaimable,
    NotLeased,
    NotLeaseHolder,
    field_error,
)
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from profiles.models import (
    MAX_LEASE_TTL_SECONDS,
    HarnessStatus,
    ProfileStatus,
    RunnerProfile,
)
from sessions import executors, limits, queue, states, transitions
from sessions.executors import Introduction
from sessions.limits import Slots
from sessions.models import Checkpoint, RunnerSession, Transition
from sessions.states import LEASED, State, Verb
from sessions.transitions import Step

MAX_CHECKPOINT_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What an executor says when it claims. `labels` are what it offers: a session is handed out
    only to an executor that has all of the session's labels."""

    executor: Mapping[str, Any] = field(default_factory=dict)
    claim_id: str = ""
    image_digest: str | None = None
    lease_ttl_seconds: int | None = None
    profile_ids: tuple[UUID, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    max: int = 1

    def introduction(self, *, polls: bool = False) -> Introduction:
        return Introduction(
            name=self.executor.get("name", ""),
            version=self.executor.get("version", ""),
            labels=self.labels,
            profile_ids=self.profile_ids,
            polls=polls,
        )


def require_lease(session: RunnerSession, *, by: Principal, named_epoch: int | None) -> None:
    """The fence: may this principal write under the session's current lease?

    `session` is locked. A session token names its epoch itself; another bearer may leave it out
    while it can mean only the first. Raises NotLeased, LeaseLost, LeaseEpochRequired,
    NotLeaseHolder.
    """
    by.require_session(session.id)
    epoch = epoch_of(by, named_epoch)
    if session.lease_epoch == 0:
        raise _never_leased(session)
    if epoch is None and session.lease_epoch > 1:
        raise LeaseEpochRequired(current_state=session.state, lease_epoch=session.lease_epoch)
    if session.state not in LEASED or epoch not in (None, session.lease_epoch):
        raise LeaseLost(
            current_state=session.state, lease_epoch=session.lease_epoch, named_epoch=epoch
        )
    if by.is_executor and by.account != session.lease_account:
        raise NotLeaseHolder
    if session.state == State.CANCELLING and by.is_executor:
        _told_to_cancel(session, by)


def _told_to_cancel(session: RunnerSession, by: Principal) -> None:
    """Every answer to an executor says what is desired: from the first one on it knows."""
    if session.cancel_delivered_at is not None:
        return
    session.cancel_delivered_at = now = clock.now()
    RunnerSession.objects.filter(id=session.id).update(cancel_delivered_at=now)
    transitions.note(session, "cancel.delivered", by=by, now=now)


def epoch_of(by: Principal, named: int | None) -> int | None:
    """The epoch that this principal writes under, if it says so."""
    return by.lease_epoch if by.kind is PrincipalKind.SESSION else named


def means_last_epoch(session: RunnerSession, by: Principal, named: int | None) -> bool:
    """Does this principal speak of the session's last epoch, whether or not that is over?"""
    epoch = epoch_of(by, named)
    return epoch == session.lease_epoch or (epoch is None and session.lease_epoch == 1)


def holds(session: RunnerSession, by: Principal) -> bool:
    """Was the present lease given to this principal's account?"""
    return session.is_leased and by.account == session.lease_account


def _never_leased(session: RunnerSession) -> NotLeased:
    verbs = states.allowed_verbs(State(session.state))
    address = f"/v1/runners/sessions/{ids.encode('sess', session.id)}/claim"
    return NotLeased(
        current_state=session.state,
        allowed_verbs=verbs,
        claim=address if Verb.CLAIM in verbs else None,
    )


def on_behalf(session: RunnerSession, by: Principal) -> dict[str, Any]:
    """What the record of an execution write adds when a person made it."""
    return {"on_behalf": session.lease_account} if by.is_person else {}


# --- claim -----------------------------------------------------------------------------------


def claim(session_id: UUID, request: ClaimRequest, *, by: Principal) -> RunnerSession:
    """Take this pending session under a new lease. Of many at once exactly one succeeds.

    Repeating it with the same `claim_id` while the lease lives answers the same lease. Raises
    StateConflict, NotClaimable, LeaseLost, ClaimIdReused, ExecutorDraining.
    """
    again = _given_before(request, by)
    executor_id = executors.greet(request.introduction(), by=by) if again is None else None
    session = transitions.lock(session_id, by=by)
    if again is not None:
        return _same_lease(session, again)
    transitions.require(session, Verb.CLAIM)
    now = clock.now()
    profile = RunnerProfile.objects.get(id=session.profile_id)
    _claimable(session, profile, now)
    step = _claim_step(session, profile, request, executor_id, by, now)
    return transitions.apply([step], by=by, now=now)[0]


def _same_lease(session: RunnerSession, given: list[RunnerSession]) -> RunnerSession:
    before = next((each for each in given if each.id == session.id), None)
    if before is None:
        raise ClaimIdReused
    if not session.is_leased or session.lease_epoch != before.lease_epoch:
        raise LeaseLost(current_state=session.state, lease_epoch=session.lease_epoch)
    return session


_FULL = {
    "limit_reached": "The profile's max_concurrent_sessions is reached.",
    "key_limit_reached": "As many sessions with its concurrency_key run as may.",
}


def _claimable(session: RunnerSession, profile: RunnerProfile, now: datetime) -> None:
    if profile.status == ProfileStatus.PAUSED:
        raise NotClaimable("The profile is paused.", reason="profile_paused")
    if session.harness and session.harness.status == HarnessStatus.RECALLED:
        raise NotClaimable("The harness revision is recalled.", reason="harness_recalled")
    if session.not_before and session.not_before > now:
        raise NotClaimable(
            "It is not yet time.",
            reason="not_before",
            not_before=clock.rfc3339(session.not_before),
        )
    if session.deadline_at and session.deadline_at <= now:
        raise NotClaimable("Its time to wait is over.", reason="deadline_passed")
    if full := Slots([session]).take(session):
        raise NotClaimable(_FULL[full], reason=full)


def _claim_step(
    session: RunnerSession,
    profile: RunnerProfile,
    request: ClaimRequest,
    executor_id: UUID | None,
    by: Principal,
    now: datetime,
) -> Step:
    ttl = _lease_ttl(profile, request)
    # The epoch changes here, so the guarded UPDATE still compares the one that was locked.
    epoch = session.lease_epoch + 1
    expires_at = now + timedelta(seconds=ttl)
    changes = {
        "lease_epoch": epoch,
        "lease_account": by.account,
        "lease_executor": dict(request.executor),
        "executor_id": executor_id,
        "lease_ttl_seconds": ttl,
        "lease_expires_at": expires_at,
        "heartbeat_interval_seconds": min(profile.heartbeat_interval_seconds, max(1, ttl // 2)),
        "heartbeat_at": None,
        "claim_id": request.claim_id,
        "dispatched_at": now,
        "deadline_at": session.run_deadline_at,
        "not_before": None,
    }
    lease = {
        "lease_epoch": epoch,
        "holder": by.account,
        "executor": dict(request.executor),
        "image_digest": request.image_digest,
        "ttl_seconds": ttl,
        "expires_at": clock.rfc3339(expires_at),
    }
    return Step(
        session, Verb.CLAIM, State.DISPATCHED, data={"attempt": epoch}, changes=changes,
        also=(("lease.granted", lease),),
    )  # fmt: skip


def _lease_ttl(profile: RunnerProfile, request: ClaimRequest) -> int:
    if request.lease_ttl_seconds is None:
        return profile.lease_ttl_seconds
    if request.lease_ttl_seconds > max(profile.lease_ttl_seconds, MAX_LEASE_TTL_SECONDS):
        raise field_error("/lease_ttl_seconds", "too_large", "Longer than a lease may be.")
    return request.lease_ttl_seconds


def claim_next(request: ClaimRequest, *, by: Principal) -> list[RunnerSession]:
    """The next sessions that this executor may run, each under a new lease; [] when there are
    none. Order: priority, then age."""
    again = _given_before(request, by)
    if again is not None:
        return again
    executor_id = executors.greet(request.introduction(polls=True), by=by)
    found = queue.take(
        by.organization_id,
        profile_ids=request.profile_ids,
        labels=request.labels,
        most=request.max,
    )
    now = clock.now()
    steps = [
        _claim_step(session, session.profile, request, executor_id, by, now) for session in found
    ]
    return transitions.apply(steps, by=by, now=now) if steps else []


def _given_before(request: ClaimRequest, by: Principal) -> list[RunnerSession] | None:
    """The live leases that this claim_id has been answered with; None where it is new, and an
    empty answer was never stored. Raises LeaseLost when they are over.

    Served by runner_transition_claim_id.
    """
    if not request.claim_id:
        return None
    # A repeat that comes while the first is still at work waits, and then finds its leases.
    limits.lock(b"kt.claim_id", by.account.encode(), request.claim_id.encode())
    known = Transition.objects.filter(
        organization_id=by.organization_id, actor=by.actor, claim_id=request.claim_id
    ).select_related("session__profile", "session__harness")
    if not known:
        return None
    live = [
        step.session
        for step in known
        if step.session.is_leased and step.session.lease_epoch == step.lease_epoch
    ]
    if not live:
        raise LeaseLost("The leases of this claim_id are over.")
    return live


# --- under the lease -------------------------------------------------------------------------


def heartbeat(
    session_id: UUID,
    *,
    by: Principal,
    lease_epoch: int | None = None,
    progress: Mapping[str, Any] | None = None,
) -> RunnerSession:
    """Extend the lease; the first one starts the session. The answer carries `desired_state`."""
    session = transitions.lock(session_id, by=by)
    require_lease(session, by=by, named_epoch=lease_epoch)
    now = clock.now()
    values = _extended(session, now) | _progress(progress, now)
    if session.state == State.DISPATCHED:
        return _start(session, values, by, now)
    RunnerSession.objects.filter(id=session.id).update(**values)
    for name, value in values.items():
        setattr(session, name, value)
    return session


def _extended(session: RunnerSession, now: datetime) -> dict[str, Any]:
    ttl = timedelta(seconds=session.lease_ttl_seconds or 0)
    return {"heartbeat_at": now, "lease_expires_at": now + ttl}


def _progress(progress: Mapping[str, Any] | None, now: datetime) -> dict[str, Any]:
    return {"progress": dict(progress), "progress_at": now} if progress is not None else {}


def _start(
    session: RunnerSession, values: dict[str, Any], by: Principal, now: datetime
) -> RunnerSession:
    deadline = session.run_deadline_at or now + timedelta(seconds=session.timeout_seconds)
    values |= {
        "started_at": session.started_at or now,
        "run_deadline_at": deadline,
        "deadline_at": deadline,
    }
    return transitions.transition(
        session, Verb.HEARTBEAT, State.RUNNING, by=by, now=now,
        data=on_behalf(session, by), changes=values,
    )  # fmt: skip


def report_progress(
    session: RunnerSession, progress: Mapping[str, Any], *, now: datetime
) -> RunnerSession:
    """Progress of a locked and fenced session; like a heartbeat it changes no ETag."""
    values = _progress(progress, now)
    RunnerSession.objects.filter(id=session.id).update(**values)
    session.progress, session.progress_at = values["progress"], now
    return session


def checkpoint(
    session_id: UUID,
    data: Any,
    *,
    by: Principal,
    label: str = "",
    lease_epoch: int | None = None,
) -> tuple[RunnerSession, Checkpoint]:
    """Record what the next attempt needs: immutable, numbered, with its digest in the ledger."""
    session = transitions.lock(session_id, by=by)
    require_lease(session, by=by, named_epoch=lease_epoch)
    stored = json.dumps(data, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
    if len(stored) > MAX_CHECKPOINT_BYTES:
        raise field_error("/data", "too_large", f"At most {MAX_CHECKPOINT_BYTES} bytes as JSON.")
    now = clock.now()
    made = Checkpoint.objects.create(
        organization_id=session.organization_id,
        session_id=session.id,
        number=session.checkpoints_recorded + 1,
        lease_epoch=session.lease_epoch,
        label=label,
        data=data,
        digest="sha256:" + hashlib.sha256(stored).hexdigest(),
        created_at=now,
    )
    record = {
        "checkpoint_id": ids.encode("ckpt", made.id),
        "number": made.number,
        "label": label,
        "digest": made.digest,
        **on_behalf(session, by),
    }
    transitions.transition(
        session, Verb.CHECKPOINT, State(session.state), by=by, now=now, reason=session.reason,
        kind="checkpoint.recorded", data=record,
        changes={"checkpoints_recorded": made.number, "resume_from": None},
    )  # fmt: skip
    return session, made


def checkpoint_to_resume_from(session: RunnerSession) -> Checkpoint | None:
    """What a claim hands out: the one named at resume, or else the newest."""
    if not session.checkpoints_recorded:
        return None
    number = session.resume_from or session.checkpoints_recorded
    return Checkpoint.objects.filter(session_id=session.id, number=number).first()
