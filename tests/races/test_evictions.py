"""Evictions against claims: no lease of an evicted executor is left, whoever came first."""

from __future__ import annotations

from functools import partial

import pytest
from django.db import OperationalError
from psycopg.errors import DeadlockDetected

from keeptrusts_runners.errors import ExecutorDraining
from sessions import claims, evictions, executors
from sessions.claims import ClaimRequest
from sessions.executors import Introduction
from sessions.models import RunnerSession
from tests import factories
from tests.people import Org
from tests.races.threads import at_once

REQUEST = ClaimRequest(executor={"name": "e"})


def claim(org: Org) -> None:
    by = org.runner.principal
    for _ in range(4):
        try:
            with org.scope():
                claims.claim_next(REQUEST, by=by)
        except ExecutorDraining:
            return


def evict(org: Org) -> None:
    by, claimant = org.operator.principal, org.runner.principal
    with org.scope():
        executor_id = executors.greet(Introduction(name="e"), by=claimant)
    with org.scope():
        evictions.evict(executor_id, by=by, reason="compromised")


def left(org: Org) -> int:
    """Leases that an evicted executor holds after the race."""
    on = factories.profile(org, max_attempts=50, backoff_seconds=0)
    for _ in range(30):
        factories.pending(org, on)
    assert org.operator.principal != org.runner.principal, "made before the race"
    at_once([*[partial(claim, org)] * 6, partial(evict, org)])
    with org.scope():
        return RunnerSession.objects.leased().count()


@pytest.mark.proves("life.executors")
def test_no_lease_of_an_evicted_executor_is_left() -> None:
    for _ in range(8):
        assert left(Org()) == 0


@pytest.mark.proves("tests.controls")
def test_claims_that_do_not_lock_their_executor_are_caught_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    careless = executors._SHARE.replace("FOR KEY SHARE", "")
    assert careless != executors._SHARE
    monkeypatch.setattr(executors, "_SHARE", careless)
    assert any(goes_wrong(Org()) for _ in range(20))


def goes_wrong(org: Org) -> bool:
    """A lease is left, or the reference to the executor has the two wait for each other."""
    try:
        return left(org) > 0
    except OperationalError as error:
        if isinstance(error.__cause__, DeadlockDetected):
            return True
        raise
