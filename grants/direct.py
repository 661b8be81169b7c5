"""Direct uploads: the bytes go from their sender to the store, and never through this server.

One is fenced like every upload (grants.resumable), by the epoch that it was begun under, when it
begins, when addresses are asked for, and when it completes; and once more when the artifact's row
is written, after the bytes were read back (grants.readback). A session that ends before that has no
such artifact: after its end the chain takes no record of one. Its room is taken at the beginning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from uuid import UUID

import structlog
from django.db import connections
from django.db.models import F

from grants import artifacts, blobs, ledger, resumable, storage
from grants.artifacts import Description
from grants.integrity import Finding
from grants.ledger import Record
from grants.models import ArtifactStatus, Level
from grants.resumable import Fence
from grants.storage import Blob, Part
from grants.upload_models import Upload
from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import (
    DigestMismatch,
    DomainError,
    LeaseLost,
    NotFound,
    NotLeased,
    UploadCompleted,
    UploadKindMismatch,
)
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.evidence.audit import Entry
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from profiles.models import RunnerProfile
from sessions import transitions
from sessions.states import LEASED

log = structlog.get_logger(__name__)

# Services take 10,000 parts, and none but the last below 5 MiB.
PART_BYTES = 16 << 20
_MOST_PARTS = 10_000
ADDRESS_SECONDS = 3600
# Uploads of one pass of maintenance.
MOST = 50


def begin(fence: Fence, description: Description, blob: Blob) -> Upload:
    """Take the room of a direct upload. Raises DirectUploadsUnsupported, LimitReached,
    PayloadTooLarge, and as require_lease does."""
    session = fence.session()
    storage.direct()
    upload = resumable.begin(
        fence,
        description,
        length=blob.size_bytes,
        sha256=blob.sha256,
        part_size_bytes=max(PART_BYTES, -(-blob.size_bytes // _MOST_PARTS)),
    )
    blobs.reserve(session.organization_id, blob)
    blobs.take(session, RunnerProfile.objects.get(id=session.profile_id), blob)
    return upload


def parts_of(upload: Upload) -> list[Part]:
    """All of them, the last as long as what is left."""
    size, each = upload.announced.size_bytes, upload.part_size_bytes or 1
    starts = enumerate(range(0, size, each), start=1)
    return [Part(number, min(each, size - start)) for number, start in starts]


def open_upload(fence: Fence, upload_id: UUID) -> Upload:
    """A direct upload that takes parts, its session locked. Raises UploadKindMismatch,
    UploadCompleted, and as resumable.writable does."""
    upload = _writable(fence, upload_id)
    if upload.completed_at is not None:
        raise UploadCompleted(artifact_id=ids.encode("art", upload.id))
    return upload


def _writable(fence: Fence, upload_id: UUID) -> Upload:
    upload = resumable.writable(fence, upload_id)
    if not upload.is_direct:
        raise UploadKindMismatch
    return upload


def addresses(upload: Upload, parts: Iterable[Part]) -> list[str]:
    """Where anybody may send these parts within ADDRESS_SECONDS. Opens scopes of its own."""
    store, multipart_id = storage.direct(), _expected(upload)
    return [
        store.address(upload.organization_id, upload.id, multipart_id, part, ADDRESS_SECONDS)
        for part in parts
    ]


def _expected(upload: Upload) -> str:
    """How the store names the upload. Two that ask for the first time agree on one; what the other
    began goes when the upload does."""
    if upload.multipart_id:
        return upload.multipart_id
    begun = storage.direct().begin(upload.organization_id, upload.id)
    with organization_scope(upload.organization_id):
        rows = Upload.objects.filter(id=upload.id)
        rows.filter(multipart_id="").update(multipart_id=begun)
        named = rows.values_list("multipart_id", flat=True).first()
    if named is None:
        storage.direct().discard(upload.organization_id, upload.id)
        raise NotFound("This upload is no more.")
    return named


def complete(fence: Fence, upload_id: UUID) -> Upload:
    """The store has all parts: nothing of them changes any more, and they are to be read back.
    Opens scopes of its own. Again is the same, but for one that was read back and refused.

    Raises UploadIncomplete, DigestMismatch, UploadCompleted, and as `open_upload` does.
    """
    with organization_scope(fence.by.organization_id):
        upload = _writable(fence, upload_id)
    if upload.completed_at is None:
        own = upload.organization_id, upload.id, _expected(upload)
        storage.direct().complete(*own, parts_of(upload))
        with organization_scope(upload.organization_id):
            upload = _writable(fence, upload_id)
            rows = Upload.objects.filter(id=upload.id, completed_at=None)
            rows.update(completed_at=clock.now(), received_bytes=F("length_bytes"))
            upload.refresh_from_db(fields=["completed_at", "received_bytes"])
    if upload.refused_at is not None:
        raise DigestMismatch(received=upload.found_sha256, announced=upload.sha256)
    return upload


# --- after they were read back ---------------------------------------------------------------


def _for_the_server(upload: Upload) -> tuple[Upload, Principal]:
    """As the lease that it was begun under holds it, its session locked. Raises LeaseLost or
    NotLeased where its session has gone on without it."""
    by = principal.system(upload.organization_id)
    return resumable.writable(Fence(upload.session_id, by, upload.lease_epoch), upload.id), by


def waiting(organization_id: UUID, upload_id: UUID) -> Upload | None:
    """An upload that is to be read back. None where its session has gone on without it: what is
    left of it is collected."""
    with organization_scope(organization_id):
        found = Upload.objects.filter(id=upload_id).first()
        try:
            return _for_the_server(found)[0] if found else None
        except (LeaseLost, NotLeased):
            return None


def seal(upload: Upload) -> None:
    """The upload, whose bytes are in their place, becomes the artifact. Raises LeaseLost or
    NotLeased where its session has gone on without it."""
    with organization_scope(upload.organization_id):
        upload, by = _for_the_server(upload)
        described = Description(upload.name, upload.kind, upload.media_type, upload.retention)
        artifacts.write(
            upload.session,
            upload.announced,
            described,
            by=by,
            artifact_id=upload.id,
            created_by=upload.created_by,
        )
        Upload.objects.filter(id=upload.id).update(placed_sha256=upload.sha256)


def refuse(upload: Upload, finding: Finding) -> None:
    """The bytes are not what they were said to be: nothing of them is kept but this record.
    Raises as `seal` does."""
    with organization_scope(upload.organization_id):
        upload, by = _for_the_server(upload)
        rows = Upload.objects.filter(id=upload.id, refused_at=None)
        if rows.update(refused_at=clock.now(), found_sha256=finding.sha256 or ""):
            ledger.append({upload.session_id: [_refusal(upload, finding, by)]})
            blobs.release(upload.session, [upload.announced])
    log.warning("artifact.refused", artifact=ids.encode("art", upload.id))


def _refusal(upload: Upload, finding: Finding, by: Principal) -> Record:
    missing = finding.status == ArtifactStatus.MISSING
    return Record(
        kind="artifact.refused",
        actor=by.actor,
        lease_epoch=upload.lease_epoch,
        level=Level.WARNING,
        message=f"{upload.name} is not what it was said to be, and not stored",
        data={
            "artifact_id": ids.encode("art", upload.id),
            "name": upload.name,
            "reason": "missing" if missing else "digest_mismatch",
            "sha256": upload.sha256,
            "size_bytes": upload.length_bytes,
            "found_sha256": finding.sha256,
            "found_size_bytes": finding.size_bytes,
        },
    )


# --- the end of those that become nothing ----------------------------------------------------

# Few rows are direct uploads. Of a lease that is over nobody can go on, nor is one sealed.
_LEFT = """
SELECT u.id, u.organization_id FROM runner_upload u JOIN runner_session s ON s.id = u.session_id
 WHERE u.part_size_bytes IS NOT NULL
   AND (u.placed_sha256 <> '' OR s.lease_epoch <> u.lease_epoch OR s.state <> ALL(%s)
        OR (u.expires_at < clock_timestamp() AND u.completed_at IS NULL))
 ORDER BY random() LIMIT %s
