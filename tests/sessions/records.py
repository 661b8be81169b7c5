"""What the database holds of a session, and the promises that hold whatever happened to it."""

from __future__ import annotations

from typing import Any

from grants import ledger
from grants.models import Event, LedgerHead
from keeptrusts_runners.evidence import chain
from sessions.models import Checkpoint, RunnerSession, Transition
from sessions.states import EDGES, EXECUTING, FINAL, LEASED, Edge, State, Verb
from tests.people import Org

# The kinds that only somebody who holds the lease can cause.
UNDER_LEASE = frozenset({"checkpoint.recorded", "artifact.stored", "grant.used"})
AFTER_THE_END = frozenset({"artifact.removed", "grant.ended", "evidence.redacted", "note"})


def stored(org: Org, session: RunnerSession) -> dict[str, Any]:
    """Every column of the session and where its ledger stands, to compare before with after."""
    with org.scope():
        row = RunnerSession.objects.filter(id=session.id).values().get()
        head = LedgerHead.objects.filter(session_id=session.id).values().get()
    return row | {f"ledger_{name}": value for name, value in head.items()}


def fresh(org: Org, session: RunnerSession) -> RunnerSession:
    with org.scope():
        return RunnerSession.objects.get(id=session.id)


def events(org: Org, session: RunnerSession) -> list[Event]:
    with org.scope():
        return list(Event.objects.filter(session_id=session.id).order_by("seq"))


def kinds(org: Org, session: RunnerSession) -> list[str]:
    return [event.kind for event in events(org, session)]


def last(org: Org, session: RunnerSession, kind: str) -> Event:
    return [event for event in events(org, session) if event.kind == kind][-1]


def transitions(org: Org, session: RunnerSession) -> list[Transition]:
    with org.scope():
        return list(Transition.objects.filter(session_id=session.id).order_by("seq"))


def assert_sound(org: Org, session: RunnerSession) -> None:
    """The invariants of the contract that one session's rows can show."""
    row = fresh(org, session)
    recorded = events(org, session)
    steps = transitions(org, session)
    _assert_chained(org, row, recorded)
    _assert_folds(row, steps)
    _assert_recorded_as(steps, recorded)
    _assert_fenced(recorded)
    with org.scope():
        numbers = list(
            Checkpoint.objects.filter(session_id=row.id)
            .order_by("number")
            .values_list("number", flat=True)
        )
    assert numbers == list(range(1, row.checkpoints_recorded + 1))
    assert (row.lease_expires_at is not None) == (row.state in LEASED)
    assert row.is_final or row.lease_expires_at is not None or row.deadline_at is not None


def _assert_chained(org: Org, row: RunnerSession, recorded: list[Event]) -> None:
    with org.scope():
        head = LedgerHead.objects.get(session_id=row.id)
    assert [event.seq for event in recorded] == list(range(1, len(recorded) + 1))
    previous = chain.GENESIS
    for event in recorded:
        body, salt = bytes(event.body or b""), bytes(event.salt or b"")
        assert len(salt) == 32
        digest = chain.body_digest(salt, body)
        assert digest == bytes(event.body_digest)
        previous = chain.link(
            row.organization_id.bytes, row.id.bytes, event.seq,
            ledger.microseconds(event.recorded_at), event.kind, event.actor, event.lease_epoch,
            digest, previous,
        )  # fmt: skip
        assert previous == bytes(event.hash), f"the chain breaks at {event.seq}"
    assert (head.seq, bytes(head.hash)) == (len(recorded), previous)
    assert head.events == len(recorded)
    assert head.warnings == sum(event.level == "warning" for event in recorded)
    assert head.errors == sum(event.level in ("error", "critical") for event in recorded)


def _assert_folds(row: RunnerSession, steps: list[Transition]) -> None:
    """The present state is the fold of the recorded steps, each of them an edge of the table."""
    state, epoch = "", 0
    for step in steps:
        assert step.source == state
        assert Edge(Verb(step.verb), State(state) if state else None, State(step.target)) in EDGES
        assert state not in FINAL, "final is final"
        epoch += step.verb == Verb.CLAIM
        assert step.lease_epoch == epoch
        state = step.target
    assert (state, epoch) == (row.state, row.lease_epoch)


def _assert_recorded_as(steps: list[Transition], recorded: list[Event]) -> None:
    """The transitions beside the ledger are those that the ledger proves."""
    proved = [event for event in recorded if event.kind.startswith("state.")]
    assert [step.seq for step in steps] == [event.seq for event in proved]
    for step, event in zip(steps, proved, strict=True):
        assert event.kind == f"state.{step.target}"
        assert (event.actor, event.recorded_at) == (step.actor, step.at)
        assert event.data["verb"] == step.verb
        assert (event.data.get("from") or "", event.data["to"]) == (step.source, step.target)


def _assert_fenced(recorded: list[Event]) -> None:
    """Nothing of an epoch stands after the epoch's end, and little after the session's."""
    state, epoch, instants = State.PENDING, 0, []
    for event in recorded:
        if event.kind.startswith("state."):
            state = State(event.kind.partition(".")[2])
            epoch = event.lease_epoch
        elif event.kind in UNDER_LEASE or event.source == "client":
            allowed = EXECUTING if event.kind == "grant.used" else LEASED
            assert state in allowed, f"{event.kind} at {event.seq} in {state}"
            assert event.lease_epoch == epoch
        elif state in FINAL:
            assert event.kind in AFTER_THE_END | {"lease.expired"}
        instants.append(event.recorded_at)
    assert instants == sorted(instants)
