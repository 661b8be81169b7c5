"""Whether an artifact's bytes are still those that were stored, and what becomes of it if not.

A finding is kept on every artifact of the organization that has these bytes, and each change is on
the audit log: the session's own chain takes no such record once the session is final. What was
found broken or missing is not served until a later check finds the bytes good again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.db import connection

from grants import artifacts, storage
from grants.models import Artifact, ArtifactStatus
from grants.storage import BlobMissing
from keeptrusts_runners import ids
from keeptrusts_runners.errors import ContentBroken, ContentMissing
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.evidence.audit import Entry
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import queries as session_queries

log = structlog.get_logger(__name__)

DAMAGED = (ArtifactStatus.BROKEN, ArtifactStatus.MISSING)


@dataclass(frozen=True, slots=True)
class Finding:
    """What reading a blob's bytes back came to. `sha256` is that of the bytes found, None where
    there are none."""

    status: ArtifactStatus
    sha256: str | None
    size_bytes: int


class Reading:
    """Bytes of one blob read back, counted and hashed."""

    def __init__(self, sha256: str) -> None:
        self._expected = sha256
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def add(self, chunk: bytes) -> None:
        self._hash.update(chunk)
        self.size_bytes += len(chunk)

    @property
    def finding(self) -> Finding:
        """Once all bytes are read."""
        found = self._hash.hexdigest()
        good = found == self._expected
        status = ArtifactStatus.STORED if good else ArtifactStatus.BROKEN
        return Finding(status, found, self.size_bytes)


NOTHING = Finding(ArtifactStatus.MISSING, None, 0)


def examine(organization_id: UUID, sha256: str) -> Finding:
    """Read a blob back and say what was found. As long as its size takes."""
    reading = Reading(sha256)
    try:
        for chunk in storage.store().open_range(organization_id, sha256):
            reading.add(chunk)
    except BlobMissing:
        return NOTHING
    return reading.finding


# --- what a finding leaves -------------------------------------------------------------------

# Served by runner_artifact_blob. Whoever removes an artifact's content meanwhile has its row: the
# condition is asked again, and such a row is no longer one that a check may speak of.
_SETTLE = """
WITH found AS (
  SELECT id, status FROM runner_artifact
   WHERE organization_id = %(organization)s AND sha256 = %(sha256)s
     AND status IN ('stored', 'broken', 'missing')
     FOR NO KEY UPDATE)
UPDATE runner_artifact a SET status = %(status)s, checked_at = clock_timestamp()
  FROM found WHERE a.id = found.id
RETURNING a.id, found.status
"""
_VERBS = {
    ArtifactStatus.BROKEN: "artifact.broken",
    ArtifactStatus.MISSING: "artifact.missing",
    ArtifactStatus.STORED: "artifact.healed",
}


def settle(organization_id: UUID, sha256: str, finding: Finding, *, by: Principal) -> int:
    """Keep a finding on all artifacts that have this blob, in the present scope, and put on record
    those that it changes; how many."""
    status = finding.status.value
    given: dict[str, Any] = {"organization": organization_id, "sha256": sha256, "status": status}
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, given)
        changed = [key for key, before in cursor.fetchall() if before != finding.status]
    audit.record(organization_id, [_entry(key, sha256, finding, by) for key in changed])
    if changed and finding.status in DAMAGED:
        log.error(
            _VERBS[finding.status],
            sha256=sha256,
            artifacts=[ids.encode("art", key) for key in changed],
        )
    return len(changed)


def _entry(artifact_id: UUID, sha256: str, finding: Finding, by: Principal) -> Entry:
    found = bytes.fromhex(finding.sha256) if finding.sha256 else None
    detail = {"sha256": sha256, "size_bytes_found": finding.size_bytes}
    verb = _VERBS[finding.status]
    return Entry(verb, ids.encode("art", artifact_id), by.actor, after=found, detail=detail)


def report(artifact: Artifact, finding: Finding) -> None:
    """Keep what a download came upon. Within a request's transaction it is only logged: the
    refusal that follows undoes it, and the scrub comes by."""
    if connection.in_atomic_block:
        log.error(_VERBS[finding.status], sha256=artifact.sha256, artifacts=[str(artifact.id)])
        return
    by = principal.system(artifact.organization_id)
    with organization_scope(artifact.organization_id):
        settle(artifact.organization_id, artifact.sha256, finding, by=by)


# --- on demand -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One artifact's bytes, read back."""

    artifact: Artifact
    finding: Finding

    @property
    def verdict(self) -> str:
        good = self.finding.status == ArtifactStatus.STORED
        return "verified" if good else self.finding.status.value


