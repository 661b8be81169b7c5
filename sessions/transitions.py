"""How a session changes: one locked row, one guarded UPDATE, one record, or nothing at all.

Every verb locks the session first, decides from what it then sees, and hands its steps to
`apply`. The UPDATE repeats state and epoch in its condition, so that a mistake in a verb cannot
overwrite what somebody else has decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, cast
from uuid import UUID

import structlog
from django.db import transaction

from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import EvidenceExpired, NotFound, StateConflict
from keeptrusts_runners.identity.principal import Principal
from sessions import states, wakeups
from sessions.models import RunnerSession, Transition
from sessions.signals import Change, Recorded, session_changed
from sessions.states import FINAL, LEASED, State, Verb

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Step:
    """What a verb has decided for one locked session.

    `changes` are columns beside those that every transition sets; `kind` and `also` are as in
    sessions.signals.Change.
    """

    session: RunnerSession
    verb: Verb
    target: State
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None
    also: tuple[tuple[str, Mapping[str, Any]], ...] = ()


# Child rows may still refer to the locked row. Spelt out, since composing it of seventy columns for
# each request costs the server more than the statement costs PostgreSQL.
_LOCK = "SELECT * FROM runner_session WHERE id = %s AND organization_id = %s FOR NO KEY UPDATE"


def lock(session_id: UUID, *, by: Principal) -> RunnerSession:
    """The session, locked until the transaction ends. Raises NotFound."""
    for session in RunnerSession.objects.raw(_LOCK, [session_id, by.organization_id]):
        return session
    raise NotFound


def require_evidence(session: RunnerSession) -> None:
    """Raises EvidenceExpired once retention has removed it: nothing can be added any more."""
    if session.evidence_expired_at is not None:
        raise EvidenceExpired(expired_at=clock.rfc3339(session.evidence_expired_at))


def conflict(session: RunnerSession, verb: Verb, detail: str | None = None) -> StateConflict:
    """The refusal of a verb in the session's present state."""
    return refusal(session, detail or f"A {session.state} session does not take {verb}.")


def refusal(session: RunnerSession, detail: str) -> StateConflict:
    """What the session's present state does not allow, and what it does."""
    return StateConflict(
        detail,
        current_state=session.state,
        allowed_verbs=states.allowed_verbs(State(session.state)),
    )


def require(session: RunnerSession, verb: Verb) -> None:
    """Raises StateConflict where the verb leads nowhere from the session's state."""
    if not states.targets(verb, State(session.state)):
        raise conflict(session, verb)


def apply(steps: Sequence[Step], *, by: Principal, now: datetime) -> list[RunnerSession]:
    """Take the steps and record them, all or none."""
    return record([_write(step, by, now) for step in steps])


def transition(
    session: RunnerSession, verb: Verb, target: State, *, by: Principal, now: datetime, **step: Any
) -> RunnerSession:
    """One step of one session; the keywords are Step's."""
    return apply([Step(session, verb, target, **step)], by=by, now=now)[0]


def note(
    session: RunnerSession, kind: str, *, by: Principal, now: datetime, **data: Any
) -> RunnerSession:
    """Record something about a locked session that is no step of its lifecycle."""
    state = State(session.state)
    return record([Change(session, None, state, state, by, now, data=data, kind=kind)])[0]


def _write(step: Step, by: Principal, now: datetime) -> Change:
    session, source = step.session, State(step.session.state)
    if step.target not in states.targets(step.verb, source):
        raise conflict(session, step.verb)
    values = {
        "state": step.target,
        "reason": step.reason,
        "version": session.version + 1,
        "updated_at": now,
        **step.changes,
    }
    if step.target not in LEASED:
        values["lease_expires_at"] = None
    if step.target in FINAL:
        values |= {"ended_at": now, "deadline_at": None, "not_before": None}
    changed = RunnerSession.objects.filter(
        id=session.id,
        organization_id=session.organization_id,
        state=source,
        lease_epoch=session.lease_epoch,
    ).update(**values)
    if changed != 1:
        raise conflict(session, step.verb)
    for name, value in values.items():
        setattr(session, name, value)
    return Change(
        session,
        step.verb,
        source,
        step.target,
        by,
        now,
        step.reason,
        step.data,
        step.kind,
        step.also,
    )


def record(changes: list[Change]) -> list[RunnerSession]:
    """Have the ledger record the changes; refuse to go on if nobody did."""
    answers = session_changed.send(sender=RunnerSession, changes=changes)
    recorded = [cast(list[Recorded], answer) for _, answer in answers if answer is not None]
    if len(recorded) != 1 or len(recorded[0]) != len(changes):
        raise RuntimeError("a session changed and no ledger recorded it")
    Transition.objects.bulk_create(
        row_of(change, place)
        for change, place in zip(changes, recorded[0], strict=True)
        if change.kind is None
    )
    _log_when_committed([change for change in changes if change.verb in _OF_NOTE])
    for organization_id in {c.session.organization_id for c in changes if _may_free_work(c)}:
        wakeups.announce(organization_id)
    return [change.session for change in changes]


# What an operator looks for in the log before dispatching again.
_OF_NOTE = frozenset({Verb.EXPIRE, Verb.TIME_OUT, Verb.LOSE, Verb.FORCE})


def _log_when_committed(changes: list[Change]) -> None:
    """One line for each lease that was lost, each forced cancel and each decision of time."""
    for change in changes:
        transaction.on_commit(partial(_log, change))


def _log(change: Change) -> None:
    log.warning(
        "session.settled",
        verb=str(change.verb),
        session=ids.encode("sess", change.session.id),
        epoch=change.session.lease_epoch,
        before=str(change.source),
        state=str(change.target),
        reason=change.reason,
        actor=change.by.actor,
    )


def _may_free_work(change: Change) -> bool:
    """Has something become claimable: this session, or one that waited for its slot?"""
    left_its_lease = change.source in LEASED and change.target not in LEASED
    return change.target is State.PENDING or left_its_lease


def row_of(change: Change, place: Recorded) -> Transition:
    session, claimed = change.session, change.verb is Verb.CLAIM
    return Transition(
        organization_id=session.organization_id,
        session_id=session.id,
        seq=place.seq,
        verb=change.verb or "",
        source=change.source or "",
        target=change.target,
        reason=change.reason,
        actor=change.by.actor,
        executor=session.lease_executor if claimed else {},
        claim_id=session.claim_id if claimed else "",
        lease_epoch=session.lease_epoch,
        at=place.at,
    )
