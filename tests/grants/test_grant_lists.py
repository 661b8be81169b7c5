"""Lists of grants read what they show, however many grants there have been."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from grants import authority, inbox, queries, revocations
from grants.models import PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity.scopes import Role
from tests.grants.asking import asked, under
from tests.people import Org

PAST = 3000
_RULE = {"operation": "network.*", "auto": True}

# Copies of a grant that is over, each a bit older than the one before: all within half a year.
_COPY = """
INSERT INTO runner_grant ({columns}, id, activated_at, expires_at, ended_at)
SELECT {columns}, kt_uuid7(), activated_at - age, expires_at - age, ended_at - age
  FROM (SELECT *, n * interval '1 hour' + interval '10 days' AS age
          FROM runner_grant, generate_series(1, %s) n WHERE id = %s) past
"""
_OWN = ("id", "activated_at", "expires_at", "ended_at")


@pytest.fixture(scope="module")
def org() -> Org:
    """With a few grants that are open, and thousands that are over. The planner has not heard of
    them, as after any burst."""
    org = Org()
    session = under(org, _RULE)
    over = asked(org.operator.api, session)
    org.operator.api.delete(f"/runners/sessions/{over['session_id']}/permissions/{over['id']}")
    kept = [f.column for f in PermissionGrant._meta.concrete_fields if f.column not in _OWN]
    with org.scope(), connection.cursor() as cursor:
        copy = _COPY.format(columns=", ".join(kept))
        cursor.execute(copy, [PAST, ids.decode("grant", over["id"])])
    for _ in range(3):
        asked(org.operator.api, session)
        asked(org.operator.api, session, operation="deploy.production")
    return org


def rows_read(found: QuerySet[Any]) -> int:
    """How many grants PostgreSQL has to look at for it."""
    statement, parameters = found.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
        (told,) = cursor.fetchone()
    return _rows((json.loads(told) if isinstance(told, str) else told)[0]["Plan"])


def _rows(plan: dict[str, Any]) -> int:
    own = 0
    if plan.get("Relation Name") == "runner_grant":
        gone = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = round((plan["Actual Rows"] + gone) * plan["Actual Loops"])
    return own + sum(_rows(child) for child in plan.get("Plans", []))


def _revocable(org: Org) -> QuerySet[Any]:
    return revocations._open(org.id)[:100]


def _waiting(org: Org) -> QuerySet[Any]:
    return inbox.waiting(by=org.person(Role.VIEWER).principal).order_by(*inbox.FIRST_TO_LAPSE)[:50]


def _in_force(org: Org) -> QuerySet[Any]:
    return queries.in_force(by=org.person(Role.VIEWER).principal)[:50]


def _at_an_instant(org: Org) -> QuerySet[Any]:
    with org.scope():
        instant = clock.now() - timedelta(days=60)
    return authority.at(org.id, instant).order_by(*authority.ORDER)[:50]


@pytest.mark.parametrize(
    ("found", "most"),
    [
        (_revocable, 10),
        (_waiting, 10),
        (_in_force, 10),
        # Whatever began within the longest time that a grant may last before that instant.
        (_at_an_instant, 24 * authority.LONGEST.days + 10),
    ],
)
def test_a_list_of_grants_reads_no_more_than_it_may_show(
    org: Org, found: Callable[[Org], QuerySet[Any]], most: int
) -> None:
    rows = found(org)
    with org.scope():
        assert rows_read(rows) <= most
