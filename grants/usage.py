"""How much is stored: by an organization, and by each of its profiles.

Reads alone, of the counters that every change keeps (grants.blobs): nothing is summed up when
somebody asks, however many artifacts and sessions there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection

from grants.artifact_models import StorageUsage
from keeptrusts_runners.identity.principal import Principal
from profiles.models import RunnerProfile

MAX_PROFILES = 1000
NEARLY_FULL = 0.9


@dataclass(frozen=True, slots=True)
class Usage:
    """What is stored: artifacts, their bytes, and how many bytes may be; None is any number.

    An organization's bytes are those that its store holds, the same content once; a profile's are
    the sum of its sessions' artifacts.
    """

    artifacts: int
    stored_bytes: int
    max_stored_bytes: int | None

    @property
    def share(self) -> float:
        """Of what may be stored; 0 where that is any number."""
        return self.stored_bytes / self.max_stored_bytes if self.max_stored_bytes else 0.0

    @property
    def nearly_full(self) -> bool:
        return self.share >= NEARLY_FULL

    @property
    def full(self) -> bool:
        return self.share >= 1


@dataclass(frozen=True, slots=True)
class ProfileUsage(Usage):
    profile_id: UUID
    name: str
    status: str


@dataclass(frozen=True, slots=True)
class Usages:
    """Of an organization and its profiles; with `truncated` there are more than are listed."""

    organization: Usage
    profiles: list[ProfileUsage]
    truncated: bool


# A look into the primary key of runner_storage_usage for each profile. The LIMIT keeps it that:
# a join could choose to read the rows of all sessions.
_OF_PROFILES = """
SELECT coalesce(u.artifacts, 0), coalesce(u.size_bytes, 0), p.max_stored_bytes, p.id, p.name,
       p.status
  FROM runner_profile p
  LEFT JOIN LATERAL (
       SELECT artifacts, size_bytes FROM runner_storage_usage
        WHERE organization_id = p.organization_id AND owner_id = p.id LIMIT 1) u ON true
 WHERE p.organization_id = %(organization)s
   AND CASE WHEN %(only)s::uuid IS NULL THEN p.status <> 'archived' OR u.artifacts > 0
            ELSE p.id = %(only)s END
 ORDER BY coalesce(u.size_bytes, 0) DESC, p.id
 LIMIT %(most)s
"""


def usages(*, by: Principal, profile_id: UUID | None = None) -> Usages:
    """The profiles that are in use or still have content, the largest first, or the one that is
    named; none where nobody has a profile of this id."""
    given: dict[str, Any] = {
        "organization": by.organization_id,
        "only": profile_id,
        "most": MAX_PROFILES + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(_OF_PROFILES, given)
        found = [ProfileUsage(*row) for row in cursor.fetchall()]
    quota = settings.ARTIFACT_QUOTA_BYTES or None
    organization = _usage(by, by.organization_id, quota)
    return Usages(organization, found[:MAX_PROFILES], len(found) > MAX_PROFILES)


def profile_usage(profile: RunnerProfile, *, by: Principal) -> Usage:
    """What the sessions of one profile have stored, beside its limit."""
    return _usage(by, profile.id, profile.max_stored_bytes)


def _usage(by: Principal, owner_id: UUID, most: int | None) -> Usage:
    rows = StorageUsage.objects.filter(organization_id=by.organization_id, owner_id=owner_id)
    artifacts, size = rows.values_list("artifacts", "size_bytes").first() or (0, 0)
    return Usage(artifacts, size, most)
