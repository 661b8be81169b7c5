"""Composed reads of events, artifacts and grants, for the API and the pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, QuerySet

from grants import reading
from grants.badges import Badge as Badge
from grants.badges import badge as badge
from grants.badges import badges as badges
from grants.completeness import completeness as completeness
from grants.custody_models import LegalHold, Verdict, Verification
from grants.models import (
    TOMBSTONE,
    Artifact,
    ArtifactStatus,
    Event,
    LedgerHead,
    Level,
    PermissionGrant,
)
from grants.reading import END, Span
from grants.standing import Standing
from grants.standing import actors_of as actors_of
from grants.usage import profile_usage as profile_usage
from keeptrusts_runners import ids
from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.evidence.file_names import Listed, sums
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.queries import Actor, actors
from profiles.models import RunnerProfile
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession
from sessions.states import EXECUTING

# A session has few redactions; whoever has more finds the rest in the ledger.
TOMBSTONES_LOOKED_AT = 100

# One round trip. Counters of events are kept at ingest; artifacts and grants are few.
_COUNTS = """
SELECT h.events, h.warnings, h.errors,
       (SELECT count(*) FROM runner_artifact a WHERE a.session_id = h.session_id),
       (SELECT count(*) FROM runner_grant g
         WHERE g.session_id = h.session_id AND g.state = 'active' AND g.lease_epoch = %(epoch)s
           AND g.expires_at > clock_timestamp() AND %(lease_ends)s > clock_timestamp())
  FROM runner_ledger_head h WHERE h.session_id = %(session)s
"""
_COUNTED = ("events", "warnings", "errors", "artifacts", "active_grants")


def counts(session: RunnerSession) -> dict[str, int]:
    """What the session has gathered: events, warnings, errors, artifacts, active_grants."""
    executing = session.state in EXECUTING
    given: dict[str, Any] = {
        "session": session.id,
        "epoch": session.lease_epoch,
        "lease_ends": session.lease_expires_at if executing else None,
    }
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, given)
        row = cursor.fetchone()
    return dict(zip(_COUNTED, row or (0,) * len(_COUNTED), strict=True))


def events(session: RunnerSession) -> QuerySet[Event]:
    """The session's records, unordered."""
    return Event.objects.of_session(session.organization_id, session.id)


def head(session: RunnerSession) -> LedgerHead:
    """Where the session's ledger stands, and what it has counted."""
    return LedgerHead.objects.get(session_id=session.id)


def artifacts(session_id: UUID) -> QuerySet[Artifact]:
    return Artifact.objects.filter(session_id=session_id)


def manifest(session_id: UUID) -> str:
    """The digests of a session's artifacts, in the order of their ids, for `sha256sum -c`."""
    columns = ("id", "name", "sha256", "status")
    rows = artifacts(session_id).order_by("id").values_list(*columns)
    removed = ArtifactStatus.REMOVED
    return "".join(
        sums(Listed(ids.encode("art", key), name, sha256, status == removed)
             for key, name, sha256, status in rows)
    )  # fmt: skip


MOST_DAMAGED = 200


def damaged(*, by: Principal) -> list[Artifact]:
    """The artifacts whose bytes were found broken or missing, the last found first, with the names
    of their profiles; MOST_DAMAGED at most. Served by runner_artifact_damaged."""
    found = _damaged(by).select_related("session__profile").order_by("-checked_at", "-id")
    columns = ("name", "status", "sha256", "checked_at", "session__profile__name")
    return list(found.only(*columns)[:MOST_DAMAGED])


def _damaged(by: Principal) -> QuerySet[Artifact]:
    statuses = (ArtifactStatus.BROKEN, ArtifactStatus.MISSING)
    return Artifact.objects.filter(organization_id=by.organization_id, status__in=statuses)


def grants(session_id: UUID) -> QuerySet[PermissionGrant]:
    return PermissionGrant.objects.filter(session_id=session_id).prefetch_related("decisions")


