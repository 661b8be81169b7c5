"""The queue: which pending sessions are claimable now, and in which order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from django.db import close_old_connections, connection

from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import ordered
from sessions.limits import LIVE_OF_PROFILE, Slots
from sessions.models import RunnerSession

# What can be said of a session's profile and harness, and so of its whole lane. What is saturated
# is found once for the statement, by runner_session_live, and only if a limited profile asks.
_OPEN = """
       p.status <> 'paused' AND h.status IS DISTINCT FROM 'recalled'
   AND (p.max_concurrent_sessions IS NULL OR p.id NOT IN (
        SELECT q.id FROM runner_profile q
         WHERE q.organization_id = %(organization)s AND q.max_concurrent_sessions IS NOT NULL
           AND {live} >= q.max_concurrent_sessions))
""".format(live=LIVE_OF_PROFILE.format(profile="q.id", most="q.max_concurrent_sessions"))
# What can be said of the session alone; keys in use by runner_session_live_key. The deadline is
# compared as a sum, so that the reaper's index of deadlines is never taken for a way to the queue.
_READY = """
       (s.not_before IS NULL OR s.not_before <= statement_timestamp())
   AND s.deadline_at + interval '0' > statement_timestamp()
   AND (s.concurrency_key = '' OR s.concurrency_key NOT IN (
        SELECT l.concurrency_key FROM runner_session l
         WHERE l.organization_id = %(organization)s AND l.concurrency_key <> ''
           AND l.state IN ('cancelling', 'dispatched', 'running')
         GROUP BY l.concurrency_key HAVING count(*) >= min(l.concurrency_limit)))
"""
# What this executor takes, and what this claim has seen to be full.
_WANTED = """
       s.labels <@ %(labels)s::jsonb
   AND (%(profiles)s::uuid[] IS NULL OR s.profile_id = ANY(%(profiles)s))
   AND s.profile_id <> ALL(%(full_profiles)s::uuid[])
"""
_FRESH = """
       s.id <> ALL(%(seen)s::uuid[]) AND s.concurrency_key <> ALL(%(full_keys)s::text[])
"""
_OF_SESSION = """
  JOIN runner_profile p ON p.id = s.profile_id
  LEFT JOIN runner_harness h ON h.id = s.harness_id
"""
_ORDER = "ORDER BY priority DESC, id"

_PENDING = "s.organization_id = %(organization)s AND s.state = 'pending'"
_SEEN = """s.id, s.priority, s.profile_id, s.harness_id, s.labels, s.not_before, s.deadline_at,
       s.concurrency_key, s.concurrency_limit"""

# Most of the time what is next stands among the first that wait: served by runner_session_queue.
_HEAD = f"""
  WITH head AS MATERIALIZED (
       SELECT {_SEEN} FROM runner_session s WHERE {_PENDING} {_ORDER} LIMIT %(head)s)
SELECT s.id FROM head s {_OF_SESSION}
 WHERE {_READY} AND {_OPEN} AND {_WANTED} AND {_FRESH}
"""
_GOES_ON = f"""
SELECT s.id FROM runner_session s WHERE {_PENDING} {_ORDER} OFFSET %(head)s LIMIT 1
"""
# Else by lanes: what waits with the same profile, harness and labels is looked at once, however
# long it is, so that a hundred thousand sessions that nobody may take delay nobody. From lane to
# lane by one probe each of runner_session_lane; what was put off and is due, by
# runner_session_due.
_LANES = f"""
  WITH RECURSIVE lanes AS (
       (SELECT s.lane, s.profile_id, s.harness_id, s.labels FROM runner_session s
         WHERE {_PENDING} AND s.not_before IS NULL
         ORDER BY s.lane LIMIT 1)
       UNION ALL
       SELECT following.* FROM lanes CROSS JOIN LATERAL (
              SELECT s.lane, s.profile_id, s.harness_id, s.labels FROM runner_session s
               WHERE {_PENDING} AND s.not_before IS NULL AND s.lane > lanes.lane
               ORDER BY s.lane LIMIT 1) following),
       due AS MATERIALIZED (
       SELECT s.lane, {_SEEN} FROM runner_session s
        WHERE {_PENDING} AND s.not_before <= statement_timestamp() ORDER BY s.not_before)
"""
# The first of one lane, in order. A range and not an equation, and the lane in the order: else
# the lane's index would not be known to give this order.
_OF_LANE = f"""
         FROM runner_session s
        WHERE {_PENDING} AND s.lane BETWEEN open.lane AND open.lane AND s.not_before IS NULL
          AND {_READY}
"""
_ORDER_OF_LANE = "ORDER BY s.lane, s.priority DESC, s.id"
_BY_LANES = f"""{_LANES}, open AS (
       SELECT s.lane FROM lanes s {_OF_SESSION} WHERE {_OPEN} AND {_WANTED})
