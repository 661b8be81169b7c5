"""Claims against claims: one winner, no session twice, none forgotten."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest
from django.db import connection

from grants.models import Event
from keeptrusts_runners.errors import DomainError, StateConflict
from profiles.models import RunnerProfile
from sessions import claims, lifecycle
from sessions.claims import ClaimRequest
from sessions.models import RunnerSession, Transition
from sessions.states import State, Verb
from tests import factories
from tests.people import Machine, Org
from tests.races.threads import at_once
from tests.sessions import records

CLAIMERS = 40
Claim = Callable[[Org, Machine], list[UUID]]


@pytest.fixture
def org() -> Org:
    return Org()


def queue(org: Org, on: RunnerProfile, length: int) -> list[UUID]:
    """Pending sessions, dispatched by the verb in one transaction."""
    by = org.operator.principal
    with org.scope():
        return [
            lifecycle.dispatch({"profile_id": on.id, "task_id": f"task-{number}"}, by=by).id
            for number in range(length)
        ]


def claim_next(org: Org, by: Machine, **request: object) -> list[UUID]:
    with org.scope():
        found = claims.claim_next(ClaimRequest(**request), by=by.principal)  # type: ignore[arg-type]
        return [session.id for session in found]


def drain(claim: Claim, org: Org, by: Machine) -> list[UUID]:
    """What one claimer is given until there is no more."""
    taken: list[UUID] = []
    while found := claim(org, by):
        taken += found
    return taken


def test_of_forty_claims_of_one_session_exactly_one_wins(org: Org) -> None:
    session = factories.pending(org)
    machines = [org.machine() for _ in range(CLAIMERS)]

    def claim(machine: Machine) -> str:
        try:
            with org.scope():
                claims.claim(session.id, ClaimRequest(), by=machine.principal)
        except StateConflict as refusal:
            return str(refusal.fields["current_state"])
        return "won by " + machine.principal.account

    answers = at_once([partial(claim, machine) for machine in machines])
    row = records.fresh(org, session)
    assert Counter(answers) == {"dispatched": CLAIMERS - 1, f"won by {row.lease_account}": 1}
    assert row.lease_epoch == 1
    records.assert_sound(org, session)


def test_forty_claimers_drain_two_thousand_sessions_and_none_twice(org: Org) -> None:
    # A long lease: two thousand that run out later in this run would be the reaper's tests' load.
    waiting = queue(org, factories.profile(org, lease_ttl_seconds=900), 2000)
    machines = [org.machine() for _ in range(CLAIMERS)]
    each = partial(claim_next, max=5)
    taken = at_once([partial(drain, each, org, machine) for machine in machines])
    everything = list(itertools.chain.from_iterable(taken))
    assert sorted(everything) == sorted(waiting)
    with org.scope():
        rows = RunnerSession.objects.filter(id__in=waiting)
        assert set(rows.values_list("state", "lease_epoch")) == {("dispatched", 1)}
        holders = dict(rows.values_list("id", "lease_account"))
        claimed = Transition.objects.filter(session_id__in=waiting, verb=Verb.CLAIM)
        assert Counter(claimed.values_list("session_id", flat=True)) == Counter(waiting)
        granted = Event.objects.filter(session_id__in=waiting, kind="lease.granted")
        assert Counter(granted.values_list("session_id", flat=True)) == Counter(waiting)
    for machine, found in zip(machines, taken, strict=True):
        assert {holders[session_id] for session_id in found} <= {machine.principal.account}


def test_a_profile_never_runs_more_than_its_limit(org: Org) -> None:
    limited = factories.profile(org, max_concurrent_sessions=7)
    waiting = queue(org, limited, 40)
    machines = [org.machine() for _ in range(20)]

    def claim(number: int, machine: Machine) -> int:
        """Half of them ask for the next, half for one by its name."""
        if number % 2:
            return len(claim_next(org, machine, max=3))
        try:
            with org.scope():
                claims.claim(waiting[-number], ClaimRequest(), by=machine.principal)
        except DomainError:
            return 0
        return 1

    taken = at_once([partial(claim, *each) for each in enumerate(machines, 1)])
    assert sum(taken) == 7
    with org.scope():
        assert RunnerSession.objects.leased().filter(profile=limited).count() == 7


def test_a_claim_repeated_while_the_first_is_at_work_is_the_same_claim(org: Org) -> None:
    queue(org, factories.profile(org), 20)
    machine = org.machine()
    again = partial(claim_next, org, machine, claim_id="c-1", max=2)
    taken = at_once([again] * 8)
    assert len({tuple(found) for found in taken}) == 1
    with org.scope():
        assert RunnerSession.objects.leased().count() == 2


# --- the control: a claim that this harness must catch ---------------------------------------


def naive_claim(org: Org, by: Machine) -> list[UUID]:
    """Read, then update: what a queue on a database must not do."""
    with org.scope():
        session = (
            RunnerSession.objects.filter(state=State.PENDING).order_by("-priority", "id").first()
        )
        if session is None:
            return []
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE runner_session SET state = 'dispatched', lease_epoch = lease_epoch + 1,"
                " lease_account = %s, lease_expires_at = clock_timestamp() + interval '1 minute'"
                " WHERE id = %s",
                [by.principal.account, session.id],
            )
        return [session.id]


def test_a_claim_that_reads_before_it_writes_is_caught_here(org: Org) -> None:
    waiting = queue(org, factories.profile(org), 100)
    machines = [org.machine() for _ in range(CLAIMERS)]
    taken = at_once([partial(drain, naive_claim, org, machine) for machine in machines])
    assert len(list(itertools.chain.from_iterable(taken))) > len(waiting)
