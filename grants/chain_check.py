"""One check of a session's chain against what is stored: in one go, or on from where it was left.

The code that reads the records is the one that reads an exported bundle.
"""

from __future__ import annotations

import math
import time

import structlog

from grants import lines, queries
from grants.custody_models import Verdict, Verification
from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence.verifier.ledger import Ledger
from keeptrusts_runners.evidence.verifier.records import BrokenRecord
from sessions.models import RunnerSession

log = structlog.get_logger(__name__)


def begin(session: RunnerSession) -> Ledger:
    """Before the first record."""
    return Ledger(session.organization_id.bytes, session.id.bytes)


def advance(session: RunnerSession, ledger: Ledger, until: float = math.inf) -> Verification | None:
    """Read on to the head, and say what is found; None where time (`until`, monotonic) is up first.

    Needs a snapshot: the head is then that of the records, and what is redacted has its tombstone.
    """
    broken: BrokenRecord | None = None
    head = queries.head(session)
    try:
        for batch in lines.in_batches(session, ledger.seq):
            ledger.take(batch)
            if ledger.seq < head.seq and time.monotonic() > until:
                return None
        ledger.require_tombstones()
        ledger.require_head(head.seq, bytes(head.hash).hex())
    except BrokenRecord as found:
        broken = found
    return _result(session, ledger, broken)


def _result(session: RunnerSession, ledger: Ledger, broken: BrokenRecord | None) -> Verification:
    result = Verification(
        session=session,
        organization_id=session.organization_id,
        verdict=Verdict.BROKEN if broken else Verdict.VERIFIED,
        records=ledger.seq,
        head_hash=ledger.head,
        first_bad_seq=broken.seq if broken else None,
        reason=broken.detail[:200] if broken else "",
        checked_at=clock.now(),
    )
    if session.evidence_expired_at is not None and not queries.events(session).exists():
        result.verdict, result.records = Verdict.EXPIRED, 0
        result.head_hash = queries.head(session).hash
        result.first_bad_seq, result.reason = None, "its records were dropped by retention"
    return result


def keep(found: Verification) -> None:
    """In the place of the last one. What is broken is told to the log as well."""
    fields = [
        field.attname for field in Verification._meta.concrete_fields if not field.primary_key
    ]
    Verification.objects.bulk_create(
        [found], update_conflicts=True, unique_fields=["session_id"], update_fields=fields
    )
    if found.verdict == Verdict.BROKEN:
        log.error(
            "evidence.broken",
            session=ids.encode("sess", found.session_id),
            first_bad_seq=found.first_bad_seq,
            reason=found.reason,
        )
