"""Denied access on the audit log: one record for each principal, route and minute.

A denial rolls its transaction back, so it is counted in one of its own, after the answer is
decided; `run_once` makes records of the minutes that are over.
"""

from __future__ import annotations

from collections import Counter

import structlog
from django.db import connections

from keeptrusts_runners import ids
from keeptrusts_runners.errors import DomainError
from keeptrusts_runners.evidence import audit, unauthenticated
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.tenancy import organization_scope

log = structlog.get_logger(__name__)

# A minute's denials stand in the log within this time of its end.
EVERY_SECONDS = 10
# How many organizations one pass serves; the next goes on.
MOST = 500

# Served by evidence_denial_due.
_DUE = """
SELECT DISTINCT organization_id FROM evidence_denial
 WHERE minute < date_trunc('minute', clock_timestamp()) LIMIT %s
"""


def keep(principal: Principal | None, method: str, route: str, error: DomainError) -> None:
    """Count a 403; log and count a 401, which nobody's organization can be told of. Other refusals
    are no denials. Call outside any scope."""
    if error.status == 401:
        log.warning("access.unauthenticated", method=method, route=route, code=error.code)
        unauthenticated.tally.add(error.code)
    elif error.status == 403 and principal is not None:
        with organization_scope(principal.organization_id):
            audit.deny(
                principal.organization_id,
                actor=principal.actor,
                route=f"{method} /{route}",
                code=error.code,
            )


def run_once() -> Counter[str]:
    """Put what was denied in minutes that are over on record; how many records."""
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_DUE, [MOST])
        due = [organization_id for (organization_id,) in cursor.fetchall()]
    counts: Counter[str] = Counter()
    for organization_id in due:
        try:
            with organization_scope(organization_id):
                counts["recorded"] += audit.seal_denials(organization_id)
        except Exception:
            # One organization's failure is logged and left to the next pass.
            log.exception("denials.not_recorded", organization=ids.encode("org", organization_id))
            counts["failed"] += 1
    return counts
