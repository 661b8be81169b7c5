"""Verification in the product: a session's chain recomputed from what is stored, with a result
that is kept.
"""

from __future__ import annotations

import time
from collections import Counter
from uuid import UUID

import structlog
from django.db import connections

from grants import chain_check, queries, verification_runs
from grants.custody_models import Verdict, Verification, VerificationRun
from keeptrusts_runners import ids
from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import queries as session_queries
from sessions.models import RunnerSession

log = structlog.get_logger(__name__)

EVERY_SECONDS = 30
# Sessions of one pass, of each kind.
MOST = 50
# The duties of the maintenance loop share one thread: what is left waits for the next pass, and a
# ledger that alone would take longer is checked when somebody asks, by verification_runs.
PASS_SECONDS = 1.0
MOST_RECORDS = 50_000
# A request reads no longer, however slow the machine is; the rest is read in the background.
REQUEST_SECONDS = 2.0


def of_session(session_id: UUID, *, by: Principal) -> Verification:
    """What the last check found, `pending` where there was none yet; and how far the one is that
    is under way (`running`). Raises NotFound."""
    by.require(Scope.AUDIT)
    session = session_queries.session(session_id, by=by)
    found = _last(session)
    found.running = VerificationRun.objects.filter(session_id=session.id).first()
    return found


def _last(session: RunnerSession) -> Verification:
    found = Verification.objects.filter(session_id=session.id).first()
    if found is not None:
        return found
    head = queries.head(session)
    return Verification(session=session, verdict=Verdict.PENDING, records=0, head_hash=head.hash)


def verify(session_id: UUID, *, by: Principal) -> Verification:
    """Recompute the chain now, and keep what comes of it. Of a ledger so long that nobody should
    wait for it the check goes on in the background, and what is known is answered, with how far it
    is (`running`). Raises NotFound.

    Opens the scopes that it needs: it reads in one snapshot, so that a session that goes on does
    not look broken.
    """
    with organization_scope(by.organization_id, snapshot=True):
        session = session_queries.session(session_id, by=by)
        short = queries.head(session).seq <= MOST_RECORDS
        ledger, until = chain_check.begin(session), time.monotonic() + REQUEST_SECONDS
        found = chain_check.advance(session, ledger, until) if short else None
    with organization_scope(by.organization_id):
        if found is not None:
            chain_check.keep(found)
            return found
        found = _last(session)
        found.running = verification_runs.ask(session, ledger, by=by)
    return found


# --- in the background -----------------------------------------------------------------------

# What of the sessions that ended last was never checked, by runner_session_newest_ended; then whose
# check is older than a month, by runner_verification_oldest. Where more end than one pass can
# check this is a sample; the rest is checked when somebody asks.
_DUE = """
(SELECT s.organization_id, s.id FROM (
        SELECT organization_id, id FROM runner_session WHERE ended_at IS NOT NULL
         ORDER BY ended_at DESC LIMIT 1000) s
   JOIN runner_ledger_head h ON h.session_id = s.id AND h.seq <= %(records)s
  WHERE NOT EXISTS (SELECT FROM runner_verification v WHERE v.session_id = s.id)
  LIMIT %(most)s)
UNION ALL
(SELECT v.organization_id, v.session_id FROM runner_verification v
   JOIN runner_ledger_head h ON h.session_id = v.session_id AND h.seq <= %(records)s
  WHERE v.checked_at < clock_timestamp() - interval '30 days'
  ORDER BY v.checked_at LIMIT %(most)s)
"""


def run_once() -> Counter[str]:
    """Check what has not been checked for long; counts by verdict."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_DUE, {"most": MOST, "records": MOST_RECORDS})
        due = cursor.fetchall()
    counts: Counter[str] = Counter()
    until = time.monotonic() + PASS_SECONDS
    for organization_id, session_id in due:
        if time.monotonic() > until:
            break
        try:
            found = verify(session_id, by=principal.system(organization_id))
            counts[str(found.verdict)] += 1
        except NotFound:
            counts["gone"] += 1
        except Exception:
            # One session's failure is logged and left to the next pass.
            log.exception("verification.failed", session=ids.encode("sess", session_id))
            counts["failed"] += 1
    return counts
