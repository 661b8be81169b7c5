"""docs/lifecycle.md: the table of sessions/states.py, for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from sessions.states import EDGES, EXECUTING, FINAL, LEASED, State, Verb

_STATES = {
    State.PENDING: "Waits for a claim: after the dispatch, after a resume, or for another attempt.",
    State.DISPATCHED: "Claimed, and not yet heard of.",
    State.RUNNING: "Heartbeats come.",
    State.PAUSED: "Put aside; a resume makes it pending again.",
    State.CANCELLING: "To be cancelled; its runner has a minute to acknowledge. Grants have ended.",
    State.COMPLETED: "The runner reported success.",
    State.FAILED: "The runner reported a failure, and no attempt is left or it is not retryable.",
    State.CANCELLED: "Ended on request.",
    State.TIMED_OUT: "A deadline passed: of the execution, a pause, or a wait between attempts.",
    State.EXPIRED: "Never claimed in time.",
    State.LOST: "The runner went silent and no attempt is left: the outcome is unknown.",
}

_VERBS = {
    Verb.DISPATCH: ("operator, automation", "`POST /v1/runners/sessions`"),
    Verb.PAUSE: ("operator", "`POST …/pause`, or PATCH with `paused`"),
    Verb.RESUME: ("operator", "`POST …/resume`, or PATCH with `running`"),
    Verb.CANCEL: ("operator", "`POST …/cancel`, or PATCH with `cancelled`"),
    Verb.CLAIM: ("executor", "`POST …/claim`, `POST /v1/runners/sessions/claim`"),
    Verb.HEARTBEAT: ("lease holder", "`POST …/heartbeat`"),
    Verb.CHECKPOINT: ("lease holder", "`POST …/checkpoint`"),
    Verb.ACKNOWLEDGE: ("lease holder", "PATCH with the `desired_state`: `paused` or `cancelled`"),
    Verb.COMPLETE: ("lease holder", "PATCH with `completed`"),
    Verb.FAIL: ("lease holder", "PATCH with `failed`"),
    Verb.EXPIRE: ("time", "the queue timeout is over"),
    Verb.TIME_OUT: ("time", "a deadline is over"),
    Verb.LOSE: ("time", "the lease ran out"),
    Verb.FORCE: ("operator, time", "cancel with `force`, or a cancel that nobody acknowledged"),
}

_HEAD = """\
# The lifecycle of a session

Generated from `sessions/states.py` by `manage.py generate_docs`. The same table is the CHECK
constraint of the database, the text of refusals and the test of every verb in every state.

A session holds a lease in exactly these states: {leased}.
Grants can be used only in these: {executing}.
Final, so that nothing leads out of them: {final}.
"""

_TAIL = """
While a session is leased, `pause` does not change its state: it sets `desired_state`, which every
answer to the lease holder carries, and the state changes when the holder acknowledges. `resume`
withdraws such a wish. A cancel of a leased session is `cancelling` at once, and whatever its
runner reports then, it ends as `cancelled`, with the report kept in `reported_outcome`.

A failure that is retryable and a lease that ran out cost an attempt (`failures`). While fewer than
`max_attempts` are used up the session is pending again, after a backoff that doubles each time;
the next claim starts a new lease epoch and is handed the last checkpoint. Where a pause was wanted
it is paused instead. A session with `side_effects: at_most_once` never becomes pending again once
it has started.
"""


def render() -> str:
    """The whole page."""
    head = _HEAD.format(leased=_listed(LEASED), executing=_listed(EXECUTING), final=_listed(FINAL))
    parts = [head, *_states(), "", *_diagram(), "", *_verbs()]
    return "\n".join(parts) + "\n" + _TAIL


def _listed(states: frozenset[State]) -> str:
    *others, last = [state.value for state in State if state in states]
    return f"{', '.join(others)}, {last}"


def _states() -> Iterator[str]:
    yield from ("## States", "", "| state | lease | meaning |", "|---|---|---|")
    for state in State:
        kind = "yes" if state in LEASED else "final" if state in FINAL else "no"
        yield f"| `{state}` | {kind} | {_STATES[state]} |"


def _diagram() -> Iterator[str]:
    """Changes of state, with the verbs that make them; what keeps the state is in the table."""
    verbs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for edge in EDGES:
        if edge.source is not edge.target:
            verbs[edge.source or "[*]", edge.target].append(edge.verb.value)
    yield from ("## Changes", "", "```mermaid", "stateDiagram-v2")
    for (source, target), names in verbs.items():
        yield f"    {source} --> {target}: {', '.join(names)}"
    yield from (f"    {state} --> [*]" for state in State if state in FINAL)
    yield "```"


def _verbs() -> Iterator[str]:
    yield from ("## Verbs", "", "| verb | who | how | from | to |", "|---|---|---|---|---|")
    for verb in Verb:
        who, how = _VERBS[verb]
        for targets, sources in _steps(verb).items():
            yield f"| `{verb}` | {who} | {how} | {', '.join(sources)} | {targets} |"


def _steps(verb: Verb) -> dict[str, list[str]]:
    """Where the verb leads → from where."""
    by_source: dict[str, list[str]] = defaultdict(list)
    for edge in EDGES:
        if edge.verb is verb:
            target = "the same" if edge.target is edge.source else edge.target.value
            by_source[edge.source or "–"].append(target)
    found: dict[str, list[str]] = defaultdict(list)
    for source, targets in by_source.items():
        found[" or ".join(targets)].append(source)
    return found
