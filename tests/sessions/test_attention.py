"""What needs attention, and how heartbeats are: one definition for the API, the pages and rows."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connections
from django.db.models import F, QuerySet
from django.http import QueryDict

from keeptrusts_runners import clock
from sessions import diagnosis, lifecycle, outcomes, queries
from sessions.filters import SessionFilters
from sessions.models import RunnerSession
from sessions.states import Health, Reason, State, Verb
from tests import factories
from tests.grants.asking import asked, overdue, requested
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


def listed(org: Org, **query: str) -> list[str]:
    answer = org.viewer.api.get(f"/runners/sessions?{urlencode(query)}")
    assert answer.status_code == 200, answer.content
    return [item["id"] for item in answer.json()["items"]]


def named(*sessions: RunnerSession) -> list[str]:
    return [str(session) for session in sessions]


def changed(org: Org, session: RunnerSession, **values: Any) -> RunnerSession:
    with org.scope():
        RunnerSession.objects.filter(id=session.id).update(**values)
    return session


def earlier(org: Org, session: RunnerSession, *names: str, seconds: float) -> RunnerSession:
    return changed(org, session, **{name: F(name) - timedelta(seconds=seconds) for name in names})


def late(org: Org) -> RunnerSession:
    return earlier(org, factories.running(org), "heartbeat_at", seconds=31)


def silent(org: Org) -> RunnerSession:
    return earlier(org, factories.running(org), "heartbeat_at", "lease_expires_at", seconds=90)


def lost(org: Org, **values: Any) -> RunnerSession:
    values = {"state": State.LOST, "lease_expires_at": None, "ended_at": F("updated_at")} | values
    return changed(org, factories.running(org), **values)


def cancelling(org: Org, seconds: float) -> RunnerSession:
    session, by = factories.running(org), org.operator.principal
    with org.scope():
        lifecycle.cancel(session.id, by=by)
    return earlier(org, session, "deadline_at", seconds=seconds)


def retrying(org: Org) -> RunnerSession:
    session, by = factories.pending(org, max_attempts=3), org.runner.principal
    factories.running(org, session)
    report = {"error": {"code": "again"}, "retryable": True}
    with org.scope():
        return outcomes.end(session.id, Verb.FAIL, report, by=by)


def asking(org: Org) -> RunnerSession:
    session = factories.running(org)
    requested(org, session)
    return session


MADE = {
    Reason.LOST: lost,
    Reason.SILENT: silent,
    Reason.CANCEL_UNCONFIRMED: lambda org: cancelling(org, seconds=120),
    Reason.LATE: late,
    Reason.APPROVAL_WAITING: asking,
    Reason.RETRYING: retrying,
}


def test_every_reason_is_listed_alone_and_in_the_view(org: Org) -> None:
    made = {reason: make(org) for reason, make in MADE.items()}
    factories.running(org)
    factories.pending(org)
    assert made.keys() == set(Reason)
    for reason, session in made.items():
        assert listed(org, attention=reason) == named(session)
    everything = named(*reversed(made.values()))
    assert listed(org, view="attention") == everything
    assert listed(org, attention=",".join(Reason)) == everything


def test_what_is_well_needs_nobody(org: Org) -> None:
    factories.running(org)
    cancelling(org, seconds=0)
    lost(org, disposition="accept")
    overdue(org, requested(org, factories.running(org)), "request_lapses_at")
    assert listed(org, view="attention") == []


def test_an_approval_may_wait_before_anybody_has_claimed(org: Org) -> None:
    rule = {"operation": "*", "approvals_required": 1}
    session = factories.pending(org, factories.profile(org, grant_policy=[rule]))
    asked(org.operator.api, session)
    assert listed(org, attention="approval_waiting") == named(session)


def test_each_row_tells_all_its_reasons_the_worst_first(org: Org) -> None:
    session = late(org)
    requested(org, session)
    requested(org, session, operation="another")
    answer = org.viewer.api.get("/runners/sessions?view=attention").json()
    (told,) = answer["items"]
    assert (told["id"], told["health"]) == (str(session), "late")
    assert told["attention"] == ["late", "approval_waiting"]


@pytest.mark.parametrize("words", [("late",), ("silent",), ("healthy", "n/a"), tuple(Health)])
def test_health_is_a_filter(org: Org, words: tuple[str, ...]) -> None:
    made = {"healthy": factories.running(org), "late": late(org), "silent": silent(org)}
    made["n/a"] = factories.pending(org)
    wanted = [session for word, session in made.items() if word in words]
    assert listed(org, health=",".join(words)) == named(*reversed(wanted))


@pytest.mark.parametrize("query", ["health=sick", "health=", "attention=all", "attention=lost,"])
def test_other_words_are_refused(org: Org, query: str) -> None:
    assert org.viewer.api.get(f"/runners/sessions?{query}").status_code == 400


@pytest.mark.parametrize("make", [factories.claimed, factories.running])
def test_the_database_calls_late_what_the_page_says_will_be(org: Org, make: Any) -> None:
    session, by = make(org), org.viewer.principal
    for seconds, health in ((29, "healthy"), (2, "late")):
        earlier(org, session, "heartbeat_at", "dispatched_at", seconds=seconds)
        with org.scope():
            found = queries.detail(session.id, by=by)
            late_at = diagnosis.late_after(found)
            assert late_at
            assert vars(found)["health"] == health
            assert (late_at <= clock.now()) == (health == "late")


def test_another_organizations_sessions_are_not_among_them(org: Org) -> None:
    for make in MADE.values():
        make(Org())
    assert listed(org, view="attention") == []
    assert listed(org, health="late,silent") == []


def test_what_waits_for_longer_than_its_profile_allows(org: Org) -> None:
    hasty = factories.profile(org, queue_target_seconds=5)
    calm = factories.profile(org, queue_target_seconds=60)
    waits = earlier(org, factories.pending(org, hasty), "created_at", seconds=10)
    earlier(org, factories.pending(org, calm), "created_at", seconds=10)
    factories.pending(org, hasty)
    put_off = earlier(org, factories.pending(org, hasty), "created_at", seconds=10)
    changed(org, put_off, not_before=F("updated_at") + timedelta(minutes=1))
    assert listed(org, past_queue_target="true") == named(waits)


# --- what lists cost -------------------------------------------------------------------------

MANY = 3000


# Copies of a session that ended, without their ledgers: nothing but lists looks at them.
@pytest.fixture
def crowded(org: Org) -> Org:
    """Behind the few that are looked for stand many that completed, all of one profile."""
    on = factories.profile(org)
    rare = factories.running(org, factories.pending(org, on))
    changed(org, rare, state=State.LOST, lease_expires_at=None, ended_at=F("updated_at"))
    done = factories.running(org, factories.pending(org, on))
    changed(org, done, state=State.COMPLETED, lease_expires_at=None, ended_at=F("updated_at"))
    factories.copies(org, done, MANY)
    late(org)
    with connections["migrate"].cursor() as cursor:
        # All that a list joins: of a table that looks small, each row would be looked up.
        cursor.execute(
            "ANALYZE runner_session, runner_ledger_head, runner_verification, runner_profile,"
            " runner_harness, runner_grant"
        )
    return org


def planned(found: QuerySet[Any]) -> dict[str, Any]:
    """How PostgreSQL reads a page of these."""
    told = found.order_by("-id")[:51].explain(analyze=True, format="json")
    return dict(json.loads(told)[0]["Plan"])


def _rows(plan: dict[str, Any]) -> int:
    own = 0
    if plan.get("Relation Name") == "runner_session":
        gone = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = round((plan["Actual Rows"] + gone) * plan["Actual Loops"])
    return own + sum(_rows(child) for child in plan.get("Plans", []))


RARE = [f"state={state}" for state in State if state != State.COMPLETED]


@pytest.mark.parametrize("query", [*RARE, "view=attention", "health=late,silent"])
def test_a_list_of_a_few_does_not_walk_past_the_many(crowded: Org, query: str) -> None:
    by = crowded.viewer.principal
    with crowded.scope():
        profile = RunnerSession.objects.get(state=State.LOST).profile_id
        found = SessionFilters.narrow(QueryDict(query), queries.rows(by=by))
        for each in (found, found.filter(profile_id=profile)):
            plan = planned(each)
            assert _rows(plan) < MANY / 20, plan
