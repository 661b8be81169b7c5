"""Time's verbs: each deadline, by moving it into the past; nobody waits here for anything."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connections

from keeptrusts_runners import clock
from sessions import outcomes, reaper
from sessions.models import DesiredState, RunnerSession
from sessions.states import State
from tests import factories
from tests.factories import path, session_api
from tests.people import Org
from tests.races.threads import at_once
from tests.sessions import records, roads

# Other tests' leases run out meanwhile, so that only one's own organizations are looked at.
OVERDUE = """
SELECT count(*) FROM runner_session
 WHERE state NOT IN ('completed', 'failed', 'cancelled', 'timed_out', 'expired', 'lost')
   AND (lease_expires_at <= clock_timestamp() OR deadline_at <= clock_timestamp())
   AND organization_id = ANY(%s)
"""


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(autouse=True)
def _nothing_of_other_tests_is_overdue() -> None:
    """A pass takes the longest overdue first: what other tests left would go before ours."""
    while sum(reaper.run_once().values()):
        pass


def overdue_in(*orgs: Org) -> int:
    with connections["maintain"].cursor() as cursor:
        cursor.execute(OVERDUE, [[org.id for org in orgs]])
        return int(cursor.fetchone()[0])


def after_a_pass(org: Org, session: RunnerSession, *columns: str) -> RunnerSession:
    roads.overdue(org, session, *columns)
    reaper.run_once()
    records.assert_sound(org, session)
    return records.fresh(org, session)


# --- each deadline ---------------------------------------------------------------------------


@pytest.mark.proves("stuck.every-state-ends")
def test_what_was_never_claimed_in_time_expires(org: Org) -> None:
    row = after_a_pass(org, factories.pending(org), "deadline_at")
    assert (row.state, row.reason) == (State.EXPIRED, "queue_timeout")
    assert records.last(org, row, "state.expired").actor == "system"


def test_what_waits_too_long_for_its_next_attempt_times_out(org: Org) -> None:
    session = factories.running(org, factories.pending(org, max_attempts=2))
    waiting = roads.requeue(org, session)
    row = after_a_pass(org, waiting, "deadline_at")
    assert (row.state, row.reason) == (State.TIMED_OUT, "queue_timeout")


def test_what_waits_beyond_its_runs_deadline_times_out(org: Org) -> None:
    session = factories.running(org, factories.pending(org, max_attempts=2))
    waiting = roads.requeue(org, session)
    row = after_a_pass(org, waiting, "deadline_at", "run_deadline_at")
    assert (row.state, row.reason) == (State.TIMED_OUT, "timeout")


@pytest.mark.parametrize("state", [State.DISPATCHED, State.RUNNING])
def test_a_run_beyond_its_deadline_times_out_whatever_its_lease(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    token = session_api(org, session)
    row = after_a_pass(org, session, "deadline_at", "lease_expires_at")
    assert (row.state, row.reason) == (State.TIMED_OUT, "timeout")
    assert token.post(path(session, "heartbeat")).json()["code"] == "lease_lost"


@pytest.mark.proves("stuck.every-state-ends")
def test_a_pause_beyond_its_week_times_out(org: Org) -> None:
    row = after_a_pass(org, roads.reach(org, State.PAUSED), "deadline_at")
    assert (row.state, row.reason) == (State.TIMED_OUT, "pause_timeout")


@pytest.mark.proves("life.cancel-ladder")
def test_a_cancel_that_nobody_acknowledges_is_forced(org: Org) -> None:
    session = roads.reach(org, State.CANCELLING)
    session_api(org, session).post(path(session, "heartbeat"))
    row = after_a_pass(org, session, "deadline_at")
    assert (row.state, row.reason) == (State.CANCELLED, "cancel_forced")


def test_a_cancel_whose_runner_goes_silent_is_over_with_the_lease(org: Org) -> None:
    row = after_a_pass(org, roads.reach(org, State.CANCELLING), "lease_expires_at")
    assert (row.state, row.reason) == (State.CANCELLED, "lease_expired")


@pytest.mark.proves("life.attempts")
@pytest.mark.parametrize("state", [State.DISPATCHED, State.RUNNING])
def test_a_silent_runner_loses_its_last_attempt(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    row = after_a_pass(org, session, "lease_expires_at")
    assert (row.state, row.reason, row.failures) == (State.LOST, "lease_expired", 1)
    expired = records.last(org, session, "lease.expired")
    assert expired.data["holder"] == org.runner.principal.account
    assert expired.lease_epoch == 1


@pytest.mark.proves("life.attempts")
@pytest.mark.parametrize("state", [State.DISPATCHED, State.RUNNING])
def test_a_silent_runners_session_is_tried_again_while_attempts_remain(
    org: Org, state: State
) -> None:
    on = factories.profile(org, max_attempts=2, backoff_seconds=30)
    session = factories.claimed(org, factories.pending(org, on))
    if state is State.RUNNING:
        roads.overdue(org, session, "not_before")
        session_api(org, session).post(path(session, "heartbeat"))
    row = after_a_pass(org, session, "lease_expires_at")
    assert (row.state, row.failures) == (State.PENDING, 1)
    assert row.not_before is not None
    assert row.not_before - row.updated_at >= timedelta(seconds=30)
    roads.overdue(org, row, "not_before")
    last = after_a_pass(org, factories.running(org, row), "lease_expires_at")
    assert (last.state, last.failures, last.lease_epoch) == (State.LOST, 2, 2)


def test_a_lease_lost_while_a_pause_is_desired_leaves_the_session_paused(org: Org) -> None:
    session = factories.running(org)
    roads.pause(org, session)
    row = after_a_pass(org, session, "lease_expires_at")
    assert (row.state, row.desired_state) == (State.PAUSED, DesiredState.PAUSED)
    assert roads.resume(org, row).state == State.PENDING


# --- one pass --------------------------------------------------------------------------------


@pytest.mark.proves("stuck.live-not-reaped")
def test_what_is_in_time_is_left_alone(org: Org) -> None:
    alive = [roads.reach(org, state) for state in State]
    before = [records.stored(org, session) for session in alive]
    reaper.run_once()
    assert [records.stored(org, session) for session in alive] == before


@pytest.mark.proves("stuck.live-not-reaped", "fence.epoch-not-clock")
def test_a_heartbeat_that_comes_before_the_pass_keeps_the_lease(org: Org) -> None:
    session = factories.running(org)
    roads.overdue(org, session, "lease_expires_at")
    assert session_api(org, session).post(path(session, "heartbeat")).status_code == 200
    reaper.run_once()
    assert records.fresh(org, session).state == State.RUNNING


@pytest.mark.proves("stuck.nothing-overdue")
def test_a_pass_counts_what_it_did_and_leaves_nothing_overdue() -> None:
    orgs = Org(), Org()
    for org in orgs:
        for state in (State.PENDING, State.RUNNING, State.PAUSED, State.CANCELLING):
            column = "lease_expires_at" if state is State.RUNNING else "deadline_at"
            roads.overdue(org, roads.reach(org, state), column)
    assert overdue_in(*orgs) == 8
    counts = reaper.run_once()
    assert all(counts[state] >= 2 for state in ("expired", "lost", "timed_out", "cancelled"))
    assert overdue_in(*orgs) == 0


def test_a_pass_takes_no_more_than_its_batch_and_the_longest_overdue_first(org: Org) -> None:
    sessions = [factories.pending(org) for _ in range(3)]
    with org.scope():
        now = clock.now()
        for age, session in enumerate(sessions, 1):
            RunnerSession.objects.filter(id=session.id).update(
                deadline_at=now - timedelta(days=age)
            )
    assert reaper.run_once(batch=2) == {"expired": 2}
    states = [records.fresh(org, session).state for session in sessions]
    assert states == [State.PENDING, State.EXPIRED, State.EXPIRED]
    assert reaper.run_once(batch=1) == {"expired": 1}


def test_what_a_heartbeat_writes_is_in_no_index() -> None:
    """Else each would touch all indexes of the table, and a pass be paid for by heartbeats."""
    written = {"lease_expires_at", "heartbeat_at", "progress", "progress_at"}
    with connections["maintain"].cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE indrelid = 'runner_session'::regclass"
        )
        indexes = [definition for (definition,) in cursor.fetchall()]
    assert len(indexes) > 5
    for definition in indexes:
        assert not written & set(re.findall(r"\w+", definition)), definition


@pytest.mark.proves("stuck.two-loops")
def test_passes_at_the_same_time_do_nothing_twice(org: Org) -> None:
    sessions = [factories.running(org) for _ in range(12)]
    for session in sessions:
        roads.overdue(org, session, "lease_expires_at")
    passes = at_once([reaper.run_once] * 4)
    assert sum(counts["lost"] for counts in passes) >= len(sessions)
    assert not any(counts["failed_to_settle"] for counts in passes)
    for session in sessions:
        records.assert_sound(org, session)
        assert records.fresh(org, session).failures == 1


@pytest.mark.proves("stuck.poison")
def test_a_row_that_cannot_be_settled_holds_up_no_other(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, well = factories.running(org), factories.running(org)
    for session in (poison, well):
        roads.overdue(org, session, "lease_expires_at")
    lose = outcomes.lose

    def stumbling(session: RunnerSession, **how: object) -> RunnerSession:
        settled = lose(session, **how)  # type: ignore[arg-type]
        if session.id == poison.id:
            raise RuntimeError("a defect")
        return settled

    monkeypatch.setattr(outcomes, "lose", stumbling)
    assert reaper.run_once()["failed_to_settle"] == 1
    assert records.fresh(org, well).state == State.LOST
    assert records.fresh(org, poison).state == State.RUNNING
    records.assert_sound(org, poison)
    monkeypatch.undo()
    reaper.run_once()
    assert records.fresh(org, poison).state == State.LOST


@pytest.mark.proves("stuck.poison")
def test_a_whole_batch_that_cannot_be_settled_holds_up_no_other(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = [factories.running(org) for _ in range(3)]
    for session in poison:
        roads.overdue(org, session, "lease_expires_at")
    well = factories.pending(org)
    roads.overdue(org, well, "deadline_at")

    def stumbling(*_: object, **__: object) -> RunnerSession:
        raise RuntimeError("a defect")

    monkeypatch.setattr(outcomes, "lose", stumbling)
    assert reaper.run_once(batch=3) == {"failed_to_settle": 3}
    assert reaper.run_once(batch=3) == {"expired": 1, "failed_to_settle": 2}
    assert records.fresh(org, well).state == State.EXPIRED
    monkeypatch.undo()
    assert reaper.run_once(batch=3) == {"lost": 3}
