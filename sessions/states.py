"""The lifecycle of a runner session, as data. The first file to read.

`EDGES` is the only statement of what may happen. The CHECK constraints of the tables, the
refusals of the API, the buttons of the console, docs/lifecycle.md and the state × verb test are
all derived from it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    PENDING = "pending"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    EXPIRED = "expired"
    LOST = "lost"


class Verb(StrEnum):
    # of operators and automation
    DISPATCH = "dispatch"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    # of executors, under a lease
    CLAIM = "claim"
    HEARTBEAT = "heartbeat"
    CHECKPOINT = "checkpoint"
    ACKNOWLEDGE = "acknowledge"
    COMPLETE = "complete"
    FAIL = "fail"
    # of time, by the reaper
    EXPIRE = "expire"
    TIME_OUT = "time_out"
    LOSE = "lose"
    FORCE = "force"


class Health(StrEnum):
    """A second axis beside the state: only what holds a lease has one. Late: two heartbeats are
    overdue; silent: the lease has run out, and nobody has settled it yet."""

    HEALTHY = "healthy"
    LATE = "late"
    SILENT = "silent"
    NOT_APPLICABLE = "n/a"


class Reason(StrEnum):
    """Why a session needs somebody, the worst first. Lost: and nobody has decided about it."""

    LOST = "lost"
    SILENT = "silent"
    CANCEL_UNCONFIRMED = "cancel_unconfirmed"
    LATE = "late"
    APPROVAL_WAITING = "approval_waiting"
    RETRYING = "retrying"


class Edge(NamedTuple):
    """`verb` leads from `source` (None: not yet there) to `target`."""

    verb: Verb
    source: State | None
    target: State


# A lease is live in exactly these states.
LEASED = frozenset({State.DISPATCHED, State.RUNNING, State.CANCELLING})
# Grants are usable in exactly these: a cancelled session's are dead before its runner is.
EXECUTING = frozenset({State.DISPATCHED, State.RUNNING})
FINAL = frozenset(
    {
        State.COMPLETED,
        State.FAILED,
        State.CANCELLED,
        State.TIMED_OUT,
        State.EXPIRED,
        State.LOST,
    }
)
OPEN = frozenset(State) - FINAL
# The ends that nobody asked for and that are no success.
FAILURES = frozenset({State.FAILED, State.TIMED_OUT, State.EXPIRED, State.LOST})


def _edges() -> tuple[Edge, ...]:
    from_to: dict[Verb, list[tuple[State | None, State]]] = {
        Verb.DISPATCH: [(None, State.PENDING)],
        Verb.CLAIM: [(State.PENDING, State.DISPATCHED)],
        # The first heartbeat starts the session; the others only extend the lease.
        Verb.HEARTBEAT: [
            (State.DISPATCHED, State.RUNNING),
            (State.RUNNING, State.RUNNING),
            (State.CANCELLING, State.CANCELLING),
        ],
        Verb.CHECKPOINT: [(state, state) for state in sorted(LEASED)],
        # While leased a pause is a wish until the runner acknowledges it.
        Verb.PAUSE: [
            (State.PENDING, State.PAUSED),
            (State.DISPATCHED, State.DISPATCHED),
            (State.RUNNING, State.RUNNING),
        ],
        # While a pause is only desired, resuming withdraws it.
        Verb.RESUME: [
            (State.PAUSED, State.PENDING),
            (State.DISPATCHED, State.DISPATCHED),
            (State.RUNNING, State.RUNNING),
        ],
        Verb.CANCEL: [
            (State.PENDING, State.CANCELLED),
            (State.PAUSED, State.CANCELLED),
            (State.DISPATCHED, State.CANCELLING),
            (State.RUNNING, State.CANCELLING),
        ],
        Verb.ACKNOWLEDGE: [
            (State.DISPATCHED, State.PAUSED),
            (State.RUNNING, State.PAUSED),
            (State.CANCELLING, State.CANCELLED),
        ],
        Verb.COMPLETE: [
            (State.DISPATCHED, State.COMPLETED),
            (State.RUNNING, State.COMPLETED),
            (State.CANCELLING, State.CANCELLED),
        ],
        # With attempts left it is tried again, or waits where a pause was wanted.
        Verb.FAIL: [
            (State.DISPATCHED, State.FAILED),
            (State.RUNNING, State.FAILED),
            (State.DISPATCHED, State.PENDING),
            (State.RUNNING, State.PENDING),
            (State.DISPATCHED, State.PAUSED),
            (State.RUNNING, State.PAUSED),
            (State.CANCELLING, State.CANCELLED),
        ],
        Verb.EXPIRE: [(State.PENDING, State.EXPIRED)],
        Verb.TIME_OUT: [
            (State.PENDING, State.TIMED_OUT),
            (State.DISPATCHED, State.TIMED_OUT),
            (State.RUNNING, State.TIMED_OUT),
            (State.PAUSED, State.TIMED_OUT),
        ],
        # The runner went silent: try again, or pause if that was wanted, or give up.
        Verb.LOSE: [
            (State.DISPATCHED, State.PENDING),
            (State.RUNNING, State.PENDING),
            (State.DISPATCHED, State.PAUSED),
            (State.RUNNING, State.PAUSED),
            (State.DISPATCHED, State.LOST),
            (State.RUNNING, State.LOST),
            (State.CANCELLING, State.CANCELLED),
        ],
        Verb.FORCE: [(state, State.CANCELLED) for state in sorted(LEASED)],
    }
    return tuple(Edge(verb, *pair) for verb, pairs in from_to.items() for pair in pairs)


EDGES = _edges()

_TARGETS: dict[tuple[Verb, State | None], frozenset[State]] = {
    (edge.verb, edge.source): frozenset(other.target for other in EDGES if other[:2] == edge[:2])
    for edge in EDGES
}

# Verbs that somebody outside may ask for; the rest happen by themselves.
REQUESTABLE = frozenset(Verb) - {Verb.EXPIRE, Verb.TIME_OUT, Verb.LOSE, Verb.FORCE}


def targets(verb: Verb, source: State | None) -> frozenset[State]:
    """Where the verb may lead from here; empty when it may not be used here at all."""
    return _TARGETS.get((verb, source), frozenset())


def allowed_verbs(state: State) -> list[str]:
    """The verbs that a client may use in this state, as refusals and buttons list them."""
    return sorted(verb.value for verb in REQUESTABLE if targets(verb, state))
