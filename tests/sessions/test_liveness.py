"""Liveness as figures: what `/metrics` tells of all organizations, and that it is true."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from prometheus_client.parser import text_string_to_metric_families

from keeptrusts_runners import clock
from keeptrusts_runners.api import health, metrics
from sessions import liveness, outcomes, reaper
from sessions.models import RunnerSession
from sessions.states import State
from tests import factories
from tests.database import apart
from tests.grants.asking import approve, requested
from tests.liveness import assert_nothing_is_stuck, stuck
from tests.people import Org, client
from tests.sessions import roads


@pytest.fixture(scope="module", autouse=True)
def _database(django_db_setup: None, run_word: str, worker_id: str) -> Iterator[None]:
    """Figures are sums over everything, so nothing else may be in it."""
    with apart(run_word, worker_id):
        yield


@pytest.fixture(autouse=True)
def _read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 0)


@pytest.fixture
def org() -> Org:
    assert_nothing_is_stuck()
    return Org()


def scrape(**headers: str) -> Any:
    return client().get("/metrics", headers=headers)


def told() -> dict[str, dict[str, float]]:
    """Each metric's values by the value of its label."""
    answer = scrape()
    assert answer.status_code == 200, answer.content
    return {
        family.name: {"".join(each.labels.values()): each.value for each in family.samples}
        for family in text_string_to_metric_families(answer.content.decode())
    }


def overdue_for(org: Org, session: RunnerSession, column: str, seconds: float) -> None:
    with org.scope():
        past = clock.now() - timedelta(seconds=seconds)
        RunnerSession.objects.filter(id=session.id).update(**{column: past})


def test_open_sessions_of_all_organizations_are_counted_by_state(org: Org) -> None:
    before = told()["keeptrusts_sessions"]
    other = Org()
    for state in State:
        roads.reach(org, state)
    roads.reach(other, State.RUNNING)
    now = told()
    more = {state: now["keeptrusts_sessions"][state] - before[state] for state in before}
    assert more == {"pending": 1, "dispatched": 1, "running": 2, "paused": 1, "cancelling": 1}
    leased = ("dispatched", "running", "cancelling")
    assert now["keeptrusts_leases_live"][""] == sum(now["keeptrusts_sessions"][s] for s in leased)


@pytest.mark.proves("stuck.metric")
@pytest.mark.parametrize(
    ("state", "column"),
    [
        (State.PENDING, "deadline_at"),
        (State.PAUSED, "deadline_at"),
        (State.RUNNING, "deadline_at"),
        (State.RUNNING, "lease_expires_at"),
        (State.CANCELLING, "lease_expires_at"),
    ],
)
def test_what_two_passes_should_have_settled_is_overdue(
    org: Org, state: State, column: str
) -> None:
    session = roads.reach(org, state)
    overdue_for(org, session, column, 1)
    assert told()["keeptrusts_sessions_overdue"] == {"": 0}
    overdue_for(org, session, column, liveness.OVERDUE_AFTER_SECONDS + 1)
    assert told()["keeptrusts_sessions_overdue"] == {"": 1}
    reaper.run_once()
    assert told()["keeptrusts_sessions_overdue"] == {"": 0}


def test_both_clocks_of_one_session_count_once(org: Org) -> None:
    roads.overdue(org, factories.running(org), "deadline_at", "lease_expires_at")
    assert told()["keeptrusts_sessions_overdue"] == {"": 1}


def test_what_a_brake_holds_back_is_a_figure_of_its_own(org: Org) -> None:
    """And is overdue like anything else when the brake's time is over and nobody settles it."""
    roads.overdue(org, factories.running(org), "lease_expires_at")
    brake = "UPDATE runner_reaper_pulse SET brake_reason = 'absence', brake_began_at = {began},"
    brake += " brake_until = {began} + interval '1 minute', brake_heard_since = '-infinity'"
    figures = ("keeptrusts_sessions_overdue", "keeptrusts_sessions_held_back")
    with connections["maintain"].cursor() as cursor:
        cursor.execute(brake.format(began="clock_timestamp()"))
        now = told()
        assert [now[name][""] for name in figures] == [0, 1]
        assert now["keeptrusts_reaper_brake"] == {"absence": 1, "mass_expiry": 0}
        cursor.execute(brake.format(began="(clock_timestamp() - interval '70 s')"))
        now = told()
        assert [now[name][""] for name in figures] == [1, 0]
        assert now["keeptrusts_reaper_brake"] == {"absence": 0, "mass_expiry": 0}


