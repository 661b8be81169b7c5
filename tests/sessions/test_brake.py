"""The reaper's brake: when very many leases would end at once, or the reaper was away itself.

In a database of its own, since a brake looks at all leases there are. Time goes by in the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from django.db import connections
from django.db.models import F
from hypothesis import given, settings
from structlog.testing import capture_logs

from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity import principal
from keeptrusts_runners.identity.tenancy import organization_scope
from sessions import brake, claims, lifecycle, liveness, reaper
from sessions.brake import Look
from sessions.models import RunnerSession
from sessions.states import State
from tests import factories
from tests.database import apart
from tests.factories import path, session_api
from tests.people import Org
from tests.races.threads import at_once
from tests.sessions import records, roads

LEASE = 60
# As it is when the tests of this module are collected: conftest takes it away for all others.
CAUSE = brake.cause
PULSE = "pulse_at, brake_heard_since, brake_began_at, brake_until"


@pytest.fixture(scope="module", autouse=True)
def _database(django_db_setup: None, run_word: str, worker_id: str) -> Iterator[None]:
    with apart(run_word, worker_id):
        yield


@pytest.fixture(scope="module")
def org(_database: None) -> Org:
    return Org()


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brake, "cause", CAUSE)
    begin()


def begin() -> None:
    """No live lease of another test, a pass just now, and no brake yet."""
    leased = RunnerSession.objects.using("maintain").leased()
    for organization_id, session_id in leased.values_list("organization_id", "id"):
        with organization_scope(organization_id):
            by = principal.system(organization_id)
            lifecycle.cancel(session_id, by=by, force=True)
    update_pulse(
        "pulse_at = clock_timestamp(), brake_reason = '', brake_heard_since = '-infinity',"
        " brake_began_at = NULL, brake_until = NULL"
    )


def update_pulse(columns: str) -> None:
    with connections["maintain"].cursor() as cursor:
        cursor.execute(f"UPDATE runner_reaper_pulse SET {columns}")


def time_goes_by(org: Org, seconds: float, *, unseen: bool = False) -> None:
    """Every instant of the organization's open sessions, and of the brake, lies farther back. With
    `unseen` the reaper did not look meanwhile, else it looked all the time and found nothing."""
    gone = timedelta(seconds=seconds)
    columns = ("lease_expires_at", "deadline_at", "run_deadline_at", "heartbeat_at")
    with org.scope():
        opened = RunnerSession.objects.filter(ended_at__isnull=True)
        opened.update(**{column: F(column) - gone for column in columns})
    shifted = [c for c in PULSE.split(", ") if unseen or c != "pulse_at"]
    update_pulse(", ".join(f"{c} = {c} - interval '{seconds} s'" for c in shifted))


def executing(org: Org, number: int, **fields: Any) -> list[RunnerSession]:
    on = factories.profile(org)
    return [factories.running(org, factories.pending(org, on, **fields)) for _ in range(number)]


def beat(org: Org, sessions: Sequence[RunnerSession]) -> None:
    for session in sessions:
        with org.scope():
            claims.heartbeat(session.id, by=org.runner.principal, lease_epoch=session.lease_epoch)


def states(org: Org, sessions: Sequence[RunnerSession]) -> set[str]:
    return {records.fresh(org, session).state for session in sessions}


def figures() -> tuple[float, float]:
    """What is overdue, and what is held back."""
    found = liveness.figures()
    return found["overdue"][""], found["held_back"][""]


def told(logs: Sequence[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


# --- very many at once -----------------------------------------------------------------------


@pytest.mark.proves("stuck.brake")
def test_very_many_leases_are_held_back_for_one_lease_and_then_lost(org: Org) -> None:
    silent, well = executing(org, 10), executing(org, 10)
    time_goes_by(org, LEASE + 1)
    beat(org, well)
    with capture_logs() as logs:
        assert reaper.run_once() == {"held_back": 10}
        assert reaper.run_once() == {"held_back": 10}
    assert states(org, silent) == {State.RUNNING}
    assert figures() == (0, 10)
    (began,) = told(logs, "reaper.brake_began")
    assert (began["reason"], began["live"], began["expired"]) == ("mass_expiry", 20, 10)
    held = told(logs, "reaper.held_back")
    assert {line["session"] for line in held} == {ids.encode("sess", s.id) for s in silent}
    assert len(held) == 10, "each is told once"
    assert {line["epoch"] for line in held} == {1}

    time_goes_by(org, LEASE - 20)
    beat(org, well)
    assert reaper.run_once() == {"held_back": 10}
    time_goes_by(org, 30, unseen=True)
    with capture_logs() as logs:
        assert reaper.run_once() == {"lost": 10}
    (ended,) = told(logs, "reaper.brake_ended")
    assert (ended["reason"], ended["silent"], ended["live"]) == ("mass_expiry", 10, 20)
    assert not told(logs, "reaper.brake_began"), "what was held back is no cause for another"
    assert states(org, silent) == {State.LOST}
    assert states(org, well) == {State.RUNNING}
    assert figures() == (0, 0)
    for session in silent:
        records.assert_sound(org, session)


@pytest.mark.proves("stuck.brake")
def test_who_comes_back_while_it_brakes_has_lost_nothing(org: Org) -> None:
    sessions = executing(org, 12)
    time_goes_by(org, LEASE + 30)
    assert reaper.run_once() == {"held_back": 12}
    back, away = sessions[:7], sessions[7:]
    for session in back:
        answer = session_api(org, session).post(path(session, "heartbeat"))
        assert (answer.status_code, answer.json()["state"]) == (200, "running")
    assert reaper.run_once() == {"held_back": 5}
    time_goes_by(org, LEASE - 20)
    beat(org, back)
    time_goes_by(org, 30)
    assert reaper.run_once() == {"lost": 5}
    assert states(org, back) == {State.RUNNING}
    assert states(org, away) == {State.LOST}
    assert {records.fresh(org, session).lease_epoch for session in back} == {1}


def test_a_lease_that_was_kept_meanwhile_runs_out_in_its_own_time(org: Org) -> None:
    sessions = executing(org, 12)
    time_goes_by(org, LEASE + 1)
    assert reaper.run_once() == {"held_back": 12}
    beat(org, sessions)
    time_goes_by(org, LEASE - 20)
    assert reaper.run_once() == {}
    one, *others = sessions
    beat(org, others)
    time_goes_by(org, 30)
    assert reaper.run_once() == {"lost": 1}
    assert records.fresh(org, one).state == State.LOST


def test_fewer_than_ten_are_lost_at_once(org: Org) -> None:
    executing(org, 9)
    time_goes_by(org, LEASE + 1)
    assert reaper.run_once() == {"lost": 9}


def test_a_cut_road_is_seen_although_leases_end_one_after_the_other(org: Org) -> None:
    """Heartbeats are spread over their interval: in one pass only one lease of fifteen ends."""
    first, *others = executing(org, 15)
    time_goes_by(org, LEASE + 1)
    with org.scope():
        soon = RunnerSession.objects.filter(id__in=[session.id for session in others])
        soon.update(lease_expires_at=clock.now() + timedelta(seconds=10))
    assert reaper.run_once() == {"held_back": 1}
    time_goes_by(org, LEASE - 20)
    assert reaper.run_once() == {"held_back": 15}
    time_goes_by(org, 30)
    assert reaper.run_once() == {"lost": 15}
    assert states(org, [first, *others]) == {State.LOST}


NOW = datetime(2026, 5, 1, tzinfo=UTC)


def look(**figures: Any) -> Look:
    usual: dict[str, Any] = {
        "now": NOW, "pulse_at": NOW - timedelta(seconds=1), "reason": "", "began_at": None,
        "until": None, "live": 100, "silent": 0, "expired": 0, "expiring": 0,
        "reserve": timedelta(seconds=45), "longest": timedelta(seconds=60),
    }  # fmt: skip
    return Look(**usual | figures)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (look(), None),
        (look(live=20, expired=10, expiring=10), brake.MASS_EXPIRY),
        (look(live=10, expired=9, expiring=9), None),
        (look(live=40, expired=12, expiring=12), None),
        (look(live=40, expired=13, expiring=13), brake.MASS_EXPIRY),
        (look(live=40, expired=1, expiring=13), brake.MASS_EXPIRY),
        (look(live=40, expired=0, expiring=40), None),
        (look(pulse_at=NOW - timedelta(seconds=45)), None),
        (look(pulse_at=NOW - timedelta(seconds=46)), brake.ABSENCE),
        (look(pulse_at=NOW - timedelta(days=1), reserve=None, longest=None, live=0), None),
    ],
)
def test_the_cause(seen: Look, expected: str | None) -> None:
    assert CAUSE(seen) == expected


# --- the reaper's own absence ----------------------------------------------------------------


@pytest.mark.proves("stuck.brake")
def test_after_an_absence_every_lease_has_one_lease_to_be_heard_of(org: Org) -> None:
    back, away = executing(org, 2)
    time_goes_by(org, 3600, unseen=True)
    with capture_logs() as logs:
        assert reaper.run_once() == {"held_back": 2}
    (began,) = told(logs, "reaper.brake_began")
    assert began["reason"] == "absence"
    assert began["absent_seconds"] == pytest.approx(3600, abs=30)
    assert figures() == (0, 2)
    assert session_api(org, back).post(path(back, "heartbeat")).status_code == 200
    time_goes_by(org, LEASE - 20)
    beat(org, [back])
    assert reaper.run_once() == {"held_back": 1}
    time_goes_by(org, 30)
    assert reaper.run_once() == {"lost": 1}
    assert records.fresh(org, back).state == State.RUNNING
    assert records.fresh(org, away).state == State.LOST


def test_a_lease_that_ends_just_after_the_return_is_held_back_as_well(org: Org) -> None:
    """Its runner has tried for the whole absence, and may be between two attempts."""
    (session,) = executing(org, 1)
    time_goes_by(org, LEASE - 10, unseen=True)
    assert reaper.run_once() == {}
    time_goes_by(org, 15)
    assert reaper.run_once() == {"held_back": 1}
    assert session_api(org, session).post(path(session, "heartbeat")).status_code == 200


def test_an_absence_that_a_lease_outlasts_is_no_excuse(org: Org) -> None:
    executing(org, 1)
    time_goes_by(org, LEASE - 30)
    time_goes_by(org, 35, unseen=True)
    assert reaper.run_once() == {"lost": 1}


def test_the_outcome_of_work_that_ended_in_the_outage_is_taken(org: Org) -> None:
    """Its deadline passed meanwhile as well: it could not be reported in time."""
    reports, gone = executing(org, 2, timeout_seconds=600)
    time_goes_by(org, 3600, unseen=True)
    assert reaper.run_once() == {"held_back": 2}
    answer = session_api(org, reports).request("PATCH", path(reports), {"state": "completed"})
    assert (answer.status_code, answer.json()["state"]) == (200, "completed")
    time_goes_by(org, LEASE + 1)
    assert reaper.run_once() == {"timed_out": 1}
    assert records.fresh(org, gone).reason == "timeout"


def test_a_run_beyond_its_deadline_ends_as_soon_as_its_runner_is_heard_of(org: Org) -> None:
    (session,) = executing(org, 1, timeout_seconds=600)
    time_goes_by(org, 3600, unseen=True)
    assert reaper.run_once() == {"held_back": 1}
    beat(org, [session])
    assert reaper.run_once() == {"timed_out": 1}


def test_what_no_executor_holds_or_somebody_ended_is_not_held_back(org: Org) -> None:
    waiting = factories.pending(org, queue_timeout_seconds=600)
    paused = roads.paused(org)
    roads.overdue(org, paused, "deadline_at")
    cancelled, silent = executing(org, 2)
    roads.cancel(org, cancelled)
    time_goes_by(org, 3600, unseen=True)
    assert reaper.run_once() == {"expired": 1, "timed_out": 1, "cancelled": 1, "held_back": 1}
    assert records.fresh(org, waiting).reason == "queue_timeout"
    assert records.fresh(org, silent).state == State.RUNNING


def test_longer_leases_are_held_back_for_longer(org: Org) -> None:
    (short,) = executing(org, 1)
    on = factories.profile(org, lease_ttl_seconds=300)
    long = factories.running(org, factories.pending(org, on))
    time_goes_by(org, 3600, unseen=True)
    assert reaper.run_once() == {"held_back": 2}
    time_goes_by(org, LEASE + 1)
    assert reaper.run_once() == {"lost": 1, "held_back": 1}
    assert records.fresh(org, short).state == State.LOST
    time_goes_by(org, 300 - LEASE)
    assert reaper.run_once() == {"lost": 1}
    assert records.fresh(org, long).state == State.LOST


@pytest.mark.proves("stuck.brake")
def test_a_reaper_that_is_away_again_and_again_lets_nothing_stay_stuck(org: Org) -> None:
    """`maintain --once` every few minutes is such a one."""
    executing(org, 1)
    time_goes_by(org, 300, unseen=True)
    assert reaper.run_once() == {"held_back": 1}
    (other,) = executing(org, 1)
    time_goes_by(org, 300, unseen=True)
    assert reaper.run_once() == {"lost": 1, "held_back": 1}
    time_goes_by(org, 300, unseen=True)
    assert reaper.run_once() == {"lost": 1}
    assert records.fresh(org, other).state == State.LOST


# --- several loops ---------------------------------------------------------------------------


@pytest.mark.proves("stuck.two-loops")
def test_passes_at_the_same_time_begin_one_brake(org: Org) -> None:
    sessions = executing(org, 12)
    time_goes_by(org, LEASE + 1)
    with capture_logs() as logs:
        passes = at_once([reaper.run_once] * 4)
    assert len(told(logs, "reaper.brake_began")) == 1
    assert not any(counts["lost"] or counts["failed_to_settle"] for counts in passes)
    assert states(org, sessions) == {State.RUNNING}
    time_goes_by(org, LEASE + 1)
    passes = at_once([reaper.run_once] * 4)
    assert sum(counts["lost"] for counts in passes) == 12
    for session in sessions:
        records.assert_sound(org, session)


@pytest.mark.proves("stuck.frozen-loop")
def test_a_loop_that_was_frozen_while_it_looked_changes_no_decision(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    executing(org, 1)
    time_goes_by(org, 3600, unseen=True)

    def meanwhile(seen: Look) -> str | None:
        """The first loop has looked and decides; another one makes a whole pass."""
        monkeypatch.setattr(brake, "cause", CAUSE)
        assert reaper.run_once() == {"held_back": 1}
        return None

    monkeypatch.setattr(brake, "cause", meanwhile)
    assert reaper.run_once()["lost"] == 0
    assert liveness.figures()["brake"] == {"absence": 1, "mass_expiry": 0}
    assert figures() == (0, 1)


# --- whatever happens ------------------------------------------------------------------------


class Executor:
    """One session and the model's own clock: when it was last heard of, and first found over."""

    def __init__(self, org: Org, lease: int) -> None:
        self.lease = lease
        on = factories.profile(org, lease_ttl_seconds=lease)
        self.session = factories.running(org, factories.pending(org, on))
        self.heard, self.lost = 0, False
        self.found_over: int | None = None

    def hear(self, org: Org, now: int) -> None:
        if not self.lost:
            beat(org, [self.session])
            self.heard, self.found_over = now, None

    def after_a_pass(self, org: Org, now: int) -> None:
        if self.lost:
            return
        self.lost = records.fresh(org, self.session).state == State.LOST
        over = now >= self.heard + self.lease
        assert over or not self.lost, "heard of in time, and reaped for silence"
        if over and self.found_over is None:
            self.found_over = now
        if self.found_over is not None and now >= self.found_over + self.lease:
            assert self.lost, "held back for more than one lease"


@pytest.mark.proves("stuck.live-not-reaped", "stuck.brake")
@given(
    st.lists(
        st.tuples(
            # No sum of them comes near a lease from below: the test itself takes some time.
            st.sampled_from([10, 20, 50, 70, 130, 400]),
            st.sets(st.sampled_from(range(12))),
            st.booleans(),
        ),
        min_size=3,
        max_size=6,
    )
)
@settings(max_examples=8)
def test_a_heartbeat_in_time_is_never_reaped_and_silence_never_stuck(
    steps: list[tuple[int, set[int], bool]],
) -> None:
    begin()
    org = Org()
    executors = [Executor(org, 60) for _ in range(9)] + [Executor(org, 300) for _ in range(3)]
    now = 0
    for seconds, heard, watched in steps:
        time_goes_by(org, seconds, unseen=not watched)
        now += seconds
        for index in heard:
            executors[index].hear(org, now)
        reaper.run_once()
        for executor in executors:
            executor.after_a_pass(org, now)
