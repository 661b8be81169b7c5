"""The queue: which pending sessions are claimable now, and in which order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.db import close_old_connections, connection

from keeptrusts_runners.identity.tenancy import organization_scope
from sessions.limits import Slots
from sessions.models import RunnerSession

# Served by runner_session_queue (priority, then age); what is saturated by runner_session_open and
# runner_session_live_key, each found once for the whole statement, and only if a row asks for it.
_CLAIMABLE = """
  FROM runner_session s
  JOIN runner_profile p ON p.id = s.profile_id
  LEFT JOIN runner_harness h ON h.id = s.harness_id
 WHERE s.organization_id = %(organization)s AND s.state = 'pending'
   AND (s.not_before IS NULL OR s.not_before <= clock_timestamp())
   AND s.deadline_at > clock_timestamp()
   AND p.status <> 'paused' AND h.status IS DISTINCT FROM 'recalled'
   AND (p.max_concurrent_sessions IS NULL OR s.profile_id NOT IN (
        SELECT l.profile_id FROM runner_session l JOIN runner_profile q ON q.id = l.profile_id
         WHERE q.organization_id = %(organization)s AND q.max_concurrent_sessions IS NOT NULL
           AND l.state IN ('cancelling', 'dispatched', 'running')
         GROUP BY l.profile_id HAVING count(*) >= min(q.max_concurrent_sessions)))
   AND (s.concurrency_key = '' OR s.concurrency_key NOT IN (
        SELECT l.concurrency_key FROM runner_session l
         WHERE l.organization_id = %(organization)s AND l.concurrency_key <> ''
           AND l.state IN ('cancelling', 'dispatched', 'running')
         GROUP BY l.concurrency_key HAVING count(*) >= min(l.concurrency_limit)))
"""
_ORDER = " ORDER BY s.priority DESC, s.id LIMIT %(most)s"

# SKIP LOCKED: a row that another claimer holds is as good as gone, and waiting for it would only
# hand out a lost race.
_TAKE = f"""
SELECT s.id {_CLAIMABLE}
   AND s.labels <@ %(labels)s::jsonb
   AND (%(profiles)s::uuid[] IS NULL OR s.profile_id = ANY(%(profiles)s))
   AND s.id <> ALL(%(seen)s::uuid[])
   AND s.profile_id <> ALL(%(full_profiles)s::uuid[])
   AND s.concurrency_key <> ALL(%(full_keys)s::text[])
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
    """The next claimable sessions, locked, with profile and harness; at most `most`, in order.

    What is saturated when the look begins is not looked at. A limit that others reach meanwhile,
    or that these very sessions reach, is passed by on another look.
    """
    given = {
        "organization": organization_id,
        "labels": json.dumps(dict(labels)),
        "profiles": list(profile_ids) or None,
    }
    taken: list[RunnerSession] = []
    full_profiles: set[UUID] = set()
    full_keys: set[str] = set()
    first = True
    while left := most - len(taken):
        found = _look(given, taken, full_profiles, full_keys, left)
        slots = Slots(found, wait=first)
        for session in found:
            full = slots.take(session)
            if full is None:
                taken.append(session)
            elif full == "limit_reached":
                full_profiles.add(session.profile_id)
            else:
                full_keys.add(session.concurrency_key)
        if len(found) < left:
            break
        first = False
    return sorted(taken, key=lambda session: (-session.priority, session.id))


def _look(
    given: Mapping[str, Any],
    taken: list[RunnerSession],
    full_profiles: set[UUID],
    full_keys: set[str],
    most: int,
) -> list[RunnerSession]:
    besides = {
        "seen": [session.id for session in taken],
        "full_profiles": list(full_profiles),
        "full_keys": list(full_keys),
        "most": most,
    }
    found = [row[0] for row in _rows(_TAKE, {**given, **besides})]
    by_id = RunnerSession.objects.select_related("profile", "harness").in_bulk(found)
    return [by_id[session_id] for session_id in found]


def offers(organization_id: UUID, most: int) -> list[Offer]:
    """What is claimable now, without taking or locking any of it. Opens its own scope; for the
    waiting room, from a thread outside any request."""
    close_old_connections()
    with organization_scope(organization_id):
        given = {"organization": organization_id, "most": most}
        # Django has the driver hand out jsonb as text.
        return [Offer(row[0], json.loads(row[1])) for row in _rows(_OFFERS, given)]


def _rows(statement: str, given: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
