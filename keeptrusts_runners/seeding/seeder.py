"""From a number of sessions and events to rows: planned, told, chained and copied in parts."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from grants import blobs, ledger
from grants.histogram import Histogram
from grants.ledger import Head
from grants.models import LedgerHead
from keeptrusts_runners import ids
from keeptrusts_runners.evidence import audit, chain
from keeptrusts_runners.identity.tenancy import organization_scope
from keeptrusts_runners.seeding import cast, copying
from keeptrusts_runners.seeding.cast import Cast
from keeptrusts_runners.seeding.plan import Plan, plans
from keeptrusts_runners.seeding.story import Story

# A part is one transaction: whoever looks sees sessions with all that belongs to them.
PART_SESSIONS, PART_EVENTS = 500, 50_000
_CHAINED_AT_ONCE = 500
MONTHS = 6

_AGE = """
UPDATE {} SET {} = %s WHERE organization_id = %s AND id = ANY(%s) AND {} > %s
"""


@dataclass(slots=True)
class Progress:
    """What has been written so far."""

    sessions: int = 0
    events: int = 0
    records: int = 0
    seconds: float = 0.0


def seed(
    organization_id: UUID,
    *,
    sessions: int,
    events: int,
    seed: int,
    now: datetime,
    course: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """So many sessions with so many events of runners, beside what the server records itself.

    The same seed at the same instant gives the same records for the same cast.
    """
    everybody = cast.assemble(organization_id)
    since = now - timedelta(days=30 * MONTHS + 2)
    copying.make_months(since)
    _age(everybody, since)
    progress, started = Progress(), time.monotonic()
    rng = Random(seed)  # noqa: S311  (invents data, guards nothing)
    for part in _parts(plans(rng, sessions, events, now, MONTHS, course)):
        with transaction.atomic(using="migrate"):
            # Months that are empty yet are ones that retention may have dropped meanwhile.
            copying.make_months(part[0].created_at)
            progress.records += _write([_story(everybody, plan, seed, now) for plan in part])
        progress.sessions += len(part)
        progress.events += sum(plan.events for plan in part)
        progress.seconds = time.monotonic() - started
        report(progress)
    _count_storage(organization_id)
    copying.analyze()
    _on_record(organization_id, progress, seed)
    return progress


def _count_storage(organization_id: UUID) -> None:
    with transaction.atomic(using="migrate"), connections["migrate"].cursor() as cursor:
        cursor.execute(blobs.RECOUNT, {"organization": organization_id})


def _on_record(organization_id: UUID, progress: Progress, seed: int) -> None:
    """One entry for all of it: the audit log is of what was done here, and nobody did what the
    sessions tell."""
    detail = {"sessions": progress.sessions, "events": progress.events, "seed": seed}
    target = ids.encode("org", organization_id)
    with organization_scope(organization_id):
        audit.record(
            organization_id, [audit.Entry("sessions.seeded", target, audit.SYSTEM, detail=detail)]
        )


def _age(everybody: Cast, since: datetime) -> None:
    """Profiles and revisions are older than the sessions that ran on them."""
    profiles = [place.profile.id for place in everybody.places]
    revisions = [each.id for place in everybody.places for each in place.harnesses]
    with connections["migrate"].cursor() as cursor:
        for table, column, named in (
            ("runner_profile", "created_at", profiles),
            ("runner_harness", "published_at", revisions),
        ):
            statement = _AGE.format(table, column, column)
            cursor.execute(statement, [since, everybody.organization_id, named, since])


def _parts(planned: Iterator[Plan]) -> Iterator[list[Plan]]:
    part: list[Plan] = []
    for plan in planned:
        part.append(plan)
        if len(part) == PART_SESSIONS or sum(each.events for each in part) >= PART_EVENTS:
            yield part
            part = []
    if part:
        yield part


def _story(everybody: Cast, plan: Plan, seed: int, now: datetime) -> Story:
    # Not for anything that has to be a secret: salts of invented records hide nothing.
    return Story(everybody, plan, Random(f"{seed}/{plan.number}"), now)  # noqa: S311


def _write(stories: list[Story]) -> int:
    """The rows of these sessions; how many records they have. Events first, as a stream: what they
    add up to is known when they are written."""
    heads: list[LedgerHead] = []
    copying.copy_events(row for story in stories for row in _rows(story, heads))
    copying.copy_models([story.session for story in stories])
    copying.copy_models(heads)
    for name in ("transitions", "checkpoints", "artifacts", "grants", "decisions"):
        copying.copy_models([row for story in stories for row in getattr(story, name)])
    return sum(head.seq for head in heads)


def _rows(story: Story, heads: list[LedgerHead]) -> Iterator[tuple[Any, ...]]:
    """The session's ledger, a part at a time; its head is added to the heads at the end."""
    session = story.session
    head = Head(session.organization_id, session.id, 0, chain.GENESIS, Histogram(), story.now)
    told = story.tell()
    while part := list(itertools.islice(told, _CHAINED_AT_ONCE)):
        rows = ledger.chained(
            head, [record for record, _ in part], [at for _, at in part], story.rng.randbytes
        )
        for record, at in part:
            head.histogram.add(at, {str(record.level): 1})
        head.seq, head.hash = rows[-1][2], rows[-1][11]
        yield from rows
    heads.append(_head(head))


def _head(head: Head) -> LedgerHead:
    levels = head.histogram.by_level()
    return LedgerHead(
        session_id=head.session_id,
        organization_id=head.organization_id,
        seq=head.seq,
        hash=head.hash,
        events=head.seq,
        warnings=levels["warning"],
        errors=levels["error"] + levels["critical"],
        began_at=head.histogram.began_at,
        bucket_seconds=head.histogram.width_seconds,
        buckets=head.histogram.counts,
    )
