"""Many sessions by one request: a filter chooses them once, and what it chose stays chosen.

`start` freezes the ids in one statement; the maintenance loop works them off (batch_work.py) with
the verbs that the single doors use. Lock order: the batch, then its items, then as for a session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import structlog
from django.db import connection
from django.db.models import Count, QuerySet

from keeptrusts_runners import clock
from keeptrusts_runners.errors import (
    Conflict,
    LimitReached,
    NotFound,
    PermissionDenied,
    field_error,
)
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.identity.principal import Principal
from sessions.batch_models import BatchItem, BatchState, BatchVerb, Outcome, RunnerBatch
from sessions.models import RunnerSession
from sessions.states import FINAL, OPEN, State

log = structlog.get_logger(__name__)

# How many sessions one batch takes, how many batches an organization has at work at once, and how
# many ids a dry run names.
MAX_SESSIONS, MAX_RUNNING, SAMPLE = 10_000, 20, 20
# They ended as they were meant to: retried only where the filter's `state` names them.
MEANT = frozenset({State.COMPLETED, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class Bulk:
    """What is asked for. `matching` is what the filter leaves of the organization's sessions,
    `filter` the same as it was sent, `options` are keywords of the verb. Only sessions created up
    to `as_of` are meant, by default now."""

    verb: BatchVerb
    matching: QuerySet[RunnerSession]
    filter: Mapping[str, Any]
    options: Mapping[str, bool]
    as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a batch would take now. With `capped` more than that match, and it would be refused;
    `matched` and `by_state` are then of the newest MAX_SESSIONS. `sample` are the newest ids."""

    as_of: datetime
    matched: int
    capped: bool
    by_state: dict[str, int]
    sample: list[UUID]


def preview(asked: Bulk, *, by: Principal) -> Preview:
    """What `start` would choose; writes nothing. Raises as it does, but for too many."""
    _require_operator(by)
    as_of = _as_of(asked, clock.now())
    # Newest first by runner_session_newest; a bounded number of narrow rows.
    newest = _chosen(asked, as_of).order_by("-id").values_list("id", "state")
    found = list(newest[: MAX_SESSIONS + 1])
    taken = found[:MAX_SESSIONS]
    return Preview(
        as_of,
        len(taken),
        len(found) > MAX_SESSIONS,
        dict(Counter(str(state) for _, state in taken)),
        [session_id for session_id, _ in taken[:SAMPLE]],
    )


def start(asked: Bulk, reason: str, *, by: Principal) -> RunnerBatch:
    """A batch of all that the filter chooses now; done at once where that is nothing.

    Raises Invalid for more than MAX_SESSIONS and for an `as_of` to come, LimitReached, and
    PermissionDenied for executors, whose right is bound to the leases that they hold.
    """
    _require_operator(by)
    if RunnerBatch.objects.in_organization(by.organization_id).running().count() >= MAX_RUNNING:
        raise LimitReached(f"{MAX_RUNNING} batches are running.", limit="running_batches")
    now = clock.now()
    batch = RunnerBatch.objects.create(
        organization_id=by.organization_id,
        verb=asked.verb,
        options=dict(asked.options),
        reason=reason,
        filter=dict(asked.filter),
        as_of=_as_of(asked, now),
        requested_by=by.actor,
        created_at=now,
    )
    batch.total = _freeze(batch, _chosen(asked, batch.as_of))
    batch.save(update_fields=["total"])
    detail = {"verb": str(batch.verb), "total": batch.total}
    audit.changed("batch.started", "batch", batch, by=by, detail=detail)
    log.info(
        "batch.started", batch=str(batch), verb=str(batch.verb), by=by.actor, total=batch.total
    )
    close(batch)
    return batch


def stop(batch_id: UUID, *, by: Principal) -> RunnerBatch:
    """Skip what is still pending; what is done stays done. Again is the same answer.

    Raises NotFound, PermissionDenied, and Conflict for a batch that came to its end by itself.
    """
    _require_operator(by)
    batch = locked(batch_id, by.organization_id)
    if batch.stopped_at is None:
        if batch.state == BatchState.DONE:
            raise Conflict("The batch is done; nothing is left to stop.", current_state=batch.state)
        batch.stopped_by, batch.stopped_at = by.actor, clock.now()
        batch.save(update_fields=["stopped_by", "stopped_at"])
        audit.changed("batch.stopped", "batch", batch, by=by)
        settle_rest(batch, Outcome.SKIPPED, "batch_stopped", "The batch was stopped before it.")
    return batch


def _require_operator(by: Principal) -> None:
    if by.is_executor:
        raise PermissionDenied("Executors write to the sessions that they hold, one by one.")


def _as_of(asked: Bulk, now: datetime) -> datetime:
    if asked.as_of is not None and asked.as_of > now:
        detail = "This is yet to come. Leave it out, or send that of a dry run."
        raise field_error("/as_of", "in_the_future", detail)
    return asked.as_of or now