def test_the_pulse_and_the_totals_come_from_the_passes(org: Org) -> None:
    reaper.run_once()
    before = told()
    assert before["keeptrusts_reaper_pulse_age_seconds"][""] < 30
    for _ in range(2):
        roads.overdue(org, factories.pending(org), "deadline_at")
    reaper.run_once()
    reaper.run_once()
    totals = [now["keeptrusts_reaper_settled"].get("expired", 0) for now in (before, told())]
    assert totals[1] - totals[0] == 2


def test_requests_that_wait_for_people_are_counted(org: Org) -> None:
    before = told()["keeptrusts_grant_requests_pending"][""]
    session = factories.running(org)
    first, _ = requested(org, session), requested(org, session)
    assert told()["keeptrusts_grant_requests_pending"][""] == before + 2
    assert approve(org.approver.api, first).status_code == 200
    assert told()["keeptrusts_grant_requests_pending"][""] == before + 1


def test_the_page_is_for_prometheus_and_names_nobody(org: Org) -> None:
    factories.running(org)
    accepts = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
    answer = scrape(Accept=accepts)
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    page = answer.content.decode()
    assert "# TYPE keeptrusts_sessions_overdue gauge" in page
    assert "# TYPE keeptrusts_reaper_settled_total counter" in page
    for name in (str(org.id), org.organization.name, org.runner.principal.account):
        assert name not in page


def test_one_who_asks_again_and_again_reads_once_a_second(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 3600)
    monkeypatch.setattr(metrics, "_kept", metrics._Kept())
    before = told()
    factories.pending(org)
    assert told() == before


def test_it_can_be_switched_off(settings: Any) -> None:
    settings.METRICS = False
    answer = scrape()
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"


def test_the_application_gets_sums_and_no_rows() -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT has_function_privilege('kt_sessions_due(timestamptz)', 'EXECUTE')")
        assert cursor.fetchone() == (False,)
    for role in ("keeptrusts_maintain", "keeptrusts_forensics", "keeptrusts_signer"):
        with connections["migrate"].cursor() as cursor:
            cursor.execute(
                "SELECT has_function_privilege(%s, 'kt_session_figures(interval)', 'EXECUTE')",
                [role],
            )
            assert cursor.fetchone() == (False,), role


def test_readiness_says_when_the_loop_is_away_and_stays_ready() -> None:
    def check() -> health.Result:
        return next(each for each in health.results() if each.name == "maintenance")

    with connections["maintain"].cursor() as cursor:
        cursor.execute("UPDATE runner_reaper_pulse SET pulse_at = clock_timestamp()")
        assert (check().ok, check().detail) == (True, "ok")
        cursor.execute(
            "UPDATE runner_reaper_pulse SET pulse_at = clock_timestamp() - interval '5 min'"
        )
    found = check()
    assert found.ok
    assert found.detail.startswith("The maintenance loop has not looked for 30")
    assert client().get("/readyz").status_code == 200


@pytest.mark.proves("stuck.metric", "tests.controls")
def test_the_check_after_each_module_finds_what_is_stuck(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.running(org)
    roads.overdue(org, session, "lease_expires_at")

    def stumbling(*_: object, **__: object) -> RunnerSession:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch:
        patch.setattr(outcomes, "lose", stumbling)
        with pytest.raises(AssertionError, match="stuck after a pass"):
            assert_nothing_is_stuck()
    assert_nothing_is_stuck()
    assert not stuck(clock.now())
