"""Working off batches: each session in a transaction of its own, on behalf of whoever asked.

One pass is `run_once`. Like the reaper it finds as the maintenance role what there is to do, and
does it as the application within one organization. A row lock makes an item one loop's at a time,
and its outcome commits together with what was done: two loops do nothing twice, and what a killed
one left half done never was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

import structlog
from django.db import Error, InterfaceError, OperationalError, connections, transaction

from keeptrusts_runners import clock, ids
from keeptrusts_runners.errors import DomainError, InternalError, PermissionDenied
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import batches, lifecycle, queries, retries, transitions
from sessions.batch_models import BatchItem, BatchVerb, Outcome, RunnerBatch
from sessions.models import Disposition, RunnerSession, SideEffects
from sessions.states import State

log = structlog.get_logger(__name__)

# So few that a pass takes about half a second: leases run out meanwhile.
MOST = 50

# The first pending of every running batch, by runner_batch_running and runner_batch_item_outcome;
# of those in turn one of each organization, and within it one of each batch: a large batch holds
# up neither another organization nor the small one that was asked for after it.
_PENDING = """
SELECT organization_id, batch_id, session_id FROM (
  SELECT b.organization_id, b.id AS batch_id, i.session_id,
         row_number() OVER (PARTITION BY b.organization_id ORDER BY i.place, b.id) AS turn
    FROM runner_batch b
   CROSS JOIN LATERAL (
         SELECT session_id, row_number() OVER (ORDER BY session_id) AS place
           FROM runner_batch_item
          WHERE batch_id = b.id AND outcome = 'pending'
          ORDER BY session_id LIMIT %(most)s) i
   WHERE b.state = 'running') found
 ORDER BY turn, batch_id LIMIT %(most)s
"""

_FINISHED = """
SELECT organization_id, id FROM runner_batch b
 WHERE state = 'running' AND NOT EXISTS (
       SELECT FROM runner_batch_item WHERE batch_id = b.id AND outcome = 'pending')
 ORDER BY id LIMIT %(most)s
"""


class Result(NamedTuple):
    """What has come of one session."""

    outcome: Outcome
    code: str = ""
    detail: str = ""
    retry_id: UUID | None = None


def run_once(most: int = MOST) -> Counter[str]:
    """Work off at most `most` items and close what has none left; counts by outcome."""
    counts: Counter[str] = Counter()
    for organization_id, batch_id, session_id in _found(_PENDING, most):
        try:
            with organization_scope(organization_id):
                settled = settle(batch_id, session_id, organization_id)
            counts.update(settled)
        except Error as error:
            # Left pending, for the next pass; the others are worked off.
            log.warning(
                "batch.postponed", **_named(batch_id, session_id), reason=str(error).strip()
            )
            counts["postponed"] += 1
        except Exception:
            log.exception("batch.failed", **_named(batch_id, session_id))
            counts["failed_to_settle"] += 1
    for organization_id, batch_id in _found(_FINISHED, most):
        with organization_scope(organization_id):
            counts.update(batches=int(batches.close(batches.locked(batch_id, organization_id))))
    return +counts


def _found(statement: str, most: int) -> list[tuple[UUID, ...]]:
    with connections["maintain"].cursor() as cursor:
        cursor.execute(statement, {"most": most})
        rows: list[tuple[UUID, ...]] = cursor.fetchall()
        return rows


def _named(batch_id: UUID, session_id: UUID) -> dict[str, str]:
    return {"batch": ids.encode("batch", batch_id), "session": ids.encode("sess", session_id)}


def settle(batch_id: UUID, session_id: UUID, organization_id: UUID) -> dict[str, int]:
    """Do the batch's verb to this session, if that is still to be done; counts by outcome.

    Whoever asked needs the right to it now: without it all the rest of the batch is refused.
    """
    batch = RunnerBatch.objects.in_organization(organization_id).get(id=batch_id)
    by = tokens.principal_of(batch.requested_by, organization_id)
    if by is None or not by.has(Scope.WRITE):
        return {str(Outcome.REFUSED): _refuse_rest(batch)}
    pending = BatchItem.objects.filter(
        batch_id=batch_id, session_id=session_id, outcome=Outcome.PENDING
    )
    item = pending.select_for_update(no_key=True, skip_locked=True).first()
    if item is None:
        return {}  # Another loop has it, or the batch was stopped.
    result = _attempt(batch, session_id, by)
    pending.filter(id=item.id).update(settled_at=clock.now(), **result._asdict())
    return {str(result.outcome): 1}


def _refuse_rest(batch: RunnerBatch) -> int:
    batch = batches.locked(batch.id, batch.organization_id)
    log.warning("batch.refused", batch=str(batch), by=batch.requested_by)
    return batches.settle_rest(
        batch,
        Outcome.REFUSED,
        PermissionDenied.code,
        f"{batch.requested_by} may not do this any more.",
    )


def _attempt(batch: RunnerBatch, session_id: UUID, by: Principal) -> Result:
    """The verb, whole or not at all. A refusal is an outcome, and so is a defect, which would only
    meet the same again; a database that is away or busy is none, and is raised."""
    try:
        with transaction.atomic():
            session = transitions.lock(session_id, by=by)
            return _VERBS[BatchVerb(batch.verb)](batch, session, by)
    except DomainError as refusal:
        return Result(Outcome.REFUSED, refusal.code, refusal.detail)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("batch.item_failed", **_named(batch.id, session_id))
        return Result(Outcome.REFUSED, InternalError.code, InternalError.default_detail())


def _cancel(batch: RunnerBatch, session: RunnerSession, by: Principal) -> Result:
    if session.is_final:
        return Result(Outcome.SKIPPED, "already_ended", f"It is {session.state}.")
    if session.state == State.CANCELLING and not batch.options.get("force"):
        return Result(Outcome.SKIPPED, "already_cancelling", "It has been asked to end.")
    lifecycle.cancel(session.id, by=by, reason=batch.reason, batch_id=batch.id, **batch.options)
    return Result(Outcome.DONE)


def _retry(batch: RunnerBatch, session: RunnerSession, by: Principal) -> Result:
    """Once, whoever asks: what has a retry is left to that one. A lost session is decided on with
    it, so that it needs no attention any more."""
    if made := queries.newest_retry(session.id, by=by):
        return Result(Outcome.SKIPPED, "already_retried", f"{ids.encode('sess', made)} retries it.")
    if session.disposition:
        return Result(Outcome.SKIPPED, "already_decided", f"Decided: {session.disposition}.")
    if _may_have_had_its_effect(session):
        detail = "It is at_most_once, and nobody knows whether its effect is there: decide by hand."
        return Result(Outcome.REFUSED, "outcome_unknown", detail)
    if session.state == State.LOST:
        retries.decide(
            session.id, Disposition.RETRY, by=by, comment=batch.reason, batch_id=batch.id,
            **batch.options,
        )  # fmt: skip
        return Result(Outcome.DONE, retry_id=queries.newest_retry(session.id, by=by))
    again = retries.retry(
        session.id, by=by, reason=batch.reason, batch_id=batch.id, **batch.options
    )
    return Result(Outcome.DONE, retry_id=again.id)


def _may_have_had_its_effect(session: RunnerSession) -> bool:
    """It may be done once, was begun, and no runner said how it went."""
    return (
        session.side_effects == SideEffects.AT_MOST_ONCE
        and session.started_at is not None
        and not session.reported_outcome
    )


_VERBS: dict[BatchVerb, Callable[[RunnerBatch, RunnerSession, Principal], Result]] = {
    BatchVerb.CANCEL: _cancel,
    BatchVerb.RETRY: _retry,
}