SELECT id FROM (
       SELECT c.id, c.priority FROM open CROSS JOIN LATERAL (
              SELECT s.id, s.priority {_OF_LANE} AND {_FRESH}
              {_ORDER_OF_LANE} LIMIT %(depth)s) c
       UNION ALL
       SELECT s.id, s.priority FROM due s {_OF_SESSION}
        WHERE {_READY} AND {_OPEN} AND {_WANTED} AND {_FRESH}
       ) found {_ORDER} LIMIT %(depth)s
"""
# One row after the other, in order, until there are enough. SKIP LOCKED: a row that another
# claimer holds is as good as gone, and waiting for it would only hand out a lost race. The state is
# asked as an expression, so that the primary key is the only way to the row.
_TAKE = """
SELECT next.id FROM ({found}) next CROSS JOIN LATERAL (
       SELECT FROM runner_session s WHERE s.id = next.id AND s.state || '' = 'pending'
          FOR NO KEY UPDATE SKIP LOCKED) taken
 LIMIT %(most)s
"""
_TAKE_FROM_HEAD = _TAKE.format(found=f"{_HEAD} ORDER BY s.priority DESC, s.id")
_TAKE_THESE = _TAKE.format(
    found="SELECT id FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS these (id, n) ORDER BY n"
)
# What is on offer to all who wait, lane by lane as well: a lane that nobody takes may be long.
_OFFERS = f"""{_LANES}, open AS (
       SELECT s.lane, s.profile_id, s.labels, p.max_concurrent_sessions AS profile_limit
         FROM lanes s {_OF_SESSION} WHERE {_OPEN} AND s.lane <> ALL(%(without)s::bigint[]))
SELECT lane, profile_id, labels, profile_limit, concurrency_key, concurrency_limit FROM (
       SELECT open.*, c.* FROM open CROSS JOIN LATERAL (
              SELECT s.priority, s.id, s.concurrency_key, s.concurrency_limit {_OF_LANE}
              {_ORDER_OF_LANE} LIMIT %(most)s) c
       UNION ALL
       SELECT s.lane, s.profile_id, s.labels, p.max_concurrent_sessions,
              s.priority, s.id, s.concurrency_key, s.concurrency_limit
         FROM due s {_OF_SESSION}
        WHERE {_READY} AND {_OPEN} AND s.lane <> ALL(%(without)s::bigint[])
       ) found {_ORDER} LIMIT %(most)s
"""
# As the owner, two index probes for each: whoever waits in many organizations would otherwise open
# a scope in each, only to find nothing.
_ORGANIZATIONS_WITH_WORK = "SELECT * FROM kt_organizations_with_work(%s)"
# How far the first look goes; and the second, which goes further where others hold what it finds.
HEAD = 64
DEPTHS = (64, 1024, 16_384)


class Offer(NamedTuple):
    """A claimable session, as far as an executor must match it, and what limits it."""

    lane: int
    profile_id: UUID
    labels: frozenset[tuple[str, str]]
    profile_limit: int | None = None
    key: str = ""
    key_limit: int = 1


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
        slots = Slots(found, taken=taken, wait=first)
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
    wanted = {
        **given,
        "seen": [session.id for session in taken],
        "full_profiles": list(full_profiles),
        "full_keys": list(full_keys),
        "most": most,
        "head": HEAD + most,
    }
    found = _ids(_TAKE_FROM_HEAD, wanted)
    if len(found) < most and _ids(_GOES_ON, wanted):
        found = _by_lanes(wanted, most)
    by_id = RunnerSession.objects.select_related("profile", "harness").in_bulk(found)
    return [by_id[session_id] for session_id in found]


def _by_lanes(wanted: dict[str, Any], most: int) -> list[UUID]:
    found: list[UUID] = []
    for depth in DEPTHS:
        ids = _ids(_BY_LANES, wanted | {"depth": depth})
        found = _ids(_TAKE_THESE, wanted | {"ids": ids}) if ids else []
        if len(found) == most or len(ids) < depth:
            break
    return found


def _ids(statement: str, given: Mapping[str, Any]) -> list[UUID]:
    return [row[0] for row in ordered.rows(statement, given)]


def offers(organization_id: UUID, most: int, without: Iterable[int] = ()) -> list[Offer]:
    """What is claimable now outside the lanes `without`, in the order of claims, without taking or
    locking any of it. Opens its own scope; for the waiting room, from a thread outside any
    request."""
    close_old_connections()
    with organization_scope(organization_id):
        given = {"organization": organization_id, "most": most, "without": list(without)}
        return [_offer(*row) for row in ordered.rows(_OFFERS, given)]


def _offer(lane: int, profile_id: UUID, labels: str, *limits: Any) -> Offer:
    """Django has the driver hand out jsonb as text."""
    return Offer(lane, profile_id, frozenset(json.loads(labels).items()), *limits)


def organizations_with_work(among: Iterable[UUID]) -> set[UUID]:
    """Those that have a pending session whose time has come, whether or not somebody may claim it
    now. For the waiting room, as `offers`."""
    close_old_connections()
    with connection.cursor() as cursor:
        cursor.execute(_ORGANIZATIONS_WITH_WORK, [list(among)])
        return {row[0] for row in cursor.fetchall()}
