"""Sixty buckets of time by level, kept at ingest, are what counting every record would give."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grants import ledger
from grants.histogram import BUCKETS, LEVELS, Histogram
from grants.ledger import Record
from grants.models import LedgerHead
from sessions.models import RunnerSession
from tests import factories
from tests.factories import path, session_api
from tests.people import Org
from tests.sessions import records

_START = datetime(2026, 5, 1, 9, 30, 0, 250_000, tzinfo=UTC)
# Mostly a little later than the record before, now and then much later, or a clock set back.
_STEPS = st.one_of(
    st.integers(0, 90_000_000),
    st.integers(0, 40 * 24 * 3600 * 1_000_000),
    st.integers(-5_000_000, 0),
    # To the very edge of what sixty buckets hold.
    st.sampled_from([60_000_000, 59_999_999, 120_000_000, 240_000_000, 480_000_000]),
)
_LEVELS = st.dictionaries(st.sampled_from(LEVELS), st.integers(1, 9), min_size=1)


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def recount(added: list[tuple[datetime, dict[str, int]]]) -> tuple[int, list[int]]:
    """Bucket by bucket from all that was added, with the narrowest width that holds it."""
    seconds = [max(0, int((at - added[0][0]).total_seconds() // 1)) for at, _ in added]
    width = 1
    while max(seconds) // width >= BUCKETS:
        width *= 2
    placed: Counter[int] = Counter()
    for second, (_, levels) in zip(seconds, added, strict=True):
        for level, number in levels.items():
            placed[second // width * len(LEVELS) + LEVELS.index(level)] += number
    length = (max(placed) // len(LEVELS) + 1) * len(LEVELS)
    return width, [placed[place] for place in range(length)]


def _at(steps: list[int]) -> list[datetime]:
    instants, elapsed = [], 0
    for step in steps:
        elapsed += step if instants else 0
        instants.append(_START + timedelta(microseconds=elapsed))
    return instants


@pytest.mark.proves("events.histogram")
@given(st.lists(st.tuples(_STEPS, _LEVELS), min_size=1, max_size=60))
def test_buckets_that_are_kept_are_those_of_a_recount(steps: list[tuple[int, Any]]) -> None:
    instants = _at([step for step, _ in steps])
    kept, added = Histogram(), []
    for at, (_, levels) in zip(instants, steps, strict=True):
        kept.add(at, levels)
        added.append((at, levels))
        assert (kept.width_seconds, kept.counts) == recount(added)
        assert len(list(kept.buckets())) <= BUCKETS
    totals = sum((Counter(levels) for _, levels in steps), Counter[str]())
    assert Counter(kept.by_level()) == totals


@pytest.mark.proves("events.histogram")
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(_STEPS, _LEVELS), min_size=1, max_size=8))
def test_the_heads_buckets_are_those_that_the_database_counts_anew(
    org: Org, steps: list[tuple[int, Any]]
) -> None:
    session = factories.running(org)
    lock = ledger.lock_heads
    for instant, (_, levels) in zip(_at([step for step, _ in steps]), steps, strict=True):
        later = timedelta(seconds=1) + (instant - _START)

        def shifted(ids: Any, later: timedelta = later) -> Any:
            heads = lock(ids)
            for head in heads.values():
                head.now += later
            return heads

        each = [
            Record("log", "system", 1, level=level)
            for level, number in levels.items()
            for _ in range(number)
        ]
        with pytest.MonkeyPatch.context() as patch, org.scope():
            patch.setattr(ledger, "lock_heads", shifted)
            ledger.append({session.id: each})
    assert _kept(org, session) == _counted(org, session)


def _kept(org: Org, session: RunnerSession) -> Any:
    with org.scope():
        head = LedgerHead.objects.get(session_id=session.id)
    assert sum(head.buckets) == head.events == head.seq
    return head.began_at, head.bucket_seconds, head.buckets


def _counted(org: Org, session: RunnerSession) -> Any:
    with org.scope(), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM kt_ledger_buckets(%s)", [session.id])
        return cursor.fetchone()


def test_many_sessions_that_change_at_once_each_keep_their_own_buckets(org: Org) -> None:
    sessions = [factories.pending(org) for _ in range(3)]
    with org.scope():
        ledger.append({
            session.id: [Record("log", "system", 0, level="error")] * (number + 1)
            for number, session in enumerate(sessions)
        })  # fmt: skip
    for number, session in enumerate(sessions):
        assert _kept(org, session) == _counted(org, session)
        assert _kept(org, session)[2][LEVELS.index("error")] == number + 1


def test_a_refused_batch_leaves_the_buckets_as_they_were(org: Org) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    batch = {"events": [{"kind": "log", "level": "error"}] * 499 + [{"kind": "nothing"}]}
    answer = session_api(org, session).post(path(session, "events"), batch)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/events/499/kind"]
    assert records.stored(org, session) == before


# --- the route -------------------------------------------------------------------------------


def test_the_histogram_is_handed_out_with_its_beginning_and_its_width(org: Org) -> None:
    session = factories.running(org)
    batch = {"events": [{"kind": "log", "level": level} for level in LEVELS]}
    assert session_api(org, session).post(path(session, "events"), batch).status_code == 200
    for api in (org.viewer.api, session_api(org, session)):
        answer = api.get(path(session, "events/histogram")).json()
        first = records.events(org, session)[0]
        assert answer["began_at"] == f"{first.recorded_at:%Y-%m-%dT%H:%M:%S.%f}Z"
        assert answer["newest_seq"] == len(records.events(org, session))
        total = Counter[str]()
        for bucket in answer["buckets"]:
            total.update({level: bucket[level] for level in LEVELS})
        assert total == Counter(event.level for event in records.events(org, session))


def test_a_session_whose_ledger_is_empty_has_no_buckets(org: Org) -> None:
    (_, copy) = factories.queue(org, factories.profile(org), 2)
    with org.scope():
        session = RunnerSession.objects.get(id=copy)
    answer = org.viewer.api.get(path(session, "events/histogram"))
    assert answer.json() == {
        "began_at": None, "bucket_seconds": 1, "newest_seq": 0, "buckets": [],
    }  # fmt: skip
    facets = org.viewer.api.get(path(session, "events/facets")).json()
    assert (facets["events"], facets["searched_from"]) == (0, None)


def test_an_outsider_is_told_of_no_session(org: Org) -> None:
    session = factories.running(org)
    for figure in ("histogram", "facets"):
        answer = Org().viewer.api.get(path(session, "events", figure))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert org.viewer.api.get(path(session, "events", figure) + "?q=a").status_code == 400