def grants_of_organization(organization_id: UUID) -> QuerySet[PermissionGrant]:
    return PermissionGrant.objects.filter(organization_id=organization_id).prefetch_related(
        "decisions"
    )


def hold_of(session: RunnerSession) -> LegalHold | None:
    """The session's legal hold, if there is one."""
    return LegalHold.objects.filter(session_id=session.id).first()


def tombstones(session: RunnerSession, limit: int = 10) -> list[Event]:
    """The newest records of what was redacted. Served by runner_event_kind."""
    return list(events(session).filter(kind=TOMBSTONE).order_by("-seq")[:limit])


def broken(*, by: Principal, limit: int = 50) -> list[Verification]:
    """Whose chain did not hold when it was last checked. Served by runner_verification_broken."""
    found = Verification.objects.filter(organization_id=by.organization_id, verdict=Verdict.BROKEN)
    return list(found.select_related("session__profile").order_by("-checked_at")[:limit])


def tombstone_of(session: RunnerSession, seq: int) -> Event | None:
    """The record that says who redacted this one, and why: the first tombstone after it whose
    ranges hold it. Tombstones are warnings, so that runner_event_level serves it."""
    found = events(session).filter(level=Level.WARNING, kind=TOMBSTONE, seq__gt=seq)
    for each in found.order_by("seq")[:TOMBSTONES_LOOKED_AT]:
        ranges = (each.data or {}).get("ranges", [])
        if any(first <= seq <= last for first, last in ranges):
            return each
    return None


# --- grants, for the pages -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attention:
    """What asks for people: approvals that wait; sessions whose evidence was found broken, the last
    found first, at most BROKEN_NAMED and as many as a list takes by their ids; lost sessions that
    nobody has decided about; damaged artifacts. All but the first are counted up to a cap."""

    waiting: int
    oldest_at: datetime | None
    broken: list[UUID]
    broken_count: int
    damaged: int
    lost: int


BROKEN_NAMED, BROKEN_LISTED, ATTENTION_CAP = 3, 53, 1000

# How many approvals wait, for the header, which shows 99 at most: by runner_grant_waiting, of which
# it reads no more than it says.
WAITING = """(
SELECT count(*) FROM (
       SELECT FROM runner_grant
        WHERE organization_id = %(organization)s AND state = 'requested'
          AND request_lapses_at > clock_timestamp() LIMIT 100) waiting)"""

# runner_grant_waiting, runner_verification_broken, runner_artifact_damaged and
# runner_session_attention: as small as what they tell of.
_ATTENTION = """
SELECT w.count, w.oldest, coalesce(b.sessions, '{}'), b.count, d.count, l.count
  FROM (SELECT count(*), min(requested_at) AS oldest FROM runner_grant
         WHERE organization_id = %(organization)s AND state = 'requested'
           AND request_lapses_at > clock_timestamp()) w,
       (SELECT array_agg(session_id ORDER BY checked_at DESC) AS sessions, count(*) FROM (
               SELECT session_id, checked_at FROM runner_verification
                WHERE organization_id = %(organization)s AND verdict = 'broken'
                ORDER BY checked_at DESC LIMIT %(cap)s) newest) b,
       (SELECT count(*) FROM (
               SELECT 1 FROM runner_artifact WHERE organization_id = %(organization)s
                  AND status IN ('broken', 'missing') LIMIT %(cap)s) found) d,
       (SELECT count(*) FROM (
               SELECT 1 FROM runner_session WHERE organization_id = %(organization)s
                  AND state = 'lost' AND disposition = '' LIMIT %(cap)s) undecided) l
"""


