"""Uploads that go on over several requests (draft-ietf-httpbis-resumable-upload).

An upload is fenced like every write under a lease, by the epoch that it was begun under. It is no
artifact yet: the artifact's row, with the upload's id, comes when all bytes are in their place.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from grants import artifacts, blobs, partials, storage
from grants.artifacts import Description
from grants.models import Artifact
from grants.partials import Appender
from grants.storage import Blob
from grants.upload_models import Upload
from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import (
    DigestMismatch,
    LeaseLost,
    LimitReached,
    NotFound,
    PayloadTooLarge,
    UploadCompleted,
    UploadKindMismatch,
    UploadLengthInconsistent,
    UploadLost,
    UploadOffsetMismatch,
)
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from profiles.models import RunnerProfile
from sessions import claims, transitions
from sessions.models import RunnerSession

# From the last request that was acknowledged.
LIFETIME = timedelta(hours=24)
# Of one session at a time.
MAX_OPEN = 100


@dataclass(frozen=True, slots=True)
class Fence:
    """Who writes, to which session, under which lease."""

    session_id: UUID
    by: Principal
    lease_epoch: int | None

    def session(self) -> RunnerSession:
        """Locked. Raises as require_lease does."""
        session = transitions.lock(self.session_id, by=self.by)
        claims.require_lease(session, by=self.by, named_epoch=self.lease_epoch)
        return session


def begin(
    fence: Fence,
    description: Description,
    *,
    length: int | None = None,
    sha256: str = "",
    part_size_bytes: int | None = None,
) -> Upload:
    """Make room for an upload of `length` bytes, if that is known, and with this digest. Raises
    LimitReached, PayloadTooLarge."""
    session = fence.session()
    profile = RunnerProfile.objects.get(id=session.profile_id)
    room = blobs.room(session, profile)
    if length is not None:
        room.require(length)
        if length > room.max_bytes:
            raise PayloadTooLarge(limit_bytes=room.max_bytes)
    if Upload.objects.filter(session_id=session.id).count() >= MAX_OPEN:
        raise LimitReached("The session has as many uploads open as it may.", limit="open_uploads")
    upload = Upload.objects.create(
        organization_id=session.organization_id,
        session=session,
        name=description.name,
        kind=description.kind,
        media_type=description.media_type,
        retention=description.retention,
        length_bytes=length,
        max_bytes=room.max_bytes,
        sha256=sha256,
        part_size_bytes=part_size_bytes,
        lease_epoch=session.lease_epoch,
        created_by=fence.by.actor,
        expires_at=clock.now() + LIFETIME,
    )
    upload.refresh_from_db(fields=["created_at"])
    return upload


def find(session_id: UUID, upload_id: UUID) -> Upload | None:
    """None for one that is an artifact by now."""
    found = Upload.objects.filter(session_id=session_id, id=upload_id)
    return found.exclude(part_size_bytes__isnull=False, placed_sha256__gt="").first()


def appendable(fence: Fence, upload_id: UUID) -> Upload:
    """As `writable`. Raises UploadKindMismatch for one that does not come through this server."""
    upload = writable(fence, upload_id)
    if upload.is_direct:
        raise UploadKindMismatch
    return upload


def writable(fence: Fence, upload_id: UUID) -> Upload:
    """The upload, its session locked. Raises LeaseLost where the epoch that it was begun under is
    over, UploadCompleted, NotFound."""
    session = fence.session()
    upload = find(session.id, upload_id)
    if upload is None:
        raise _no_upload(session.id, upload_id)
    if upload.lease_epoch != session.lease_epoch:
        raise LeaseLost(
            current_state=session.state,
            lease_epoch=session.lease_epoch,
            named_epoch=upload.lease_epoch,
        )
    upload.session = session
    return upload


def _no_upload(session_id: UUID, upload_id: UUID) -> NotFound | UploadCompleted:
    done = Artifact.objects.filter(session_id=session_id, id=upload_id).first()
    if done is None:
        return NotFound()
    said = {"Upload-Complete": "?1", "Upload-Offset": str(done.size_bytes)}
    return UploadCompleted(headers=said, artifact_id=ids.encode("art", done.id))


def offset_of(upload: Upload) -> int:
    """How many bytes are here. Raises UploadLost where there were more."""
    if upload.is_direct:
        return 0 if upload.completed_at is None else upload.announced.size_bytes
    size = partials.size_of(upload.id)
    if size is None and upload.placed_sha256:
        # Its process died after the bytes came to their place: nothing is left to be sent.
        size = storage.store().size(upload.organization_id, upload.placed_sha256)
    if (size or 0) < upload.received_bytes:
        raise UploadLost
    return size or 0


def overtaken(fence: Fence, upload_id: UUID, offset: int) -> UploadOffsetMismatch:
    """What to tell a writer whose file another request has brought to its place. Raises as
    `writable` and `offset_of` do."""
    return partials.offset_mismatch(offset_of(writable(fence, upload_id)), offset)


def require_fit(upload: Upload, offset: int, coming: int, complete: bool) -> None:
    """What comes fits behind what is here. Raises UploadOffsetMismatch, PayloadTooLarge,
    UploadLengthInconsistent."""
    here = offset_of(upload)
    if offset != here:
        raise partials.offset_mismatch(here, offset)
    end, length = offset + coming, upload.length_bytes
    if length is not None and (end > length or (complete and end != length)):
        raise UploadLengthInconsistent(length_bytes=length)
    if end > upload.max_bytes:
        raise PayloadTooLarge(limit_bytes=upload.max_bytes, headers=limits_of(upload))


def limits_of(upload: Upload) -> dict[str, str]:
    """The header that says how much may come, and for how long."""
    seconds = max(0, int((upload.expires_at - clock.now()).total_seconds()))
    return {"Upload-Limit": f"max-size={upload.max_bytes}, max-age={seconds}"}


def set_length(upload: Upload, length: int | None) -> None:
    """Raises UploadLengthInconsistent for another than was said before, PayloadTooLarge."""
    if length is None or length == upload.length_bytes:
        return
    if upload.length_bytes is not None or length < upload.received_bytes:
        raise UploadLengthInconsistent(length_bytes=upload.length_bytes)
    if length > upload.max_bytes:
        raise PayloadTooLarge(limit_bytes=upload.max_bytes, headers=limits_of(upload))
    Upload.objects.filter(id=upload.id).update(length_bytes=length)
    upload.length_bytes = length


def acknowledge(fence: Fence, upload_id: UUID, received: int) -> Upload:
    """So many bytes are durable here, and are never asked for again."""
    upload = writable(fence, upload_id)
    upload.received_bytes = max(upload.received_bytes, received)
    upload.expires_at = clock.now() + LIFETIME
    Upload.objects.filter(id=upload.id).update(
        received_bytes=upload.received_bytes, expires_at=upload.expires_at
    )
    return upload


def cancel(upload: Upload) -> None:
    """Nothing of it is left. Its session is locked (`writable`)."""
    Upload.objects.filter(id=upload.id).delete()
    partials.discard(upload.id)


# --- the end ---------------------------------------------------------------------------------


def finish(fence: Fence, upload: Upload, written: Appender) -> Artifact:
    """All bytes are here: bring them to their place, then write the row. Opens scopes of its own.

    Raises DigestMismatch, after which nothing is kept, and as `writable` and `seal` do.
    """
    with written.held():
        blob = written.blob()
        if upload.sha256 and upload.sha256 != blob.sha256:
            _give_up(upload)
            raise DigestMismatch(
                received=blob.sha256, announced=upload.sha256, headers={"Upload-Complete": "?1"}
            )
        with organization_scope(upload.organization_id):
            blobs.reserve(upload.organization_id, blob)
            Upload.objects.filter(id=upload.id).update(placed_sha256=blob.sha256)
        storage.store().put(upload.organization_id, written.path, blob.sha256)
    with organization_scope(upload.organization_id):
        return seal(fence, upload.id, blob)


def _give_up(upload: Upload) -> None:
    with organization_scope(upload.organization_id):
        Upload.objects.filter(id=upload.id).delete()
    partials.discard(upload.id)


def seal(fence: Fence, upload_id: UUID, blob: Blob) -> Artifact:
    """The upload becomes the artifact, under the lease that is current now."""
    upload = writable(fence, upload_id)
    described = Description(upload.name, upload.kind, upload.media_type, upload.retention)
    made = artifacts.seal(
        fence.session_id,
        blob,
        described,
        by=fence.by,
        lease_epoch=fence.lease_epoch,
        artifact_id=upload.id,
    )
    Upload.objects.filter(id=upload.id).delete()
    return made
