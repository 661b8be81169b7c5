"""The queue: strict in its order, and never held up by what nobody may take."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections

from keeptrusts_runners import clock
from profiles.models import RunnerProfile
from sessions import queue
from sessions.models import RunnerSession
from tests import factories
from tests.people import Org
from tests.sessions import roads

BACKLOG = 3000


@pytest.fixture
def org() -> Org:
    return Org()


def backlog(org: Org, on: RunnerProfile, length: int = BACKLOG, **fields: Any) -> None:
    """So many pending sessions, besides one with a ledger: nothing but the queue looks at them."""
    factories.copies(org, factories.pending(org, on, **fields), length)


def settle(org: Org) -> None:
    """Nothing of it is left for the reaper, which would look for a ledger. The planner hears of
    the backlog only now."""
    with connections["migrate"].cursor() as cursor:
        cursor.execute("ANALYZE runner_session, runner_ledger_head")
    with org.scope():
        RunnerSession.objects.filter(ledger_head=None).update(
            state="expired", ended_at=clock.now(), deadline_at=None, not_before=None
        )


def taken(org: Org, most: int = 1, **wanted: Any) -> list[RunnerSession]:
    with org.scope():
        return queue.take(org.id, labels=wanted.pop("labels", {}), most=most, **wanted)


def rows_read(org: Org) -> int:
    """How many rows of sessions the statements of one claim have to look at, as PostgreSQL says."""
    with org.scope(), connection.cursor() as cursor:
        given = {
            "organization": org.id, "labels": "{}", "profiles": None, "seen": [], "most": 1,
            "full_profiles": [], "full_keys": [], "head": queue.HEAD, "depth": queue.DEPTHS[0],
        }  # fmt: skip
        cursor.execute("SET LOCAL enable_sort = off")
        statements = (queue._TAKE_FROM_HEAD, queue._GOES_ON, queue._BY_LANES)
        return sum(_read(cursor, statement, given) for statement in statements)


def _read(cursor: Any, statement: str, given: dict[str, Any]) -> int:
    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", given)
    (told,) = cursor.fetchone()
    return _rows(json.loads(told)[0]["Plan"] if isinstance(told, str) else told[0]["Plan"])


def _rows(plan: dict[str, Any]) -> int:
    own = 0
    if plan.get("Relation Name") == "runner_session":
        gone = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = round((plan["Actual Rows"] + gone) * plan["Actual Loops"])
    return own + sum(_rows(child) for child in plan.get("Plans", []))


def blocked_by_limit(org: Org) -> None:
    on = factories.profile(org, max_concurrent_sessions=1)
    factories.running(org, factories.pending(org, on))
    backlog(org, on)


def blocked_by_labels(org: Org) -> None:
    backlog(org, factories.profile(org), labels={"gpu": "a100"})


def blocked_by_pause(org: Org) -> None:
    on = factories.profile(org)
    backlog(org, on)
    with org.scope():
        RunnerProfile.objects.filter(id=on.id).update(status="paused")


def put_off(org: Org) -> None:
    with org.scope():
        later = clock.now() + timedelta(hours=1)
    backlog(org, factories.profile(org), not_before=later)


@pytest.mark.proves("claim.past-backlog")
@pytest.mark.parametrize("block", [blocked_by_limit, blocked_by_labels, blocked_by_pause, put_off])
def test_thousands_that_nobody_may_take_hold_up_nobody(org: Org, block: Any) -> None:
    block(org)
    free = factories.pending(org)
    try:
        assert rows_read(org) < BACKLOG / 5
        assert [each.id for each in taken(org)] == [free.id]
    finally:
        settle(org)


@pytest.mark.proves("claim.order")
def test_the_order_is_strict_over_lanes_and_beyond_the_first_look(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "HEAD", 1)
    monkeypatch.setattr(queue, "DEPTHS", (2, 4, 64))
    first, second = factories.profile(org), factories.profile(org)
    made = [
        factories.pending(org, on, priority=priority, labels=labels)
        for priority in (0, 7, 3)
        for on in (first, second)
        for labels in ({}, {"zone": "a"})
    ]
    roads.pause(org, made[2])
    roads.resume(org, made[2])
    expected = sorted(made, key=lambda each: (-each.priority, each.id))
    found = taken(org, 50, labels={"zone": "a"})
    assert [each.id for each in found] == [each.id for each in expected]
    only = taken(org, 50, profile_ids=[second.id])
    assert {each.profile_id for each in only} == {second.id}
    assert all(each.labels == {} for each in only)


def test_what_was_put_off_and_is_due_takes_its_place_by_priority(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "HEAD", 0)
    plain = factories.pending(org, priority=1)
    with org.scope():
        soon = clock.now() + timedelta(hours=1)
    urgent = factories.pending(org, priority=2, not_before=soon)
    later = factories.pending(org, priority=0, not_before=soon)
    assert [each.id for each in taken(org, 5)] == [plain.id]
    roads.overdue(org, urgent, "not_before")
    roads.overdue(org, later, "not_before")
    assert [each.id for each in taken(org, 5)] == [urgent.id, plain.id, later.id]


def test_a_change_of_labels_moves_a_session_to_another_lane(org: Org) -> None:
    session = factories.pending(org, labels={"gpu": "a100"})
    assert taken(org) == []
    answer = org.operator.api.patch(factories.path(session), {"labels": {}})
    assert answer.status_code == 200, answer.content
    assert [each.id for each in taken(org)] == [session.id]