"""


def collect() -> Counter[str]:
    """Remove what is left of direct uploads that became an artifact, or never will; counts. One
    whose store is away waits, and holds up no other."""
    counts: Counter[str] = Counter()
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_LEFT, [sorted(LEASED), MOST])
        left = cursor.fetchall()
    for upload_id, organization_id in left:
        with organization_scope(organization_id):
            upload = Upload.objects.filter(id=upload_id).first()
        if upload is None:
            continue
        try:
            discard(upload)
            counts["uploads_removed"] += 1
        except (DomainError, OSError) as error:
            log.error("uploads.discard_failed", upload=str(upload_id), reason=str(error))
            counts["failed"] += 1
    return counts


def discard(upload: Upload) -> None:
    """Nothing of the upload is left, its room is free, and no address of it works. Opens a scope
    of its own."""
    storage.direct().discard(upload.organization_id, upload.id)
    with organization_scope(upload.organization_id):
        by = principal.system(upload.organization_id)
        session = transitions.lock(upload.session_id, by=by)
        found = Upload.objects.filter(id=upload.id).first()
        if found is None:
            return
        found.delete()
        if found.placed_sha256 or found.refused_at is not None:
            return
        blobs.release(session, [found.announced])
        if found.completed_at is not None:
            # It had been accepted: that it is no artifact is on record.
            entry = Entry(
                "artifact.discarded",
                ids.encode("art", upload.id),
                by.actor,
                detail={"sha256": found.sha256, "session_id": ids.encode("sess", session.id)},
            )
            audit.record(found.organization_id, [entry])
