"""The content of artifacts goes: because a person says so, or because its time is over.

The row stays, with its digest, and `artifact.removed` in the session's chain says why. The bytes
themselves are collected soon after, once no artifact of the organization names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from grants import artifacts, blobs, ledger
from grants.custody_models import LegalHold
from grants.ledger import Record
from grants.models import Artifact, ArtifactStatus, Level, Retention
from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import EvidenceHeld, PermissionDenied
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from sessions import transitions
from sessions.models import RunnerSession


def remove(
    session_id: UUID,
    artifact_id: UUID,
    reason: str,
    *,
    by: Principal,
    check: Callable[[Artifact], None] = lambda artifact: None,
) -> Artifact:
    """Remove an artifact's content for good. Again is the same. `check` sees what is there, under
    the lock, and may refuse.

    Raises NotFound, PermissionDenied for machines, EvidenceHeld.
    """
    by.require(Scope.WRITE)
    if not by.is_person:
        raise PermissionDenied("Only people remove what was produced.")
    session = transitions.lock(session_id, by=by)
    found = artifacts.artifact(session_id, artifact_id)
    check(found)
    if found.status != ArtifactStatus.REMOVED:
        require_no_hold(session)
        take_away(session, [found], reason, by=by)
    return found


def require_no_hold(session: RunnerSession) -> None:
    """Raises EvidenceHeld while somebody holds the locked session's evidence."""
    if LegalHold.objects.filter(session_id=session.id).exists():
        raise EvidenceHeld


def expire(session: RunnerSession, *, by: Principal, evidence: bool) -> int:
    """Remove the content of a locked session whose time is over: all of it with its `evidence`,
    else what is kept by the profile's word on artifacts; how many. Raises EvidenceHeld."""
    require_no_hold(session)
    found = Artifact.objects.filter(session_id=session.id)
    found = found.exclude(status=ArtifactStatus.REMOVED)
    if not evidence:
        found = found.filter(retention=Retention.STANDARD)
    expired = list(found.order_by("id"))
    take_away(session, expired, "retention", by=by)
    return len(expired)


def take_away(
    session: RunnerSession,
    removed: Sequence[Artifact],
    reason: str,
    *,
    by: Principal,
    status: ArtifactStatus = ArtifactStatus.REMOVED,
) -> None:
    """The content of these artifacts of a locked session is gone from now on."""
    if not removed:
        return
    changes: dict[str, Any] = {
        "status": status,
        "removed_at": clock.now(),
        "removed_by": by.actor,
        "removal_reason": reason,
    }
    Artifact.objects.filter(id__in=[each.id for each in removed]).update(**changes)
    for each in removed:
        for name, value in changes.items():
            setattr(each, name, value)
    records = [_record(session, each, reason, by) for each in removed]
    ledger.append({session.id: records})
    blobs.release(session, removed)


def _record(session: RunnerSession, removed: Artifact, reason: str, by: Principal) -> Record:
    return Record(
        kind="artifact.removed",
        actor=by.actor,
        lease_epoch=session.lease_epoch,
        level=Level.WARNING,
        message=f"Content of {removed.name} removed",
        data={
            "artifact_id": ids.encode("art", removed.id),
            "sha256": removed.sha256,
            "reason": reason,
        },
    )
