"""A server that hears of no work by itself: what a lost announcement costs, and the control."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from keeptrusts_runners import ids
from tests import factories
from tests.live import LiveApi, serving, until
from tests.people import Org, token_of

PROCESSES = Path(__file__).with_name("processes")
# Two seconds, and what a busy machine adds to them.
IN_TIME = 5.0


@pytest.fixture
def org(django_db_setup: None) -> Org:
    return Org()


def assert_answered_in_time(org: Org, directory: Path, loses: str, wait: int) -> None:
    """A claim that waits is answered with what is dispatched meanwhile, long before its time is
    over."""
    asked = directory / "asked"
    body = {"profile_id": ids.encode("prof", factories.profile(org).id), "task_id": "late"}
    operator, runner = token_of(org.operator.principal), token_of(org.runner.principal)
    patched = {"PYTHONPATH": str(PROCESSES), "LOSES": loses, "ASKED": str(asked)}
    with serving(**patched) as url, ThreadPoolExecutor(1) as pool:
        claim = partial(LiveApi(url, runner).post, "/runners/sessions/claim")
        waiting = pool.submit(claim, {"wait_seconds": wait})
        until(asked.exists)
        assert LiveApi(url, operator).post("/runners/sessions", body).status_code == 201
        dispatched = time.monotonic()
        answer = waiting.result(wait + 10)
        took = time.monotonic() - dispatched
        assert (answer.status_code, took < IN_TIME) == (200, True), "it heard of no work"


@pytest.mark.proves("claim.lost-signal")
def test_a_lost_announcement_costs_two_seconds_and_no_more(org: Org, tmp_path: Path) -> None:
    assert_answered_in_time(org, tmp_path, "announcements", wait=20)


@pytest.mark.proves("tests.controls")
def test_a_wake_up_that_is_lost_for_good_is_caught_here(org: Org, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="it heard of no work"):
        assert_answered_in_time(org, tmp_path, "announcements,looks", wait=8)
