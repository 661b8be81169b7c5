"""Random walks: sequences of verbs that nobody thought of, against a small model of the contract.

Each step is asked for at the API's door; the model says what must come of it, and the invariants
are held against the rows. A failure prints the steps that lead to it, made as few as possible.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from grants.models import PermissionGrant
from keeptrusts_runners import ids
from profiles.models import RunnerProfile
from sessions import states
from sessions.models import RunnerSession
from sessions.states import EXECUTING, FINAL, LEASED, State, Verb
from tests import factories
from tests.factories import path
from tests.people import Api, Org
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
    """Session after session. The model: its state, what is desired, its epoch, its failures."""

    def __init__(self) -> None:
        super().__init__()
        self.org, self.profile = stage()
        self.session: RunnerSession | None = None

    @initialize(once=st.booleans())
    def begin(self, once: bool) -> None:
        self.dispatch(once)

    @rule(wild=st.integers(0, 4), choice=st.integers(0, 10_000), flag=st.booleans())
    def step(self, wild: int, choice: int, flag: bool) -> None:
        """`flag` is each verb's own: a stale epoch, a failure to be tried again, force."""
        verbs = _ANYTHING if wild == 4 else _WORTH_ASKING[self.state]
        verb = verbs[choice % len(verbs)]
        note(f"{self.state} → {verb} {flag}")
        getattr(self, verb)(flag)

    def dispatch(self, once: bool) -> None:
        if self.session is not None:
            records.assert_sound(self.org, self.session)
        body = {
            "profile_id": ids.encode("prof", self.profile.id),
            "task_id": "walk",
            "side_effects": "at_most_once" if once else "idempotent",
        }
        made = self.org.operator.api.post("/runners/sessions", body).json()
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

    def token(self, epoch: int) -> Api:
        """Of the epoch, or of the last one where it never came to be."""
        return self.tokens.get(epoch) or factories.session_api(self.org, self.session)

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
        answer = self.org.runner.api.post(path(self.session, "claim"))
        free = self.state is State.PENDING
        if self.answered(answer, Verb.CLAIM, State.DISPATCHED if free else None):
            self.epoch += 1
            assert answer.json()["lease_epoch"] == self.epoch
            handed = answer.json()["checkpoint"]
            assert (handed or {"number": 0})["number"] == self.checkpoints
            self.tokens[self.epoch] = Api(answer.json()["session_token"])

    def heartbeat(self, stale: bool) -> None:
        current = not (stale and self.epoch > 1)
        answer = self.token(self.epoch if current else self.epoch - 1).post(
            path(self.session, "heartbeat")
        )
        expected = None
        if self.leased and current:
            expected = State.RUNNING if self.state in EXECUTING else self.state
        if self.answered(answer, Verb.HEARTBEAT, expected):
            self.started = self.started or self.state is State.RUNNING
            assert answer.json()["desired_state"] == self.desired

    def record(self, stale: bool) -> None:
        current = not (stale and self.epoch > 1)
        token = self.token(self.epoch if current else self.epoch - 1)
        batch = {"events": [{"kind": "log"}, {"kind": "warning"}]}
        answer = token.post(path(self.session, "events"), batch)
        assert answer.status_code == (200 if self.leased and current else 409)

    def checkpoint(self, flag: bool) -> None:
        answer = self.token(self.epoch).post(path(self.session, "checkpoint"), {"data": {}})
        expected = self.state if self.leased else None
        if self.answered(answer, Verb.CHECKPOINT, expected):
            self.checkpoints += 1
            assert answer.json()["number"] == self.checkpoints

    def acknowledge(self, flag: bool) -> None:
        wished = self.desired if self.desired != "running" else "paused"
        before = self.state
        answer = self.token(self.epoch).patch(path(self.session), {"state": wished})
        if not self.leased:
            # Acknowledging again what this epoch has come to is answered; anything else refused.
            assert answer.status_code == 409 or answer.json()["state"] == before == wished
            return
        expected = State(wished) if self.desired == wished else None
        self.answered(answer, Verb.ACKNOWLEDGE, expected)

    def complete(self, flag: bool) -> None:
        self.end(Verb.COMPLETE, {"state": "completed", "result": {"epoch": self.epoch}})

    def fail(self, retryable: bool) -> None:
        self.end(Verb.FAIL, {"state": "failed", "retryable": retryable})

    def end(self, verb: Verb, body: dict[str, Any]) -> None:
        token, leased = self.token(self.epoch), self.leased
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
        answer = self.org.operator.api.post(path(self.session, "pause"))
        expected = None
        if self.state is State.PENDING:
            expected = State.PAUSED
        elif self.state in EXECUTING or self.state is State.PAUSED:
            expected = self.state
        if self.answered(answer, Verb.PAUSE, expected):
            self.desired = "paused"

    def resume(self, flag: bool) -> None:
        answer = self.org.operator.api.post(path(self.session, "resume"))
        expected = None
        if self.state is State.PAUSED:
            expected = State.PENDING
        elif self.state in EXECUTING and self.desired == "paused":
            expected = self.state
        if self.answered(answer, Verb.RESUME, expected):
            self.desired = "running"

    def cancel(self, force: bool) -> None:
        answer = self.org.operator.api.post(path(self.session, "cancel"), {"force": force})
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
        answer = self.org.operator.api.post(path(self.session, "permissions"), wanted)
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
            shown = self.org.viewer.api.get(place).json()
            answer = self.token(self.epoch).post(f"{place}/use")
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


_MODEST = {
    "deadline": None,
    "database": None,
    "print_blob": True,
    "suppress_health_check": list(HealthCheck),
}

TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=50, stateful_step_count=40, **_MODEST)


class LongWalk(Walk):
    """The same, for longer."""


TestLongWalk = pytest.mark.nightly(LongWalk.TestCase)
TestLongWalk.settings = settings(max_examples=10_000, stateful_step_count=100, **_MODEST)
