"""The queue: which pending sessions are claimable now, in which order, within which limits.

Limits are derived from the live leases whenever somebody asks, under a lock for each limited
profile; there is no counter that could leak or go negative.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.db import close_old_connections, connection

from keeptrusts_runners.identity.tenancy import organization_scope
from profiles.models import RunnerProfile
from sessions.models import RunnerSession

# Served by runner_session_queue (priority, then age).
_CLAIMABLE = """
  FROM runner_session s
  JOIN runner_profile p ON p.id = s.profile_id
  LEFT JOIN runner_harness h ON h.id = s.harness_id
 WHERE s.organization_id = %(organization)s AND s.state = 'pending'
   AND (s.not_before IS NULL OR s.not_before <= clock_timestamp())
   AND s.deadline_at > clock_timestamp()
   AND p.status <> 'paused' AND h.status IS DISTINCT FROM 'recalled'
   AND s.profile_id <> ALL(%(saturated)s::uuid[])
"""
_ORDER = " ORDER BY s.priority DESC, s.id LIMIT %(most)s"

# SKIP LOCKED: a row that another claimer holds is as good as gone, and waiting for it would only
# hand out a lost race.
_TAKE = f"""
SELECT s.id {_CLAIMABLE}
   AND s.labels <@ %(labels)s::jsonb
   AND (%(profiles)s::uuid[] IS NULL OR s.profile_id = ANY(%(profiles)s))
{_ORDER} FOR NO KEY UPDATE OF s SKIP LOCKED
"""
_OFFERS = f"SELECT s.profile_id, s.labels {_CLAIMABLE} {_ORDER}"


class Offer(NamedTuple):
    """A claimable session, as far as an executor must match it."""

    profile_id: UUID
    labels: dict[str, str]


def take(
    organization_id: UUID,
    *,
    profile_ids: Iterable[UUID] = (),
    labels: Mapping[str, str],
    most: int,
) -> list[RunnerSession]:
    """The next claimable sessions, locked, with profile and harness; at most `most`."""
    profile_ids = list(profile_ids)
    free = free_slots(_limited_profiles(organization_id, profile_ids))
    given = {
        "organization": organization_id,
        "labels": json.dumps(dict(labels)),
        "profiles": profile_ids or None,
        "saturated": _saturated(free),
        "most": most,
    }
    found = [row[0] for row in _rows(_TAKE, given)]
    by_id = RunnerSession.objects.select_related("profile", "harness").in_bulk(found)
    return _within_limits([by_id[session_id] for session_id in found], free)


def offers(organization_id: UUID, most: int) -> list[Offer]:
    """What is claimable now, without taking or locking any of it. Opens its own scope; for the
    waiting room, from a thread outside any request."""
    close_old_connections()
    with organization_scope(organization_id):
        free = _counted(_limited_profiles(organization_id, []))
        given = {"organization": organization_id, "saturated": _saturated(free), "most": most}
        # Django has the driver hand out jsonb as text.
        return [Offer(row[0], json.loads(row[1])) for row in _rows(_OFFERS, given)]


def _rows(statement: str, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


# --- limits ----------------------------------------------------------------------------------


def free_slots(profiles: Iterable[RunnerProfile]) -> dict[UUID, int]:
    """How many more sessions each limited profile may run, under a lock for each, taken in the
    order of the ids; an unlimited profile is left out."""
    limited = [profile for profile in profiles if profile.max_concurrent_sessions]
    for profile in sorted(limited, key=lambda profile: profile.id):
        lock(b"kt.profile_slots", profile.id.bytes)
    return _counted(limited)


def lock(*names: bytes) -> None:
    """Wait for an advisory lock of this name, and hold it until the transaction ends."""
    digest = hashlib.sha256(b"\0".join(names)).digest()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(digest[:8], signed=True)]
        )


def _counted(limited: list[RunnerProfile]) -> dict[UUID, int]:
    if not limited:
        return {}
    live = Counter(
        RunnerSession.objects.leased()
        .filter(profile_id__in=[profile.id for profile in limited])
        .values_list("profile_id", flat=True)
    )
    return {
        profile.id: (profile.max_concurrent_sessions or 0) - live[profile.id] for profile in limited
    }


def _limited_profiles(organization_id: UUID, profile_ids: list[UUID]) -> list[RunnerProfile]:
    limited = RunnerProfile.objects.in_organization(organization_id).filter(
        max_concurrent_sessions__isnull=False
    )
    return list(limited.filter(id__in=profile_ids) if profile_ids else limited)


def _saturated(free: Mapping[UUID, int]) -> list[UUID]:
    return [profile_id for profile_id, slots in free.items() if slots < 1]


def _within_limits(found: list[RunnerSession], free: Mapping[UUID, int]) -> list[RunnerSession]:
    left = dict(free)
    taken = []
    for session in found:
        if left.get(session.profile_id, 1) > 0:
            taken.append(session)
            if session.profile_id in left:
                left[session.profile_id] -= 1
    return taken
