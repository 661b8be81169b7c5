"""People's verbs on evidence that is there: annotate it, hold it, redact it.

Each locks the session, and leaves a record in its chain. What retention has removed takes none.
"""

from __future__ import annotations

from uuid import UUID

from django.db import connection

from grants import ledger, removals
from grants.custody_models import LegalHold
from grants.ledger import Record
from grants.models import TOMBSTONE, Event, Level
from keeptrusts_runners import clock, ids
from keeptrusts_runners.api import idempotency
from keeptrusts_runners.errors import (
    Conflict,
    NotFound,
    PermissionDenied,
)
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from sessions import transitions
from sessions.models import RunnerSession


def _locked(session_id: UUID, by: Principal) -> RunnerSession:
    """Raises NotFound, PermissionDenied for machines, EvidenceExpired."""
    if not by.is_person:
        raise PermissionDenied("Only people annotate, hold and redact evidence.")
    session = transitions.lock(session_id, by=by)
    transitions.require_evidence(session)
    return session


def _record(session: RunnerSession, kind: str, by: Principal, message: str, **data: object) -> int:
    record = Record(
        kind=kind,
        actor=by.actor,
        lease_epoch=session.lease_epoch,
        level=Level.WARNING if kind == TOMBSTONE else Level.INFO,
        message=message,
        data=data or None,
    )
    return ledger.append({session.id: [record]})[session.id][0].seq


def annotate(session_id: UUID, message: str, *, by: Principal) -> Event:
    """A person's note, in every state and under no lease; outside completeness."""
    by.require(Scope.WRITE)
    session = _locked(session_id, by)
    return Event.objects.get(session_id=session.id, seq=_record(session, "note", by, message))


# --- holds -----------------------------------------------------------------------------------


def hold_of(session_id: UUID, *, by: Principal) -> LegalHold:
    """Raises NotFound, also where there is none."""
    found = LegalHold.objects.filter(organization_id=by.organization_id, session_id=session_id)
    hold = found.first()
    if hold is None:
        raise NotFound
    return hold


def place_hold(session_id: UUID, reason: str, *, by: Principal) -> LegalHold:
    """From now on nothing of it is redacted and nothing expires. Again with the same reason is
    the same; another reason takes its place, and both are in the chain."""
    by.require(Scope.AUDIT)
    session = _locked(session_id, by)
    held = LegalHold.objects.filter(session_id=session.id).first()
    if held is not None and held.reason == reason:
        return held
    placed = {"reason": reason, "placed_by": by.actor, "placed_at": clock.now()}
    hold, _ = LegalHold.objects.update_or_create(
        session_id=session.id, organization_id=session.organization_id, defaults=placed
    )
    _record(session, "hold.placed", by, "Legal hold placed", reason=reason)
    return hold


def lift_hold(session_id: UUID, *, by: Principal, reason: str = "") -> None:
    """Retention and redaction are possible again. Raises NotFound where there is no hold."""
    by.require(Scope.AUDIT)
    session = _locked(session_id, by)
    lifted, _ = LegalHold.objects.filter(session_id=session.id).delete()
    if not lifted:
        raise NotFound
    why = {"reason": reason} if reason else {}
    _record(session, "hold.lifted", by, "Legal hold lifted", **why)


# --- redaction -------------------------------------------------------------------------------

# The owner's function: nobody else may change a record, and it can do this alone. It repeats that
# there is no hold.
_REDACT = "SELECT kt_redact_events(%s, %s, %s)"


def redact(session_id: UUID, event_id: UUID, reason: str, *, by: Principal) -> Event:
    """Destroy a record's body and salt for good; its digest and a tombstone stay, and the chain
    still verifies. Again is the same.

    Raises NotFound, EvidenceHeld, EvidenceExpired, and Conflict for a tombstone.
    """
    by.require(Scope.AUDIT)
    session = _locked(session_id, by)
    event = Event.objects.filter(session_id=session.id, id=event_id).first()
    if event is None:
        raise NotFound
    if event.kind == TOMBSTONE:
        raise Conflict("A tombstone is what says that a record was redacted. It stays.")
    if event.body is None:
        return event
    _destroy(session, event.seq, event.seq)
    # An answer that is kept for a repeat may have the body too.
    idempotency.forget(by.organization_id, ids.encode("evt", event.id))
    _record(session, TOMBSTONE, by, "Record redacted", ranges=[[event.seq] * 2], reason=reason)
    return Event.objects.get(session_id=session.id, seq=event.seq)


def _destroy(session: RunnerSession, first: int, last: int) -> int:
    removals.require_no_hold(session)
    with connection.cursor() as cursor:
        cursor.execute(_REDACT, [session.id, first, last])
        (redacted,) = cursor.fetchone()
    return int(redacted)


def expire(session: RunnerSession, *, by: Principal) -> int:
    """Redact all of a locked, ended session and remove its artifacts' content, because its time is
    over; how many records.

    Raises EvidenceHeld.
    """
    head = ledger.lock_heads([session.id])[session.id]
    redacted = _destroy(session, 1, head.seq)
    message = "Evidence expired by the profile's retention"
    _record(session, TOMBSTONE, by, message, ranges=[[1, head.seq]], reason="retention")
    removals.expire(session, by=by, evidence=True)
    RunnerSession.objects.filter(id=session.id).update(evidence_expired_at=head.now)
    return redacted
