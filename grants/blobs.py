"""Which bytes the store has, who names them, and how much room that is.

A blob's row is there before its bytes are, and goes before they go: `reserve` commits, then the
bytes come to their place, then `take` counts the artifact that names them. What nobody names, and
nobody has reserved for an hour, is collected. So nothing looks through the store for leftovers,
and no collection meets bytes that are about to be named. Locks come after the ledger head: the
blob, then the usage of the profile and of the organization.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, connections, transaction

from grants import storage
from grants.artifact_models import StorageUsage, UsageOf
from grants.models import Artifact
from grants.storage import Blob
from keeptrusts_runners.errors import DomainError, LimitReached, StorageUnavailable
from profiles.models import RunnerProfile
from sessions.models import RunnerSession

log = structlog.get_logger(__name__)

# How long somebody may take from the reservation of a blob to the row that names it.
GRACE_SECONDS = 3600
# Blobs of one pass of maintenance.
MOST = 500

_RESERVE = """
INSERT INTO runner_blob (organization_id, sha256, size_bytes, artifacts, reserved_at)
VALUES (%s, %s, %s, 0, clock_timestamp())
    ON CONFLICT (organization_id, sha256) DO UPDATE SET reserved_at = excluded.reserved_at
"""
# No row: it was collected, since more than the grace has passed.
_TAKE = """
UPDATE runner_blob SET artifacts = artifacts + 1
 WHERE organization_id = %s AND sha256 = %s RETURNING artifacts
"""
_RELEASE = """
UPDATE runner_blob SET artifacts = artifacts - 1
 WHERE organization_id = %s AND sha256 = %s RETURNING artifacts
"""
# One statement, in the order of the locks.
_ADD = """
INSERT INTO runner_storage_usage AS u
       (organization_id, owner_id, kind, profile_id, artifacts, size_bytes)
VALUES (%(organization)s, %(session)s, 'session', %(profile)s, %(artifacts)s, %(size)s),
       (%(organization)s, %(profile)s, 'profile', NULL, %(artifacts)s, %(size)s),
       (%(organization)s, %(organization)s, 'organization', NULL, %(artifacts)s, %(held)s)
    ON CONFLICT (organization_id, owner_id) DO UPDATE
   SET artifacts = u.artifacts + excluded.artifacts, size_bytes = u.size_bytes + excluded.size_bytes
RETURNING u.kind, u.artifacts, u.size_bytes
"""
_SUBTRACT = """
UPDATE runner_storage_usage u
   SET artifacts = u.artifacts - %(artifacts)s,
       size_bytes = u.size_bytes - CASE kind WHEN 'organization' THEN %(held)s ELSE %(size)s END
 WHERE u.organization_id = %(organization)s AND u.owner_id = %(owner)s
"""


@dataclass(frozen=True, slots=True)
class Room:
    """What is still free for one artifact: `max_bytes`, and of which limit that is."""

    max_bytes: int
    limit: str

    def require(self, size_bytes: int) -> None:
        """Raises LimitReached where a quota leaves less than this."""
        if self.limit != "max_artifact_bytes" and size_bytes > self.max_bytes:
            raise _reached(self.limit)


def reserve(organization_id: UUID, blob: Blob) -> None:
    """Say that these bytes are about to come to their place. Commit before they do."""
    with connection.cursor() as cursor:
        cursor.execute(_RESERVE, [organization_id, blob.sha256, blob.size_bytes])


# --- what is free ----------------------------------------------------------------------------


def room(session: RunnerSession, profile: RunnerProfile) -> Room:
    """For one more artifact of this session, as things are now. Raises LimitReached."""
    used = _used(session)
    if used.get(session.id, (0, 0))[0] >= profile.max_artifacts:
        raise _reached("max_artifacts")
    free = [Room(profile.max_artifact_bytes, "max_artifact_bytes")]
    for owner, limit, quota in _quotas(session, profile):
        free.append(Room(quota - used.get(owner, (0, 0))[1], limit))
    least = min(free, key=lambda each: each.max_bytes)
    least.require(1)
    return least


def _used(session: RunnerSession) -> dict[UUID, tuple[int, int]]:
    owners = [session.id, session.profile_id, session.organization_id]
    rows = StorageUsage.objects.filter(
        organization_id=session.organization_id, owner_id__in=owners
    ).values_list("owner_id", "artifacts", "size_bytes")
    return {owner: (artifacts, size) for owner, artifacts, size in rows}


def _quotas(session: RunnerSession, profile: RunnerProfile) -> Iterable[tuple[UUID, str, int]]:
    if profile.max_stored_bytes is not None:
        yield session.profile_id, "max_stored_bytes", profile.max_stored_bytes
    if settings.ARTIFACT_QUOTA_BYTES:
        yield session.organization_id, "organization_bytes", settings.ARTIFACT_QUOTA_BYTES


_LIMITS = {
    "max_artifacts": "The session has as many artifacts as it may.",
    "max_stored_bytes": "The profile's sessions have stored as much as they may.",
    "organization_bytes": "The organization has stored as much as it may.",
}


def _reached(limit: str) -> LimitReached:
    return LimitReached(_LIMITS[limit], limit=limit)


# --- who names them --------------------------------------------------------------------------


def take(session: RunnerSession, profile: RunnerProfile, blob: Blob) -> None:
    """One more artifact of this session names these bytes. Raises LimitReached, and
    StorageUnavailable where the reservation is over."""
    named = _count(_TAKE, session.organization_id, blob.sha256)
    if named is None:
        raise StorageUnavailable("The upload took too long. Send it again.", retry_after=1)
    given: dict[str, Any] = {
        "organization": session.organization_id,
        "profile": session.profile_id,
        "session": session.id,
        "artifacts": 1,
        "size": blob.size_bytes,
        "held": blob.size_bytes if named == 1 else 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(_ADD, given)
        used = {kind: (artifacts, size) for kind, artifacts, size in cursor.fetchall()}
    _require_limits(profile, used)


def _require_limits(profile: RunnerProfile, used: dict[str, tuple[int, int]]) -> None:
    """Under the locks that the change has taken."""
    if used[UsageOf.SESSION][0] > profile.max_artifacts:
        raise _reached("max_artifacts")
    most = profile.max_stored_bytes
    if most is not None and used[UsageOf.PROFILE][1] > most:
        raise _reached("max_stored_bytes")
    if 0 < settings.ARTIFACT_QUOTA_BYTES < used[UsageOf.ORGANIZATION][1]:
        raise _reached("organization_bytes")


def release(session: RunnerSession, named: Iterable[Artifact | Blob]) -> None:
    """These artifacts of the session, or what was to become some, name their bytes no more."""
    count = size = held = 0
    for each in sorted(named, key=lambda each: each.sha256):
        count, size = count + 1, size + each.size_bytes
        if _count(_RELEASE, session.organization_id, each.sha256) == 0:
            held += each.size_bytes
    given: dict[str, Any] = {
        "organization": session.organization_id,
        "artifacts": count,
        "size": size,
        "held": held,
    }
    with connection.cursor() as cursor:
        for owner in (session.id, session.profile_id, session.organization_id):
            cursor.execute(_SUBTRACT, {**given, "owner": owner})


def _count(statement: str, organization_id: UUID, sha256: str) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [organization_id, sha256])
        row = cursor.fetchone()
    return None if row is None else int(row[0])


# --- what nobody names -----------------------------------------------------------------------

# Served by runner_blob_unnamed. Whoever reserves the blob meanwhile waits, and makes a new row.
_FORGET = """
DELETE FROM runner_blob b USING (
       SELECT organization_id, sha256 FROM runner_blob
        WHERE artifacts = 0
          AND reserved_at < clock_timestamp() - make_interval(secs => %s)
        ORDER BY reserved_at LIMIT 1 FOR UPDATE SKIP LOCKED) gone
 WHERE b.organization_id = gone.organization_id AND b.sha256 = gone.sha256
