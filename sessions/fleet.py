"""How profiles fare: the figures of the fleet, and why a profile's queue does not move.

Reads alone, for the pages. Bounded by what is open, and of what has ended by SAMPLE for each
profile, whatever there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import IntegerField, OuterRef, QuerySet, Subquery

from keeptrusts_runners.identity.principal import Principal
from profiles.models import HarnessRevision, RunnerProfile
from sessions import diagnosis
from sessions.diagnosis import Waiting
from sessions.executors import MAX_ASKING, Asking
from sessions.limits import Uses
from sessions.models import RunnerSession
from sessions.states import State

WINDOW = timedelta(hours=24)
# How many of the newest ends of a profile are looked at.
SAMPLE = 2000
# How long an executor counts as there after its last question.
SEEN_WITHIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class ProfileFigures:
    """How one profile fares.

    `behind` are active sessions on another revision than a dispatch would pin now; `executors`
    asked for work of the profile of late, or hold leases of it. What has ended is of the last 24
    hours, and with `capped` of the newest SAMPLE of it: `waits` are the median and the 95th
    percentile of seconds between dispatch and start, `hours` pairs of good and bad ends, oldest
    first.
    """

    id: UUID
    name: str
    execution_target: str
    status: str
    queue_target_seconds: int
    harness_version: str | None
    harness_digest: str | None
    queued: int
    active: int
    oldest_queued_at: datetime | None
    waiting_long: int
    unconfirmed: int
    late: int
    silent: int
    behind: int
    executors: int
    failed: int
    lost: int
    last_claim_at: datetime | None
    capped: bool
    waits: list[float] | None
    hours: list[tuple[int, int]]

    @property
    def unattended(self) -> bool:
        """Work waits, and nobody is there for it."""
        return self.queued > 0 and self.executors == 0

    @property
    def left_waiting(self) -> bool:
        """And some of it for longer than it may."""
        return self.unattended and self.waiting_long > 0


# What is open is read once, by runner_session_profile_state, and so are the executors that ask, by
# runner_executor_polled; of each profile then the newest harness, and a walk over its newest ends
# by runner_session_kept.
_FIGURES = """
WITH profile AS MATERIALIZED (
     SELECT p.id, p.name, p.execution_target, p.status, p.queue_target_seconds, h.id AS harness_id,
            h.version, h.image_digest
       FROM runner_profile p
       LEFT JOIN LATERAL (
            SELECT id, version, image_digest FROM runner_harness
             WHERE profile_id = p.id AND status = 'active' ORDER BY id DESC LIMIT 1) h ON true
      WHERE p.organization_id = %(organization)s
        AND (%(only)s::uuid IS NULL OR p.id = %(only)s)),
asking AS MATERIALIZED (
     SELECT id, profile_ids FROM runner_executor
      WHERE organization_id = %(organization)s AND polled_at > %(now)s - %(seen)s
        AND draining_at IS NULL
      ORDER BY polled_at DESC LIMIT %(executors)s),
opened AS (
     SELECT p.id,
            count(*) FILTER (WHERE state = 'pending') AS queued,
            count(*) FILTER (WHERE state <> 'pending') AS active,
            min(created_at) FILTER (WHERE state = 'pending') AS oldest,
            count(*) FILTER (WHERE state = 'pending'
              AND greatest(created_at, not_before)
                  + p.queue_target_seconds * interval '1 second' <= %(now)s) AS waiting_long,
            count(*) FILTER (WHERE state = 'cancelling' AND deadline_at <= %(now)s)
              AS unconfirmed,
            count(*) FILTER (WHERE health = 'late') AS late,
            count(*) FILTER (WHERE health = 'silent') AS silent,
            count(*) FILTER (WHERE state <> 'pending' AND s.harness_id <> p.harness_id) AS behind,
            max(dispatched_at) AS last_claim,
            array_agg(DISTINCT executor_id) FILTER (
              WHERE lease_expires_at IS NOT NULL AND executor_id IS NOT NULL) AS holders
       FROM profile p JOIN runner_session s ON s.profile_id = p.id
      CROSS JOIN LATERAL kt_session_health(lease_expires_at,
            coalesce(heartbeat_at, dispatched_at), heartbeat_interval_seconds) AS health
      WHERE state IN ('cancelling', 'dispatched', 'paused', 'pending', 'running')
      GROUP BY p.id)
