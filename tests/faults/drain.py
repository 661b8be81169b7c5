"""Many runners drain a queue while things go wrong, by the functions that the API calls.

It goes by rounds. In each, all runners claim and work at the same time, as many of them at once
as there are connections, while the maintenance loops settle what was left behind. What goes wrong
is drawn, with a seed: a schedule can be run again.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

from keeptrusts_runners import clock
from keeptrusts_runners.errors import LeaseLost
from keeptrusts_runners.identity import principal
from profiles.models import RunnerProfile
from sessions import claims, outcomes, reaper
from sessions.claims import ClaimRequest
from sessions.models import RunnerSession, Transition
from sessions.states import FINAL, LEASED, OPEN, State, Verb
from tests import factories
from tests.people import Machine, Org
from tests.races.threads import Connections
from tests.sessions import records
from tests.sessions.roads import LONG_AGO

RUNNERS, CONNECTIONS, LOOPS = 200, 12, 2
AT_MOST = 5
MAX_ATTEMPTS = 4


class Lease(NamedTuple):
    session_id: UUID
    epoch: int


# What becomes of a lease, and how likely in a hundred. A runner that vanishes says nothing more; a
# slow one is overtaken by time and goes on all the same.
FATES: dict[str, int] = {
    "completes": 62,
    "completes twice": 8,
    "fails, to be tried again": 12,
    "vanishes at once": 6,
    "vanishes after its first heartbeat": 6,
    "is slow": 6,
}
# And of the claim: asked once, asked twice with the same answer, or never heard of again.
CLAIMS: dict[str, int] = {"once": 85, "twice": 10, "unheard": 5}


class Drain:
    """One queue, one schedule."""

    def __init__(
        self, org: Org, length: int, seed: int, runners: int = RUNNERS, limit: int | None = None
    ) -> None:
        self.org, self.seed, self.limit = org, seed, limit
        self.profile: RunnerProfile = factories.profile(
            org,
            max_attempts=MAX_ATTEMPTS,
            backoff_seconds=0,
            lease_ttl_seconds=900,
            max_concurrent_sessions=limit,
        )
        self.sessions = [factories.pending(org, self.profile).id for _ in range(length)]
        self.machines = [org.machine() for _ in range(runners)]
        self.system = principal.system(org.id)
        # Which claim was given which lease; kept for the comparison at the end.
        self.given: dict[Lease, set[str]] = defaultdict(set)
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Until nothing is open. Raises AssertionError when something is stuck, or was lost."""
        with Connections(CONNECTIONS) as server:
            number = 0
            while self._open(*OPEN):
                left_behind, given = self._open(*LEASED), len(self.given)
                work = self._round(number)
                server.serve([*work, *[partial(self._settle, left_behind)] * LOOPS])
                moved = left_behind or len(self.given) > given
                assert moved, "stuck: sessions wait, and no claim is given them"
                number += 1

    def _round(self, number: int) -> list[Callable[[], None]]:
        order = list(enumerate(self.machines))
        Random(f"{self.seed} {number}").shuffle(order)
        return [
            partial(self._work, machine, f"{number}-{each}", Random(f"{self.seed} {number} {each}"))
            for each, machine in order
        ]

    def _open(self, *states: State) -> list[Lease]:
        with self.org.scope():
            found = RunnerSession.objects.filter(profile=self.profile, state__in=states)
            return [Lease(*row) for row in found.values_list("id", "lease_epoch")]

    # --- a runner ----------------------------------------------------------------------------

    def _work(self, by: Machine, claim_id: str, dice: Random) -> None:
        request = ClaimRequest(claim_id=claim_id, max=dice.randint(1, AT_MOST))
        how = _drawn(CLAIMS, dice)
        found = self._claim(by, request)
        if found and how == "twice":
            # Of an empty answer nothing is kept: its repeat may well find something.
            assert self._claim(by, request) == found, "a repeat answers other leases"
        self.counts[f"claims asked {how}"] += bool(found)
        if how != "unheard":
            for lease in found:
                fate = _drawn(FATES, dice)
                self.counts[fate] += 1
                _MEETS[fate](self, by, lease)

    def _claim(self, by: Machine, request: ClaimRequest) -> list[Lease]:
        with self.org.scope():
            found = claims.claim_next(request, by=by.principal)
        leases = [Lease(session.id, session.lease_epoch) for session in found]
        for lease in leases:
            self.given[lease].add(request.claim_id)
        return sorted(leases)

    def _heartbeat(self, by: Machine, lease: Lease) -> None:
        with self.org.scope():
            claims.heartbeat(lease.session_id, by=by.principal, lease_epoch=lease.epoch)

    def _end(self, by: Machine, lease: Lease, verb: Verb, **report: Any) -> State:
        with self.org.scope():
            ended = outcomes.end(
                lease.session_id, verb, report, by=by.principal, lease_epoch=lease.epoch
            )
            return State(ended.state)

    def _complete(self, by: Machine, lease: Lease) -> None:
        self._heartbeat(by, lease)
        assert self._end(by, lease, Verb.COMPLETE) == State.COMPLETED

    def _complete_twice(self, by: Machine, lease: Lease) -> None:
        self._complete(by, lease)
        assert self._end(by, lease, Verb.COMPLETE) == State.COMPLETED

    def _fail(self, by: Machine, lease: Lease) -> None:
        self._heartbeat(by, lease)
        assert self._end(by, lease, Verb.FAIL, retryable=True) in (State.PENDING, State.FAILED)

    def _be_slow(self, by: Machine, lease: Lease) -> None:
        """Its lease runs out and is taken away; what it then says is refused."""
        self._heartbeat(by, lease)
        self._settle([lease])
        for say in (self._heartbeat, self._complete):
            try:
                say(by, lease)
            except LeaseLost:
                continue
            raise AssertionError(f"{lease} was over, and still wrote")

    # --- time --------------------------------------------------------------------------------

    def _settle(self, leases: list[Lease]) -> None:
        """These leases run out, where they are still held; a loop comes by."""
        for lease in leases:
            with self.org.scope():
                held = RunnerSession.objects.leased().filter(id=lease.session_id)
                past = clock.now() - LONG_AGO
                held.filter(lease_epoch=lease.epoch).update(lease_expires_at=past)
            with self.org.scope():
                reaper.settle(lease.session_id, by=self.system)

    # --- and what must have come of it -------------------------------------------------------

    def assert_sound(self) -> None:
        """Each lease was given to one claim; each session counts its claims and ended well."""
        doubled = {lease: given for lease, given in self.given.items() if len(given) > 1}
        assert not doubled, f"handed out twice: {doubled}"
        epochs: dict[UUID, list[int]] = defaultdict(list)
        for lease in self.given:
            epochs[lease.session_id].append(lease.epoch)
        for session_id in self.sessions:
            row = records.fresh(self.org, RunnerSession(id=session_id))
            assert row.state in FINAL, row.state
            assert sorted(epochs[session_id]) == list(range(1, row.lease_epoch + 1))
            assert row.failures <= MAX_ATTEMPTS
            self.counts[f"ended {row.state}"] += 1
            records.assert_sound(self.org, row)
        if self.limit is not None:
            self._assert_within(self.limit)

    def _assert_within(self, limit: int) -> None:
        """At no instant were more leases live; what ended made room for what began then."""
        with self.org.scope():
            steps = Transition.objects.filter(session__profile=self.profile)
            ways = [(step.at, step.source, step.target) for step in steps]
        changes = sorted((at, (to in LEASED) - (of in LEASED)) for at, of, to in ways)
        live = max(itertools.accumulate(change for _, change in changes))
        assert live <= limit, f"{live} at once"
        self.counts[f"at once, of {limit}"] = live


_MEETS: dict[str, Callable[[Drain, Machine, Lease], None]] = {
    "completes": Drain._complete,
    "completes twice": Drain._complete_twice,
    "fails, to be tried again": Drain._fail,
    "vanishes at once": lambda drain, by, lease: None,
    "vanishes after its first heartbeat": Drain._heartbeat,
    "is slow": Drain._be_slow,
}


def _drawn(likely: dict[str, int], dice: Random) -> str:
    return dice.choices(list(likely), list(likely.values()))[0]