def waiting_count(*, by: Principal) -> int:
    """What WAITING says."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {WAITING}", {"organization": by.organization_id})
        return int(cursor.fetchone()[0])


def attention(*, by: Principal) -> Attention:
    with connection.cursor() as cursor:
        cursor.execute(_ATTENTION, {"organization": by.organization_id, "cap": ATTENTION_CAP})
        waiting, oldest, broken, count, damaged, lost = cursor.fetchone()
    return Attention(waiting, oldest, broken[:BROKEN_LISTED], count, damaged, lost)


def in_force(*, by: Principal) -> QuerySet[PermissionGrant]:
    """What is active now, the first to end first."""
    usable = PermissionGrant.objects.usable()
    return with_session(usable, by).order_by("expires_at", "id")


def with_session(found: QuerySet[PermissionGrant], by: Principal) -> QuerySet[PermissionGrant]:
    """The organization's own, with sessions, profiles and decisions."""
    return (
        found.filter(organization_id=by.organization_id)
        .select_related("session__profile")
        .defer("session__input", "session__metadata", "session__result", "session__grant_policy")
        .prefetch_related("decisions")
    )


def grant(session_id: UUID, grant_id: UUID, *, by: Principal) -> PermissionGrant:
    """One grant of one session, with both. Raises NotFound, also for another session's."""
    named = PermissionGrant.objects.filter(session_id=session_id, id=grant_id)
    found = with_session(named, by).first()
    if found is None:
        raise NotFound
    return found


def earlier(grant: PermissionGrant, limit: int = 10) -> list[PermissionGrant]:
    """What was asked for before of the same operation in this grant's session, the newest first.
    Served by runner_grant_newest."""
    found = list(
        grants(grant.session_id).filter(operation=grant.operation, id__lt=grant.id)
        .order_by("-id")[:limit]
    )  # fmt: skip
    for each in found:
        each.session = grant.session
    return found


def around_request(grant: PermissionGrant, side: int) -> list[Event]:
    """The record of this request with so many before and after it. Its place is found among the
    session's requests, by runner_event_kind: requests of a session are recorded one by one."""
    of_session = events(grant.session)
    asked = of_session.filter(kind="grant.requested", recorded_at__gte=grant.requested_at)
    record = asked.order_by("seq").values_list("seq", flat=True).first()
    if record is None:
        return []
    near = of_session.filter(seq__gte=record - side, seq__lt=record + side)
    return list(near.order_by("seq"))


def grants_of(session: RunnerSession, limit: int = 50) -> list[PermissionGrant]:
    """The newest grants of a session that is already read."""
    found = list(grants(session.id).order_by("-id")[:limit])
    for each in found:
        each.session = session
    return found


def profile_names(*, by: Principal) -> list[tuple[UUID, str]]:
    own = RunnerProfile.objects.in_organization(by.organization_id)
    return list(own.order_by("name").values_list("id", "name"))


def executor_names(*, by: Principal, limit: int = 100) -> list[tuple[UUID, str]]:
    """Those that were seen last."""
    own = RunnerExecutor.objects.filter(organization_id=by.organization_id)
    found = own.order_by("-last_seen_at").values_list("id", "name", "account")
    return [(key, name or account) for key, name, account in found[:limit]]


def active_grants(session_ids: Iterable[UUID]) -> Mapping[UUID, int]:
    """How many usable grants each of these sessions has; those without are left out."""
    found = (
        PermissionGrant.objects.usable()
        .filter(session_id__in=list(session_ids))
        .order_by()
        .values_list("session_id")
        .annotate(count=Count("*"))
    )
    return dict(found)


def standings(
    found: Iterable[PermissionGrant],
    *,
    by: Principal,
    now: datetime,
    known: Mapping[str, Actor] | None = None,
) -> list[Standing]:
    """These grants as this person sees them; `known` spares the look-up of names."""
    found = list(found)
    named = actors(actors_of(found)) if known is None else known
    return [Standing(each, each.session, by, now, named) for each in found]


# --- events, for the pages -------------------------------------------------------------------

ERRORS = (Level.ERROR.value, Level.CRITICAL.value)


def last_events(session: RunnerSession, limit: int) -> list[Event]:
    """In order."""
    return list(events(session).order_by("-seq")[:limit])[::-1]


def last_errors(session: RunnerSession, limit: int) -> list[Event]:
    """In order. Served by runner_event_level."""
    span = Span(0, END, backwards=True)
    return reading.by_index(events(session), span, limit, ERRORS).rows[::-1]
