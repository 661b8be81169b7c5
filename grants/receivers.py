"""What follows from a session's change, in its transaction: the record, and the end of grants."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from uuid import UUID

from django.dispatch import receiver

from grants import consequences, ledger
from grants.ledger import Record
from grants.models import Level
from sessions.models import RunnerSession
from sessions.signals import Change, Recorded, session_changed
from sessions.states import State, Verb

_LEVELS = {
    State.FAILED: Level.ERROR,
    State.LOST: Level.ERROR,
    State.TIMED_OUT: Level.ERROR,
    State.EXPIRED: Level.WARNING,
    State.CANCELLED: Level.WARNING,
}


@receiver(session_changed, sender=RunnerSession, dispatch_uid="grants.record_changes")
def record_changes(changes: list[Change], **_: Any) -> list[Recorded]:
    """Record every change, with what it did to the session's grants; answer where each stands."""
    opened = [change.session for change in changes if change.verb is Verb.DISPATCH]
    if opened:
        ledger.open_heads(opened[0].organization_id, [session.id for session in opened])
    of_grants = consequences.follow(changes)
    records: dict[UUID, list[Record]] = defaultdict(list)
    for change in changes:
        records[change.session.id] += [
            record_of(change),
            *(also_of(change, kind, data) for kind, data in change.also),
            *of_grants.get(change.session.id, ()),
        ]
    places = ledger.append(records)
    return [places[change.session.id][0] for change in changes]


def record_of(change: Change) -> Record:
    data = dict(change.data)
    if change.kind is None and change.verb is not None:
        data |= {
            "verb": change.verb.value,
            "from": change.source.value if change.source else None,
            "to": change.target.value,
            "reason": change.reason or None,
            "attempt": change.session.lease_epoch,
        }
    return Record(
        kind=change.kind or f"state.{change.target.value}",
        actor=change.by.actor,
        lease_epoch=change.session.lease_epoch,
        level=_level(change),
        message=_message(change),
        data=data,
    )


def _level(change: Change) -> str:
    if change.kind is not None:
        return Level.INFO
    if change.verb in (Verb.LOSE, Verb.FAIL) and change.target is State.PENDING:
        return Level.WARNING
    return _LEVELS.get(change.target, Level.INFO)


def _message(change: Change) -> str:
    if change.kind == "checkpoint.recorded":
        return f"Checkpoint {change.data['number']} recorded"
    if change.verb is None:
        return str(change.data.get("comment") or _words(change.kind or ""))
    if change.source == change.target:
        return f"{change.verb.value} while {change.target.value}"
    start = f"{change.source.value} → " if change.source else ""
    because = f" ({change.reason})" if change.reason else ""
    return f"{start}{change.target.value}{because}"


def also_of(change: Change, kind: str, data: Any) -> Record:
    level = Level.WARNING if kind in ("lease.expired", "lease.revoked") else Level.INFO
    return Record(
        kind=kind,
        actor=change.by.actor,
        lease_epoch=change.session.lease_epoch,
        level=level,
        message=_words(kind),
        data=dict(data),
    )


def _words(kind: str) -> str:
    """`lease.expired` as people read it."""
    return kind.replace(".", " ").capitalize()