def verify(session_id: UUID, artifact_id: UUID, *, by: Principal) -> Check:
    """Read an artifact's bytes back now, and keep what was found. Opens the scopes it needs: none
    is open while it reads. Raises NotFound, and as artifacts.require_content does."""
    by.require(Scope.AUDIT)
    with organization_scope(by.organization_id):
        session_queries.session(session_id, by=by)
        artifact = artifacts.artifact(session_id, artifact_id)
        if artifact.status not in DAMAGED:
            artifacts.require_content(artifact)
    finding = examine(artifact.organization_id, artifact.sha256)
    with organization_scope(by.organization_id):
        settle(artifact.organization_id, artifact.sha256, finding, by=by)
        artifact.refresh_from_db()
    return Check(artifact, finding)


# --- downloads -------------------------------------------------------------------------------


def require_good(artifact: Artifact) -> None:
    """Raises ContentBroken or ContentMissing for what the last check found, and for bytes that
    are gone or of another length now; and as artifacts.require_content does."""
    if artifact.status == ArtifactStatus.BROKEN:
        raise ContentBroken(sha256=artifact.sha256)
    if artifact.status == ArtifactStatus.MISSING:
        raise ContentMissing(sha256=artifact.sha256)
    artifacts.require_content(artifact)
    size = storage.store().size(artifact.organization_id, artifact.sha256)
    if size is None:
        report(artifact, NOTHING)
        raise ContentMissing(sha256=artifact.sha256)
    if size != artifact.size_bytes:
        report(artifact, Finding(ArtifactStatus.BROKEN, None, size))
        raise ContentBroken(sha256=artifact.sha256)


def head(artifact: Artifact, most: int) -> bytes:
    """The first bytes, `most` of them at most; where that is all, only if they have the digest.
    Raises as require_good does."""
    require_good(artifact)
    if artifact.size_bytes <= most:
        return b"".join(proved(artifact))
    chunks = storage.store().open_range(artifact.organization_id, artifact.sha256, 0, most)
    return b"".join(chunks)


def proved(artifact: Artifact) -> Iterator[bytes]:
    """All bytes in chunks, the last of them only if together they have the artifact's digest.
    Raises ContentBroken instead."""
    reading, held = Reading(artifact.sha256), b""
    for chunk in storage.store().open_range(artifact.organization_id, artifact.sha256):
        if held:
            yield held
        reading.add(chunk)
        held = chunk
    if reading.finding.status != ArtifactStatus.STORED:
        report(artifact, reading.finding)
        raise ContentBroken(sha256=artifact.sha256)
    if held:
        yield held


def record_download(artifact: Artifact, ranges: str, *, by: Principal) -> None:
    """Put on the audit log who is given which bytes: `ranges` as they are answered, empty for
    all. In the present scope, or in one of its own."""
    detail = {"sha256": artifact.sha256, **({"ranges": ranges} if ranges else {})}
    entry = Entry("artifact.downloaded", ids.encode("art", artifact.id), by.actor, detail=detail)
    organization_id = artifact.organization_id
    scope = nullcontext() if connection.in_atomic_block else organization_scope(organization_id)
    with scope:
        audit.record(organization_id, [entry])