SELECT p.id, p.name, p.execution_target, p.status, p.queue_target_seconds, p.version,
       p.image_digest,
       coalesce(o.queued, 0), coalesce(o.active, 0), o.oldest, coalesce(o.waiting_long, 0),
       coalesce(o.unconfirmed, 0), coalesce(o.late, 0), coalesce(o.silent, 0),
       coalesce(o.behind, 0), e.executors, r.failed, r.lost,
       greatest(o.last_claim, r.last_claim), r.capped, r.waits, r.hours
  FROM profile p
  LEFT JOIN opened o ON o.id = p.id
 CROSS JOIN LATERAL (
       SELECT count(*) AS executors FROM (
              SELECT id FROM asking WHERE profile_ids IS NULL OR p.id = ANY (profile_ids)
               UNION
              SELECT unnest(o.holders)) there) e
 CROSS JOIN LATERAL (
       WITH newest AS MATERIALIZED (
            SELECT state, dispatched_at, ended_at,
                   extract(epoch FROM coalesce(started_at, dispatched_at) - CASE lease_epoch
                     WHEN 1 THEN greatest(created_at, not_before) ELSE created_at END)::float8
                     AS waited
              FROM runner_session
             WHERE profile_id = p.id AND ended_at > %(now)s - %(window)s
               AND evidence_expired_at IS NULL
             ORDER BY ended_at DESC LIMIT %(sample)s + 1)
       SELECT count(*) FILTER (WHERE state IN ('failed', 'lost', 'timed_out', 'expired'))
                AS failed,
              count(*) FILTER (WHERE state = 'lost') AS lost,
              max(dispatched_at) AS last_claim,
              count(*) > %(sample)s AS capped,
              percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY waited) AS waits,
              (SELECT array_agg(ARRAY[coalesce(good, 0), coalesce(bad, 0)] ORDER BY hour DESC)
                 FROM generate_series(0, 23) AS hour
                 LEFT JOIN (
                      SELECT least(23, floor(extract(epoch FROM %(now)s - ended_at) / 3600))
                               AS hour,
                             count(*) FILTER (WHERE state = 'completed') AS good,
                             count(*) FILTER (WHERE state IN
                               ('failed', 'lost', 'timed_out', 'expired')) AS bad
                        FROM newest GROUP BY 1) hourly USING (hour)) AS hours
         FROM newest) r
 WHERE p.status <> 'archived' OR o.id IS NOT NULL OR p.id = %(only)s
 ORDER BY p.name, p.id
"""


def figures(
    *, by: Principal, now: datetime, profile_id: UUID | None = None
) -> list[ProfileFigures]:
    """Every profile that is in use, by name, or the one that is named."""
    given: dict[str, Any] = {
        "organization": by.organization_id,
        "now": now,
        "window": WINDOW,
        "sample": SAMPLE,
        "seen": SEEN_WITHIN,
        "executors": MAX_ASKING,
        "only": profile_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(_FIGURES, given)
        return [ProfileFigures(*row) for row in cursor.fetchall()]


# --- why a queue does not move ---------------------------------------------------------------

# How many from the front of the queue are asked.
FRONT = 50


@dataclass(frozen=True, slots=True)
class Hindrance:
    """One reason that so many at the front of a queue wait for, in the words of one of them."""

    waiting: Waiting
    sessions: int


def front_of_queue(profile: RunnerProfile, *, by: Principal, now: datetime) -> Sequence[Hindrance]:
    """Why those wait that a claim would look at first, the most frequent reason first; empty for
    an empty queue. Served by runner_session_profile_state."""
    pending = RunnerSession.objects.filter(profile_id=profile.id, state=State.PENDING)
    rows = list(
        pending.select_related("profile", "harness")
        .defer("input", "metadata", "result", "grant_policy")
        .order_by("-priority", "id")[:FRONT]
    )
    if not rows:
        return ()
    uses, asking = Uses(rows), Asking(by.organization_id)
    found = [diagnosis.waiting(each, uses, asking, now) for each in rows]
    first = {each.word: each for each in reversed(found)}
    counted = Counter(each.word for each in found)
    return [Hindrance(first[word], number) for word, number in counted.most_common()]


# --- the sessions of a revision --------------------------------------------------------------

PINNED_CAP = 1000


def with_pinned(revisions: QuerySet[HarnessRevision]) -> QuerySet[HarnessRevision]:
    """Each with `pinned`, how many sessions are pinned to it; PINNED_CAP + 1 means more. Served
    by runner_session_of_harness."""
    newest = RunnerSession.objects.filter(harness_id=OuterRef("id")).order_by("-id")
    capped = Subquery(
        newest.values("id")[: PINNED_CAP + 1],
        output_field=IntegerField(),
        template="(SELECT count(*) FROM (%(subquery)s) newest)",
    )
    return revisions.annotate(pinned=capped)