RETURNING b.organization_id, b.sha256
"""
_PUT_OFF = """
UPDATE runner_blob SET reserved_at = clock_timestamp()
 WHERE organization_id = %s AND sha256 = %s AND artifacts = 0
"""
# Then the store is away, and not one blob.
MOST_FAILED = 3


def collect() -> Counter[str]:
    """Remove the bytes that nobody names; counts. A blob that cannot be removed is tried again
    after the grace, and holds up no other."""
    counts: Counter[str] = Counter()
    for _ in range(MOST):
        outcome = _collect_one()
        if outcome is None:
            break
        counts[outcome] += 1
        if counts["failed"] >= MOST_FAILED:
            break
    return counts


def _collect_one() -> str | None:
    """What became of the next one; None where there is none. The bytes go while the row's deletion
    still holds whoever would reserve them."""
    with transaction.atomic(using="maintain"), connections["maintain"].cursor() as cursor:
        try:
            with transaction.atomic(using="maintain"):
                cursor.execute(_FORGET, [GRACE_SECONDS])
                found = cursor.fetchone()
                if found is not None:
                    storage.store().remove(*found)
        except (DomainError, OSError) as error:
            log.error("artifacts.collection_failed", sha256=found[1], reason=str(error))
            cursor.execute(_PUT_OFF, found)
            return "failed"
    return "blobs_removed" if found is not None else None


# --- from the rows ---------------------------------------------------------------------------

# What the artifacts of an organization come to, for rows that were not written by `take`.
RECOUNT = """
INSERT INTO runner_blob (organization_id, sha256, size_bytes, artifacts, reserved_at)
SELECT organization_id, sha256, max(size_bytes), count(*), now() FROM runner_artifact
 WHERE organization_id = %(organization)s AND status <> 'removed'
 GROUP BY organization_id, sha256
    ON CONFLICT (organization_id, sha256) DO UPDATE SET artifacts = excluded.artifacts;
INSERT INTO runner_storage_usage
       (organization_id, owner_id, kind, profile_id, artifacts, size_bytes)
SELECT a.organization_id, coalesce(a.session_id, s.profile_id),
       CASE WHEN a.session_id IS NULL THEN 'profile' ELSE 'session' END,
       CASE WHEN a.session_id IS NOT NULL THEN s.profile_id END, count(*), sum(a.size_bytes)
  FROM runner_artifact a JOIN runner_session s ON s.id = a.session_id
 WHERE a.organization_id = %(organization)s AND a.status <> 'removed'
 GROUP BY GROUPING SETS ((a.organization_id, a.session_id, s.profile_id),
                         (a.organization_id, s.profile_id))
 UNION ALL
SELECT organization_id, organization_id, 'organization', NULL, sum(artifacts), sum(size_bytes)
  FROM runner_blob WHERE organization_id = %(organization)s AND artifacts > 0
 GROUP BY organization_id
    ON CONFLICT (organization_id, owner_id) DO UPDATE
   SET artifacts = excluded.artifacts, size_bytes = excluded.size_bytes;
"""
