"""Random walks: sequences of verbs that nobody thought of, against a small model of the contract.

Each step is asked for at the API's door, in this process or over HTTP; the model says what must
come of it, and the invariants are held against the rows. A failure prints the steps that lead to
it, made as few as possible.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from grants.models import PermissionGrant
from keeptrusts_runners import ids
from profiles.models import RunnerProfile
from sessions import states
from sessions.models import RunnerSession
from sessions.states import EXECUTING, FINAL, LEASED, State, Verb
from tests import factories
from tests.factories import path
from tests.live import LiveApi
from tests.people import Api, Org
from tests.recording import Figures
from tests.sessions import records, roads

MAX_ATTEMPTS = 4


@cache
def stage() -> tuple[Org, RunnerProfile]:
    org = Org()
    return org, factories.profile(org, max_attempts=MAX_ATTEMPTS, backoff_seconds=0)


# What is worth asking in each state, the likelier the oftener; the rest is asked now and then, to
# be refused. A walk that has come to an end goes on with another session.
_ENDING = ["fail", "lose", "complete", "cancel"]
_EXECUTING = [
    "heartbeat", "heartbeat", "record", "checkpoint", "issue", "use", "use", "pause", "pause",
    "resume", "acknowledge", "acknowledge", "fail", "lose", *_ENDING,
]  # fmt: skip
_WORTH_ASKING: dict[State, list[str]] = {
    State.PENDING: [*["claim"] * 5, "pause", "issue", "cancel"],
    State.DISPATCHED: [*["heartbeat"] * 3, *_EXECUTING],
    State.RUNNING: _EXECUTING,
    State.PAUSED: [*["resume"] * 4, "issue", "cancel"],
    State.CANCELLING: ["heartbeat", "record", "use", *_ENDING, "acknowledge"],
} | {state: ["dispatch"] for state in FINAL}
_ANYTHING = sorted({verb for verbs in _WORTH_ASKING.values() for verb in verbs} - {"dispatch"})


class Walk(RuleBasedStateMachine):
    """Session after session. The model: its state, what is desired, its epoch, its failures.

    `door` makes a bearer's view of the API; `steps` counts those of all walks.
    """

    door: Callable[[str | None], Api] = Api
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.org, self.profile = stage()
        self.operator, self.runner, self.viewer = (
            self.door(who.api.token)
            for who in (self.org.operator, self.org.runner, self.org.viewer)
        )
        self.session: RunnerSession | None = None
        self.number = 0

    @initialize(once=st.booleans())
    def begin(self, once: bool) -> None:
        self.dispatch(once)

    @rule(choice=st.integers(0, 10_000))
    def step(self, choice: int) -> None:
        """`flag` is each verb's own: a stale epoch, a failure to be tried again, force.

        What is drawn is often the same for a whole walk, which would ask for the same all along;
        mixed with the step's number it is not.
        """
        self.number += 1
        dice = Random(f"{choice} {self.number}")
        verbs = _ANYTHING if dice.random() < 0.2 else _WORTH_ASKING[self.state]
        verb, flag = dice.choice(verbs), dice.random() < 0.5
        note(f"{self.state} → {verb} {flag}")
        Walk.steps += 1
        getattr(self, verb)(flag)

    def dispatch(self, once: bool) -> None:
        if self.session is not None:
            records.assert_sound(self.org, self.session)
        body = {
            "profile_id": ids.encode("prof", self.profile.id),
            "task_id": "walk",
            "side_effects": "at_most_once" if once else "idempotent",
        }
        made = self.operator.post("/runners/sessions", body).json()
        with self.org.scope():
            self.session = RunnerSession.objects.get(id=ids.decode("sess", made["id"]))
        self.once, self.started = once, False
        self.state, self.desired, self.epoch, self.failures = State.PENDING, "running", 0, 0
        self.tokens: dict[int, Api] = {}
        self.grants: list[str] = []
        self.checkpoints = 0

    # --- what is asked, and what must come of it -----------------------------------------

    def answered(self, answer: Any, verb: Verb, expected: State | None) -> bool:
        """Did it take effect? It does exactly where the model expects a target."""
        if expected is None:
            assert answer.status_code == 409, (verb, self.state, answer.content)
            assert answer.json().get("current_state", self.state) == self.state
            return False
        assert answer.status_code in (200, 201), (verb, self.state, answer.content)
        self.move(verb, expected)
        return True

    def move(self, verb: Verb, target: State) -> None:
        assert target == self.state or target in states.targets(verb, self.state)
        self.state = target

    @property
    def leased(self) -> bool:
        return self.state in LEASED

    def token(self, stale: bool = False) -> Api:
        """Of the present or last epoch, or of the one before."""
        found = self.tokens.get(self.epoch - self.is_stale(stale))
        return found or self.door(factories.session_api(self.org, self.session).token)

    def is_stale(self, wished: bool) -> bool:
        """A stale epoch there is from the second one on."""
        return wished and self.epoch > 1

    def again(self, otherwise: State) -> State:
        """Where a failed or lost attempt leads."""
        self.failures += 1
        if (self.once and self.started) or self.failures >= MAX_ATTEMPTS:
            return otherwise
        if self.desired == "paused":
            return State.PAUSED
        return State.PENDING

    # --- verbs of executing code ---------------------------------------------------------

    def claim(self, flag: bool) -> None:
        roads.overdue(self.org, self.session, "not_before")
        answer = self.runner.post(path(self.session, "claim"))
        free = self.state is State.PENDING
        if self.answered(answer, Verb.CLAIM, State.DISPATCHED if free else None):
            self.epoch += 1
            assert answer.json()["lease_epoch"] == self.epoch
            handed = answer.json()["checkpoint"]
            assert (handed or {"number": 0})["number"] == self.checkpoints
            self.tokens[self.epoch] = self.door(answer.json()["session_token"])

    def heartbeat(self, stale: bool) -> None:
        answer = self.token(stale).post(path(self.session, "heartbeat"))
        expected = None
        if self.leased and not self.is_stale(stale):
            expected = State.RUNNING if self.state in EXECUTING else self.state
        if self.answered(answer, Verb.HEARTBEAT, expected):
            self.started = self.started or self.state is State.RUNNING
            assert answer.json()["desired_state"] == self.desired

    def record(self, stale: bool) -> None:
        batch = {"events": [{"kind": "log"}, {"kind": "warning"}]}
        answer = self.token(stale).post(path(self.session, "events"), batch)
        taken = self.leased and not self.is_stale(stale)
        assert answer.status_code == (200 if taken else 409)

    def checkpoint(self, stale: bool) -> None:
        answer = self.token(stale).post(path(self.session, "checkpoint"), {"data": {}})
        expected = self.state if self.leased and not self.is_stale(stale) else None
        if self.answered(answer, Verb.CHECKPOINT, expected):
            self.checkpoints += 1
            assert answer.json()["number"] == self.checkpoints

    def acknowledge(self, stale: bool) -> None:
        wished = self.desired if self.desired != "running" else "paused"
        before = self.state
        answer = self.token(stale).patch(path(self.session), {"state": wished})
        if not self.leased and not self.is_stale(stale):
            # Acknowledging again what this epoch has come to is answered; anything else refused.
            assert answer.status_code == 409 or answer.json()["state"] == before == wished
            return
        taken = self.desired == wished and not self.is_stale(stale)
        self.answered(answer, Verb.ACKNOWLEDGE, State(wished) if taken else None)

    def complete(self, stale: bool) -> None:
        body = {"state": "completed", "result": {"epoch": self.epoch}}
        if self.is_stale(stale):
            self.answered(self.token(stale).patch(path(self.session), body), Verb.COMPLETE, None)
        else:
            self.end(Verb.COMPLETE, body)

    def fail(self, retryable: bool) -> None:
        self.end(Verb.FAIL, {"state": "failed", "retryable": retryable})

    def end(self, verb: Verb, body: dict[str, Any]) -> None:
        token, leased = self.token(), self.leased
        answer = token.patch(path(self.session), body)
        if not leased:
            # The same ending again is answered, another one or none is refused; nothing moves.
            assert answer.status_code in (200, 409)
            return
        if self.state is State.CANCELLING:
            expected = State.CANCELLED
        elif verb is Verb.COMPLETE:
            expected = State.COMPLETED
        else:
            expected = self.again(State.FAILED) if body["retryable"] else State.FAILED
        self.answered(answer, verb, expected)
        repeated = token.patch(path(self.session), body)
        assert (repeated.status_code, repeated.json()["state"]) == (200, self.state)

    # --- verbs of operators --------------------------------------------------------------

    def pause(self, flag: bool) -> None:
        answer = self.operator.post(path(self.session, "pause"))
        expected = None
        if self.state is State.PENDING:
            expected = State.PAUSED
        elif self.state in EXECUTING or self.state is State.PAUSED:
            expected = self.state
        if self.answered(answer, Verb.PAUSE, expected):
            self.desired = "paused"

    def resume(self, flag: bool) -> None:
        answer = self.operator.post(path(self.session, "resume"))
        expected = None
        if self.state is State.PAUSED:
            expected = State.PENDING
        elif self.state in EXECUTING and self.desired == "paused":
            expected = self.state
        if self.answered(answer, Verb.RESUME, expected):
            self.desired = "running"

    def cancel(self, force: bool) -> None:
        answer = self.operator.post(path(self.session, "cancel"), {"force": force})
        expected: State | None = State.CANCELLED
        if self.leased and not force:
            expected = State.CANCELLING
        elif self.state in FINAL - {State.CANCELLED}:
            expected = None
        verb = Verb.FORCE if force and self.leased else Verb.CANCEL
        if self.answered(answer, verb, expected) and self.state is State.CANCELLING:
            self.desired = "cancelled"

    # --- verbs of time -------------------------------------------------------------------

    def lose(self, flag: bool) -> None:
        if not self.leased:
            return
        expected = State.CANCELLED
        if self.state in EXECUTING:
            if self.desired == "paused" and not (self.once and self.started):
                self.failures += 1
                expected = State.PAUSED
            else:
                expected = self.again(State.LOST)
        settled = roads.settled(self.org, self.session, "lease_expires_at")
        assert settled.state == expected
        self.move(Verb.LOSE, expected)

    # --- grants --------------------------------------------------------------------------

    def issue(self, flag: bool) -> None:
        wanted = {"operation": "network.egress", "reason": "walk", "ttl_seconds": 600}
        answer = self.operator.post(path(self.session, "permissions"), wanted)
        if self.state in FINAL or self.state is State.CANCELLING:
            assert answer.status_code == 409
            return
        assert answer.status_code == 201, answer.content
        grant = answer.json()
        assert grant["state"] == ("active" if self.state in EXECUTING else "approved")
        self.grants.append(grant["id"])

    def use(self, flag: bool) -> None:
        for grant in self.grants[-1:]:
            place = path(self.session, "permissions", grant)
            shown = self.viewer.get(place).json()
            answer = self.token().post(f"{place}/use")
            if not self.leased:
                assert answer.status_code == 409
                return
            live = shown["state"] == "active" and shown["lease_epoch"] == self.epoch
            assert answer.status_code == 200, answer.content
            assert answer.json()["allowed"] is (live and self.state in EXECUTING)

    # --- what always holds ---------------------------------------------------------------

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if self.session is None:
            return
        row = records.fresh(self.org, self.session)
        assert (row.state, row.lease_epoch, row.failures) == (
            self.state,
            self.epoch,
            self.failures,
        )
        self.session = row

    @invariant()
    def no_grant_outlives_its_lease(self) -> None:
        if self.session is None or not self.grants or self.state in EXECUTING:
            return
        with self.org.scope():
            left = PermissionGrant.objects.filter(session_id=self.session.id, state="active")
            assert not left.exists()

    def teardown(self) -> None:
        if self.session is not None:
            records.assert_sound(self.org, self.session)


# --- how far ---------------------------------------------------------------------------------


def walk(machine: type[Walk], figures: Figures, walks: int, steps: int) -> None:
    """So many walks of so many steps. Raises what is wrong, with the shortest walk to it."""
    before = Walk.steps
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=walks,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    figures.count("steps", Walk.steps - before)


@pytest.mark.proves(
    "life.model", "life.fold", "fence.every-write", "grant.no-late-use", "stuck.deadlines"
)
def test_a_walk_leads_where_the_model_leads(figures: Figures) -> None:
    walk(Walk, figures, walks=35, steps=40)


@pytest.mark.proves("life.model")
def test_a_walk_over_http_leads_where_the_model_leads(figures: Figures, live_url: str) -> None:
    class LiveWalk(Walk):
        door = partial(LiveApi, live_url)

    walk(LiveWalk, figures, walks=12, steps=40)


@pytest.mark.nightly
@pytest.mark.proves(
    "life.model", "life.fold", "fence.every-write", "grant.no-late-use", "stuck.deadlines"
)
def test_long_walks_lead_where_the_model_leads(
    figures: Figures, length: Callable[..., int]
) -> None:
    left = length(10_000)
    while left > 0:
        walk(Walk, figures, walks=min(left, 50), steps=100)
        left -= 50
        figures.tell()
