"""Claims at once against limits of profiles and of keys: never one too many, and none forgotten."""

from __future__ import annotations

import itertools
from collections import Counter
from functools import partial
from uuid import UUID

import pytest

from keeptrusts_runners.errors import DomainError
from profiles.models import RunnerProfile
from sessions import claims, lifecycle, limits
from sessions.claims import ClaimRequest
from sessions.models import RunnerSession
from tests import factories
from tests.people import Machine, Org
from tests.races.threads import at_once

CLAIMERS = 20
KEYS = {"alone": 1, "pair": 2, "three": 3}


@pytest.fixture
def org() -> Org:
    return Org()


def queue(org: Org, on: list[RunnerProfile], length: int) -> list[UUID]:
    """Pending sessions in turn over the profiles and the keys; each fourth without a key."""
    by, names = org.operator.principal, [*KEYS, ""]
    made = []
    with org.scope():
        for number, profile in zip(range(length), itertools.cycle(on), strict=False):
            key = names[number % len(names)]
            fields = {"profile_id": profile.id, "task_id": "t", "concurrency_key": key}
            fields["concurrency_limit"] = KEYS.get(key, 1)
            made.append(lifecycle.dispatch(fields, by=by).id)
    return made


def claim_each_way(org: Org, waiting: list[UUID], number: int, machine: Machine) -> int:
    """By turns the next ones, and one by its name."""
    taken = 0
    for turn in range(3):
        try:
            with org.scope():
                if (number + turn) % 2:
                    found = claims.claim_next(ClaimRequest(max=4), by=machine.principal)
                    taken += len(found)
                else:
                    named = waiting[(number * 7 + turn * 3) % len(waiting)]
                    claims.claim(named, ClaimRequest(), by=machine.principal)
                    taken += 1
        except DomainError:
            continue
    return taken


def race(org: Org) -> tuple[Counter[str], Counter[int]]:
    """Live leases by key, and by their profile's limit, after many claims at once."""
    on = [factories.profile(org, max_concurrent_sessions=most) for most in (2, 4, 50)]
    waiting = queue(org, on, 60)
    machines = [org.machine() for _ in range(CLAIMERS)]
    claim = partial(claim_each_way, org, waiting)
    given = at_once([partial(claim, *each) for each in enumerate(machines)])
    with org.scope():
        leased = list(
            RunnerSession.objects.leased().values_list(
                "concurrency_key", "profile__max_concurrent_sessions"
            )
        )
    assert sum(given) == len(leased)
    return Counter(key for key, _ in leased), Counter(most for _, most in leased)


def overdrawn(by_key: Counter[str], by_profile: Counter[int]) -> bool:
    keys = any(by_key[key] > most for key, most in KEYS.items())
    return keys or any(live > most for most, live in by_profile.items())


@pytest.mark.proves("limit.held", "limit.by-key")
def test_no_limit_is_overdrawn_whichever_way_sessions_are_claimed(org: Org) -> None:
    by_key, by_profile = race(org)
    assert not overdrawn(by_key, by_profile), (by_key, by_profile)
    # What the limits allow is there in plenty, so each key that may run does.
    assert by_key["alone"] == 1


@pytest.mark.proves("tests.controls")
def test_limits_counted_without_a_lock_are_caught_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_lock", lambda numbers, **_: set(numbers))
    assert any(overdrawn(*race(Org())) for _ in range(10))
