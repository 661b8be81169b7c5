"""Artifacts: bytes first, then the row and its record together, so that one is seen only whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from grants import blobs, ledger
from grants.blobs import Room
from grants.drafts import Draft
from grants.ledger import Record
from grants.models import Artifact, ArtifactStatus, Retention
from grants.storage import Blob
from keeptrusts_runners import ids
from keeptrusts_runners.errors import ArtifactNotStored, NotFound, field_error
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from profiles.models import RunnerProfile
from sessions import claims, transitions
from sessions.models import RunnerSession

# Control characters, line ends, and marks that turn the direction of what is shown after them.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_KIND = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_MEDIA_TYPE = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]{0,62}/[a-zA-Z0-9][a-zA-Z0-9!#$&^_.+-]{0,62}"
)


@dataclass(frozen=True, slots=True)
class Description:
    """What an uploader says of the bytes. The name is text for people, never a path."""

    name: str
    kind: str = "file"
    media_type: str = "application/octet-stream"
    retention: str = Retention.STANDARD


def describe(
    name: str, kind: str, media_type: str, retention: str = Retention.STANDARD
) -> Description:
    """Check an uploader's words. Raises Invalid naming the field."""
    if not 1 <= len(name) <= 255 or _CONTROL.search(name) or not name.strip():
        raise field_error("/name", "invalid", "Give a name of 1 to 255 printable characters.")
    if not _KIND.fullmatch(kind):
        raise field_error("/kind", "invalid", "Give a lower-case word, such as log or bundle.")
    bare = media_type.partition(";")[0].strip().lower() or "application/octet-stream"
    if not _MEDIA_TYPE.fullmatch(bare):
        raise field_error("/media_type", "invalid", "This is not a media type.")
    if retention not in Retention.values:
        raise field_error("/retention", "invalid", f"Give one of {', '.join(Retention.values)}.")
    return Description(name, kind, bare, retention)


def room(session_id: UUID, *, by: Principal, lease_epoch: int | None = None) -> Room:
    """How large an artifact of this session may be. Asked before the first byte is read, so that
    a writer without a lease is refused without an upload. Raises as require_lease does, and
    LimitReached."""
    session = transitions.lock(session_id, by=by)
    claims.require_lease(session, by=by, named_epoch=lease_epoch)
    return blobs.room(session, RunnerProfile.objects.get(id=session.profile_id))


def keep(draft: Draft) -> Blob:
    """Bring a whole draft to its place. Opens a scope of its own: the reservation is committed
    before the bytes move, so that whatever happens next they are known."""
    blob = draft.blob
    with organization_scope(draft.organization_id):
        blobs.reserve(draft.organization_id, blob)
    draft.store()
    return blob


def seal(
    session_id: UUID,
    blob: Blob,
    description: Description,
    *,
    by: Principal,
    lease_epoch: int | None = None,
    artifact_id: UUID | None = None,
) -> Artifact:
    """Write the row for bytes that are safely stored, under the lease that is current now. An
    artifact that was an upload has its id."""
    session = transitions.lock(session_id, by=by)
    claims.require_lease(session, by=by, named_epoch=lease_epoch)
    artifact = write(session, blob, description, by=by, artifact_id=artifact_id)
    blobs.take(session, RunnerProfile.objects.get(id=session.profile_id), blob)
    return artifact


def write(
    session: RunnerSession,
    blob: Blob,
    description: Description,
    *,
    by: Principal,
    artifact_id: UUID | None = None,
    created_by: str = "",
) -> Artifact:
    """The row and its record, in a locked session whose lease was asked for. Its room is taken by
    the caller; `created_by` is who sent the bytes, where `by` did not."""
    artifact = Artifact.objects.create(
        id=artifact_id or ids.new(),
        organization_id=session.organization_id,
        session=session,
        name=description.name,
        kind=description.kind,
        media_type=description.media_type,
        retention=description.retention,
        size_bytes=blob.size_bytes,
        sha256=blob.sha256,
        lease_epoch=session.lease_epoch,
        created_by=created_by or by.actor,
    )
    artifact.refresh_from_db(fields=["created_at"])
    ledger.append({session.id: [record_of(artifact, session, by)]})
    return artifact


def record_of(artifact: Artifact, session: RunnerSession, by: Principal) -> Record:
    data: Mapping[str, Any] = {
        "artifact_id": ids.encode("art", artifact.id),
        "name": artifact.name,
        "kind": artifact.kind,
        "media_type": artifact.media_type,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
    } | claims.on_behalf(session, by)
    return Record(
        kind="artifact.stored",
        actor=by.actor,
        lease_epoch=session.lease_epoch,
        message=f"{artifact.name} stored, {artifact.size_bytes} bytes",
        data=data,
    )


def artifact(session_id: UUID, artifact_id: UUID) -> Artifact:
    """Raises NotFound, also for another session's."""
    found = Artifact.objects.filter(session_id=session_id, id=artifact_id).first()
    if found is None:
        raise NotFound
    return found


def require_content(artifact: Artifact) -> None:
    """Raises NotFound for content that was removed, ArtifactNotStored for what is not, or no
    longer, known to be whole."""
    if artifact.status == ArtifactStatus.REMOVED:
        raise NotFound("The artifact's content was removed.")
    if artifact.status != ArtifactStatus.STORED:
        raise ArtifactNotStored(artifact_status=artifact.status)
