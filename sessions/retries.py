"""What persons do about ended sessions: run the task again as a new session, and decide about
those that were lost, of which nobody knows the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import AlreadyDecided
from keeptrusts_runners.identity.principal import Principal
from sessions import lifecycle, transitions
from sessions.models import Checkpoint, Disposition, RunnerSession
from sessions.states import State

# What a retry takes over. Its start time, its attempts so far and its trace are its own.
_KEPT = (
    "profile_id",
    "task_id",
    "input",
    "side_effects",
    "priority",
    "labels",
    "concurrency_key",
    "concurrency_limit",
    "metadata",
    "max_attempts",
    "queue_timeout_seconds",
    "timeout_seconds",
)


def retry(
    session_id: UUID,
    *,
    by: Principal,
    same_harness: bool = False,
    checkpoint_id: UUID | None = None,
    reason: str = "",
    batch_id: UUID | None = None,
) -> RunnerSession:
    """A new session of the same task, with `retry_of`; the old one stays as it ended.

    The newest usable harness revision is pinned, or with `same_harness` the one that the old
    session had. It starts from the beginning, or from this checkpoint of the old one, which it
    then has as its own first. The new one's first record says the reason. Raises StateConflict
    before the old one has ended, Conflict for a revision that is not active, ProfileArchived.
    """
    session = _ended(session_id, "retry", by)
    start = lifecycle.named_checkpoint(session, checkpoint_id)
    because = lifecycle.why(reason, batch_id) if reason else {}
    made = _again(session, by, same_harness, because)
    if start is not None:
        _carry_over(start, made, by)
    return made


def _ended(session_id: UUID, verb: str, by: Principal) -> RunnerSession:
    session = transitions.lock(session_id, by=by)
    lifecycle.may_operate(session, by)
    if not session.is_final:
        raise transitions.refusal(session, f"A {session.state} session does not take {verb}.")
    return session


def _again(
    session: RunnerSession, by: Principal, same_harness: bool, because: Mapping[str, Any]
) -> RunnerSession:
    fields = {name: getattr(session, name) for name in _KEPT} | {"retry_of_id": session.id}
    if same_harness:
        fields["harness_id"] = session.harness_id
    return lifecycle.dispatch(fields, by=by, because=because)


def _carry_over(start: Checkpoint, made: RunnerSession, by: Principal) -> None:
    """The new session's first checkpoint, of no attempt of its own; the digest tells that it is
    the same."""
    now = clock.now()
    own = Checkpoint.objects.create(
        organization_id=made.organization_id,
        session_id=made.id,
        number=1,
        lease_epoch=0,
        label=start.label,
        data=start.data,
        digest=start.digest,
        created_at=now,
    )
    RunnerSession.objects.filter(id=made.id).update(checkpoints_recorded=1)
    made.checkpoints_recorded = 1
    transitions.note(
        made, "checkpoint.recorded", by=by, now=now,
        checkpoint_id=ids.encode("ckpt", own.id),
        number=1,
        label=own.label,
        digest=own.digest,
        from_session_id=ids.encode("sess", start.session_id),
        from_checkpoint_id=ids.encode("ckpt", start.id),
    )  # fmt: skip


def decide(
    session_id: UUID,
    decision: Disposition,
    *,
    by: Principal,
    comment: str = "",
    same_harness: bool = False,
    batch_id: UUID | None = None,
) -> RunnerSession:
    """Record what a person decided about a lost session; `retry` dispatches one, once.

    The same decision again changes nothing. Raises StateConflict for a session that is not lost,
    AlreadyDecided for another decision.
    """
    session = _ended(session_id, "disposition", by)
    if session.state != State.LOST:
        raise transitions.refusal(session, f"The outcome of a {session.state} session is known.")
    transitions.require_evidence(session)
    if session.disposition == decision:
        return session
    if session.disposition:
        raise AlreadyDecided(state=session.disposition, decided_by=session.disposition_by)
    because = lifecycle.why(comment, batch_id)
    made = _again(session, by, same_harness, because) if decision == Disposition.RETRY else None
    _record(session, decision, because, made, by)
    return session


def _record(
    session: RunnerSession,
    decision: Disposition,
    because: Mapping[str, Any],
    made: RunnerSession | None,
    by: Principal,
) -> None:
    now = clock.now()
    values = {
        "disposition": decision,
        "disposition_by": by.actor,
        "disposition_at": now,
        "version": session.version + 1,
        "updated_at": now,
    }
    RunnerSession.objects.filter(id=session.id).update(**values)
    for name, value in values.items():
        setattr(session, name, value)
    transitions.note(
        session, "note", by=by, now=now,
        disposition=str(decision),
        **because,
        retry_id=ids.encode("sess", made.id) if made else None,
    )  # fmt: skip
