"""Checks of long ledgers, a bounded step at a time, so that nobody waits for one in a request.

How far a check has come is a row, written after each step: whoever goes on, after a kill or in
another process, goes on there. A session has one such row at most, and so one check at a time.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any
from uuid import UUID

import structlog
from django.db import connections

from grants import chain_check
from grants.custody_models import VerificationRun
from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence.verifier.ledger import Ledger
from keeptrusts_runners.evidence.verifier.redactions import Redactions
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions.models import RunnerSession

log = structlog.get_logger(__name__)

EVERY_SECONDS = 0.5
# The duties of the maintenance loop share one thread.
PASS_SECONDS = 0.5

# The whole table, which has as many rows as checks are under way; who waited longest comes first.
_UNDER_WAY = """
SELECT organization_id, session_id FROM runner_verification_run
 WHERE failed_at IS NULL ORDER BY stepped_at, session_id LIMIT 100
"""


def ask(session: RunnerSession, ledger: Ledger, *, by: Principal) -> VerificationRun:
    """The check of this session that is under way, begun now with what is read (`ledger`) if there
    was none. One that could not go on goes on from where it stood."""
    now = clock.now()
    asked = VerificationRun(
        session=session,
        organization_id=session.organization_id,
        requested_by=by.actor,
        requested_at=now,
        stepped_at=now,
        **_progress(ledger),
    )
    VerificationRun.objects.bulk_create(
        [asked], update_conflicts=True, unique_fields=["session_id"], update_fields=["failed_at"]
    )
    # The row is ours until we commit, whoever made it.
    return VerificationRun.objects.get(session_id=session.id)


def run_once() -> Counter[str]:
    """One pass over what is under way; counts of steps, and of verdicts."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_UNDER_WAY)
        found = cursor.fetchall()
    counts: Counter[str] = Counter()
    until = time.monotonic() + PASS_SECONDS
    for organization_id, session_id in found:
        counts[_stepped(organization_id, session_id, until)] += 1
        if time.monotonic() > until:
            break
    return counts


def _stepped(organization_id: UUID, session_id: UUID, until: float) -> str:
    """A step, or the mark that it failed. Where the database is away that cannot be said either,
    and the next pass tries again."""
    try:
        return _step(organization_id, session_id, until)
    except Exception:
        log.exception("verification.failed", session=ids.encode("sess", session_id))
    with organization_scope(organization_id):
        VerificationRun.objects.filter(session_id=session_id).update(failed_at=clock.now())
    return "failed"


def _step(organization_id: UUID, session_id: UUID, until: float) -> str:
    """Read on until time is up, or the ledger is; what became of it in a word."""
    with organization_scope(organization_id, snapshot=True):
        run = VerificationRun.objects.select_related("session").filter(pk=session_id).first()
        if run is None:
            return "gone"
        ledger = _resumed(run)
        found = chain_check.advance(run.session, ledger, until)
    with organization_scope(organization_id):
        # Who went on from the same place at the same time was as far, and one of the two is heard.
        mine = VerificationRun.objects.filter(
            session_id=session_id, requested_at=run.requested_at, records=run.records
        )
        if found is None:
            mine.update(stepped_at=clock.now(), **_progress(ledger))
            return "steps"
        if not mine.delete()[0]:
            return "gone"
        chain_check.keep(found)
        return str(found.verdict)


def _resumed(run: VerificationRun) -> Ledger:
    ledger = chain_check.begin(run.session)
    ledger.seq, ledger.head, ledger.ended_at = run.records, bytes(run.head_hash), run.ended_at_us
    ledger.redactions = Redactions(_pairs(run.redacted), _pairs(run.tombstones))
    return ledger


def _pairs(stored: list[list[int]]) -> list[tuple[int, int]]:
    return [(first, last) for first, last in stored]


def _progress(ledger: Ledger) -> dict[str, Any]:
    return {
        "records": ledger.seq,
        "head_hash": ledger.head,
        "ended_at_us": ledger.ended_at,
        "redacted": ledger.redactions.redacted,
        "tombstones": ledger.redactions.ranges,
    }
