"""Claims against claims: one winner, no session twice, none forgotten."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import randint
from uuid import UUID

import pytest
from django.db import connection

from grants.models import Event
from keeptrusts_runners import clock
from keeptrusts_runners.errors import DomainError, StateConflict
from sessions import claims
from sessions.claims import ClaimRequest
from sessions.models import RunnerSession, Transition
from sessions.states import State, Verb
from tests import factories
from tests.people import Machine, Org
from tests.races.threads import Connections, at_once
from tests.recording import Figures
from tests.sessions import records

CLAIMERS = 40
RUNNERS, CONNECTIONS = 200, 20
Claim = Callable[[Org, Machine], list[UUID]]


@pytest.fixture
def org() -> Org:
    return Org()


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


@pytest.mark.proves("claim.one-winner")
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


def drained(org: Org, length: int, figures: Figures) -> None:
    """A queue of so many sessions is claimed by two hundred runners, until none of them is given
    any more."""
    # A long lease: what runs out later in this run would be the reaper's tests' load.
    waiting = factories.queue(org, factories.profile(org, lease_ttl_seconds=900), length)
    machines = [org.machine() for _ in range(RUNNERS)]
    taken: dict[str, list[UUID]] = {machine.principal.account: [] for machine in machines}
    with Connections(CONNECTIONS) as server:
        while any(found := claims_in_a_round(org, machines, server)):
            for machine, given in zip(machines, found, strict=True):
                taken[machine.principal.account] += given
    assert_each_once(org, waiting, taken)
    figures.count("claims", length)
    figures.count("double", 0)


def claims_in_a_round(org: Org, machines: list[Machine], server: Connections) -> list[list[UUID]]:
    """One claim of each, of up to fifty."""
    return server.serve(
        [partial(claim_next, org, machine, max=randint(1, 50)) for machine in machines]
    )


def assert_each_once(org: Org, waiting: list[UUID], taken: dict[str, list[UUID]]) -> None:
    everything = list(itertools.chain.from_iterable(taken.values()))
    assert sorted(everything) == sorted(waiting)
    with org.scope():
        rows = RunnerSession.objects.filter(organization_id=org.id, state=State.DISPATCHED)
        found = dict(rows.values_list("id", "lease_account"))
        assert found == {key: account for account, given in taken.items() for key in given}
        assert set(rows.values_list("lease_epoch", flat=True)) == {1}
        claimed = Transition.objects.filter(organization_id=org.id, verb=Verb.CLAIM)
        assert sorted(claimed.values_list("session_id", flat=True)) == sorted(waiting)
        granted = Event.objects.filter(session_id__in=waiting, kind="lease.granted")
        assert granted.count() == len(waiting)
        # Put away: no other test's reaper or limit needs to look at them.
        rows.update(state=State.COMPLETED, lease_expires_at=None, ended_at=clock.now())


@pytest.mark.proves("claim.no-double", "claim.epoch-plus-one")
def test_two_hundred_runners_drain_twenty_thousand_sessions_and_none_twice(
    org: Org, figures: Figures
) -> None:
    drained(org, 20_000, figures)


@pytest.mark.nightly
@pytest.mark.proves("claim.no-double", "claim.epoch-plus-one")
def test_two_hundred_runners_drain_a_million_sessions_and_none_twice(
    figures: Figures, length: Callable[..., int]
) -> None:
    for _ in range(length(50)):
        drained(Org(), 20_000, figures)
        figures.tell()


@pytest.mark.proves("limit.held")
def test_a_profile_never_runs_more_than_its_limit(org: Org) -> None:
    limited = factories.profile(org, max_concurrent_sessions=7)
    waiting = factories.queue(org, limited, 40)
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


@pytest.mark.proves("claim.id-repeats")
def test_a_claim_of_one_session_repeated_at_the_same_time_is_one_claim(org: Org) -> None:
    session = factories.pending(org)
    by, request = org.runner.principal, ClaimRequest(claim_id="c-1")

    def claim() -> tuple[UUID, int]:
        with org.scope():
            claimed = claims.claim(session.id, request, by=by)
            return claimed.id, claimed.lease_epoch

    assert set(at_once([claim] * 12)) == {(session.id, 1)}
    records.assert_sound(org, session)


@pytest.mark.proves("claim.id-repeats")
def test_a_claim_repeated_while_the_first_is_at_work_is_the_same_claim(org: Org) -> None:
    factories.queue(org, factories.profile(org), 20)
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


@pytest.mark.proves("tests.controls")
def test_a_claim_that_reads_before_it_writes_is_caught_here(org: Org) -> None:
    waiting = factories.queue(org, factories.profile(org), 100)
    machines = [org.machine() for _ in range(CLAIMERS)]
    taken = at_once([partial(drain, naive_claim, org, machine) for machine in machines])
    assert len(list(itertools.chain.from_iterable(taken))) > len(waiting)