def _chosen(asked: Bulk, as_of: datetime) -> QuerySet[RunnerSession]:
    """Of what matches, what the verb may have something to do with."""
    if asked.verb == BatchVerb.CANCEL:
        states = OPEN if asked.options.get("force") else OPEN - {State.CANCELLING}
    else:
        states = FINAL - (MEANT - set(asked.filter.get("state", ())))
    return asked.matching.filter(state__in=sorted(states), created_at__lte=as_of)


# One statement: the filter sees one instant of the table, and nobody's ids travel.
_FREEZE = """
INSERT INTO runner_batch_item (id, organization_id, batch_id, session_id)
SELECT kt_uuid7(), %s, %s, chosen.id FROM ({chosen}) chosen
"""


def _freeze(batch: RunnerBatch, chosen: QuerySet[RunnerSession]) -> int:
    query = chosen.order_by().values("id")[: MAX_SESSIONS + 1].query
    # A filter that can find nothing is a query that finds nothing, not an exception.
    compiler = query.get_compiler(connection=connection, elide_empty=False)
    sql, parameters = compiler.as_sql()
    with connection.cursor() as cursor:
        cursor.execute(_FREEZE.format(chosen=sql), [batch.organization_id, batch.id, *parameters])
        total = cast(int, cursor.rowcount)
    if total > MAX_SESSIONS:
        detail = (
            f"More than {MAX_SESSIONS:,} sessions match, which is the most that a batch takes. "
            "Narrow it, for example by state, profile_id or created_before, and send several."
        )
        raise field_error("/filter", "too_many", detail)
    return total


# --- reading ---------------------------------------------------------------------------------


def of_organization(*, by: Principal) -> QuerySet[RunnerBatch]:
    return RunnerBatch.objects.in_organization(by.organization_id)


def batch(batch_id: UUID, *, by: Principal) -> RunnerBatch:
    """With its progress now. Raises NotFound."""
    found = of_organization(by=by).filter(id=batch_id).first()
    if found is None:
        raise NotFound
    return with_progress([found])[0]


def items(batch_id: UUID, *, by: Principal) -> QuerySet[BatchItem]:
    """Its sessions, served by runner_batch_item_once in the order of their ids. Raises
    NotFound."""
    if not of_organization(by=by).filter(id=batch_id).exists():
        raise NotFound
    return BatchItem.objects.filter(batch_id=batch_id).order_by("session_id")


def with_progress(found: Iterable[RunnerBatch]) -> list[RunnerBatch]:
    """The same batches; the figures of those that run are counted now. An organization has at
    most MAX_RUNNING, and runner_batch_item_outcome counts one of 10,000 items without the table;
    those that are done keep theirs."""
    batches = list(found)
    running = {each.id: each for each in batches if each.state == BatchState.RUNNING}
    if running:
        settled = BatchItem.objects.filter(batch_id__in=running).exclude(outcome=Outcome.PENDING)
        counted = settled.values_list("batch_id", "outcome").annotate(number=Count("*"))
        for key, outcome, number in counted:
            setattr(running[key], outcome, number)
    return batches


# --- for the work ----------------------------------------------------------------------------


def locked(batch_id: UUID, organization_id: UUID) -> RunnerBatch:
    """The batch, locked until the transaction ends. Raises NotFound."""
    found = RunnerBatch.objects.in_organization(organization_id).filter(id=batch_id)
    batch = found.select_for_update(no_key=True).first()
    if batch is None:
        raise NotFound
    return batch


def settle_rest(batch: RunnerBatch, outcome: Outcome, code: str, detail: str) -> int:
    """Give all that is pending of a locked batch this outcome, and close it; how many that was.
    Waits for an item that is being worked off just now, which keeps its own."""
    pending = BatchItem.objects.filter(batch_id=batch.id, outcome=Outcome.PENDING)
    number = pending.update(outcome=outcome, code=code, detail=detail, settled_at=clock.now())
    close(batch)
    return number


# No item ever becomes pending again, so that an answer of "none" cannot grow old.
_CLOSE = """
UPDATE runner_batch b
   SET state = 'done', ended_at = clock_timestamp(),
       done = f.done, skipped = f.skipped, refused = f.refused
  FROM (SELECT count(*) FILTER (WHERE outcome = 'pending') AS pending,
               count(*) FILTER (WHERE outcome = 'done') AS done,
               count(*) FILTER (WHERE outcome = 'skipped') AS skipped,
               count(*) FILTER (WHERE outcome = 'refused') AS refused
          FROM runner_batch_item WHERE batch_id = %(id)s) f
 WHERE b.id = %(id)s AND b.state = 'running' AND f.pending = 0
RETURNING b.ended_at, f.done, f.skipped, f.refused
"""


def close(batch: RunnerBatch) -> bool:
    """Done, if nothing is pending any more; whether that was now."""
    with connection.cursor() as cursor:
        cursor.execute(_CLOSE, {"id": batch.id})
        row = cursor.fetchone()
    if row is None:
        return False
    batch.state = BatchState.DONE
    batch.ended_at, batch.done, batch.skipped, batch.refused = row
    log.info("batch.done", batch=str(batch), done=row[1], skipped=row[2], refused=row[3])
    return True
