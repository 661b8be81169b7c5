"""Every state × every verb: an edge of the table is walked, everything else is refused whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from keeptrusts_runners import clock
from keeptrusts_runners.errors import StateConflict
from keeptrusts_runners.identity import principal
from profiles.models import RunnerProfile
from sessions import states, transitions
from sessions.models import RunnerSession, Transition
from sessions.states import EDGES, FINAL, LEASED, OPEN, Edge, State, Verb
from tests import factories
from tests.factories import path
from tests.people import Org
from tests.sessions import records, roads
from tests.sessions.roads import DOORS, reach

# Asking again for what is so already is no error: the same answer, and nothing written.
REPEATS = {
    (State.PAUSED, Verb.PAUSE),
    (State.CANCELLED, Verb.CANCEL),
    (State.CANCELLING, Verb.CANCEL),
}
REFUSED = [
    (state, verb)
    for state in State
    for verb in DOORS
    if not states.targets(verb, state) and (state, verb) not in REPEATS
]


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(scope="module")
def retrying(org: Org) -> RunnerProfile:
    return factories.profile(org, max_attempts=3, backoff_seconds=0)


# --- walking each edge -----------------------------------------------------------------------


def _wish_to_pause(org: Org, session: RunnerSession) -> None:
    roads.pause(org, session)


def _ask(verb: Verb) -> Callable[[Org, RunnerSession], Any]:
    return DOORS[verb]


def _patch(body: dict[str, Any]) -> Callable[[Org, RunnerSession], Any]:
    return lambda org, session: factories.session_api(org, session).patch(path(session), body)


def _force(org: Org, session: RunnerSession) -> Any:
    return org.operator.api.post(path(session, "cancel"), {"force": True})


def _time(*columns: str) -> Callable[[Org, RunnerSession], Any]:
    return lambda org, session: roads.settled(org, session, *columns)


def _doors(edge: Edge) -> Callable[[Org, RunnerSession], Any]:
    """What makes this edge happen, once the session is prepared."""
    match edge.verb:
        case Verb.EXPIRE | Verb.TIME_OUT:
            return _time("deadline_at")
        case Verb.LOSE:
            return _time("lease_expires_at")
        case Verb.FORCE:
            return _force
        case Verb.ACKNOWLEDGE:
            return _patch({"state": edge.target.value})
        case Verb.FAIL if edge.target in (State.PENDING, State.PAUSED):
            return _patch({"state": "failed", "retryable": True})
    return _ask(edge.verb)


def _prepared(org: Org, edge: Edge, retrying: RunnerProfile) -> RunnerSession:
    """A session in the edge's source, from which its verb leads to its target."""
    again = edge.target not in FINAL and edge.verb in (Verb.FAIL, Verb.LOSE)
    if again:
        session = factories.claimed(org, factories.pending(org, retrying))
        if edge.source is State.RUNNING:
            session = factories.running(org, roads.requeue(org, session))
    elif edge.verb is Verb.TIME_OUT and edge.source is State.PENDING:
        # One that was never claimed expires instead.
        session = roads.resume(org, reach(org, State.PAUSED))
    else:
        assert edge.source is not None
        session = reach(org, edge.source)
    wished = edge.verb is Verb.RESUME and edge.source in LEASED
    if wished or (edge.target is State.PAUSED and edge.source in LEASED):
        _wish_to_pause(org, session)
    return session


@pytest.mark.proves("life.table")
@pytest.mark.parametrize("edge", EDGES, ids=lambda edge: "-".join(map(str, edge)))
def test_each_edge_of_the_table_can_be_walked(
    org: Org, retrying: RunnerProfile, edge: Edge
) -> None:
    if edge.source is None:
        assert factories.pending(org).state == edge.target
        return
    session = _prepared(org, edge, retrying)
    assert records.fresh(org, session).state == edge.source
    answer = _doors(edge)(org, session)
    if not isinstance(answer, RunnerSession):
        assert answer.status_code in (200, 201), answer.content
    assert records.fresh(org, session).state == edge.target
    # Heartbeats but the first, and checkpoints, change no state and are no transition.
    if edge.verb not in (Verb.HEARTBEAT, Verb.CHECKPOINT) or edge.source != edge.target:
        assert records.transitions(org, session)[-1].verb == edge.verb
    records.assert_sound(org, session)


# --- refusing everything else ----------------------------------------------------------------


@pytest.mark.proves("life.table")
@pytest.mark.parametrize(("state", "verb"), REFUSED, ids=str)
def test_a_verb_that_leads_nowhere_is_refused_and_writes_nothing(
    org: Org, state: State, verb: Verb
) -> None:
    session = reach(org, state)
    before = records.stored(org, session)
    answer = DOORS[verb](org, session)
    assert answer.status_code == 409, answer.content
    problem = answer.json()
    assert problem["current_state"] == state
    if problem["code"] in ("state_conflict", "not_leased"):
        assert problem["allowed_verbs"] == states.allowed_verbs(state)
    else:
        assert problem["code"] in ("lease_lost", "outcome_conflict")
    assert records.stored(org, session) == before


@pytest.mark.parametrize(("state", "verb"), sorted(REPEATS), ids=str)
def test_asking_for_what_is_so_already_answers_it_and_writes_nothing(
    org: Org, state: State, verb: Verb
) -> None:
    session = reach(org, state)
    before = records.stored(org, session)
    answer = DOORS[verb](org, session)
    assert answer.status_code == 200, answer.content
    assert answer.json()["state"] == state
    assert records.stored(org, session) == before


@pytest.mark.proves("life.table")
@pytest.mark.parametrize("state", State)
def test_the_one_transition_refuses_every_step_that_is_not_in_the_table(
    org: Org, state: State
) -> None:
    """Verbs of time have no door; for all of them, this is the last guard."""
    session = reach(org, state)
    before = records.stored(org, session)
    by = principal.system(org.id)
    for verb in Verb:
        for target in set(State) - states.targets(verb, state):
            with org.scope(), pytest.raises(StateConflict) as refusal:
                transitions.transition(
                    transitions.lock(session.id, by=by), verb, target, by=by, now=clock.now()
                )
            assert refusal.value.fields["current_state"] == state
    assert records.stored(org, session) == before


# --- the table in the database ---------------------------------------------------------------


def _is_refused(write: Callable[[], Any]) -> bool:
    try:
        with transaction.atomic():
            write()
    except IntegrityError:
        return True
    return False


@pytest.mark.proves("life.table")
def test_the_database_takes_exactly_the_transitions_of_the_table(org: Org) -> None:
    session = factories.pending(org)
    taken = set()
    with org.scope():
        now = clock.now()
        seq = 1000
        for verb in Verb:
            for source in (None, *State):
                for target in State:
                    seq += 1
                    row = Transition(
                        organization_id=org.id, session_id=session.id, seq=seq, verb=verb,
                        source=source or "", target=target, actor="system", lease_epoch=0, at=now,
                    )  # fmt: skip
                    if not _is_refused(lambda row=row: row.save(force_insert=True)):
                        taken.add(Edge(verb, source, target))
        transaction.set_rollback(True)
    assert taken == set(EDGES)


@pytest.mark.proves("life.lease-states")
@pytest.mark.parametrize("state", State)
def test_the_database_takes_a_lease_in_leased_states_only_and_an_end_in_final_ones(
    org: Org, state: State
) -> None:
    session = factories.pending(org)
    with org.scope():
        now = clock.now()
        row = RunnerSession.objects.filter(id=session.id)
        for lease in (None, now):
            for ended in (None, now):
                for deadline in (None, now):
                    values = {
                        "state": state, "lease_expires_at": lease, "ended_at": ended,
                        "deadline_at": deadline,
                    }  # fmt: skip
                    coherent = (
                        (lease is not None) == (state in LEASED)
                        and (ended is not None) == (state in FINAL)
                        and (state in FINAL or lease is not None or deadline is not None)
                    )
                    refused = _is_refused(lambda values=values: row.update(**values))
                    assert refused is not coherent, values
        transaction.set_rollback(True)


def test_the_database_knows_no_other_state(org: Org) -> None:
    session = factories.pending(org)
    with org.scope():
        row = RunnerSession.objects.filter(id=session.id)
        assert _is_refused(lambda: row.update(state="resting"))


# --- the table itself ------------------------------------------------------------------------


@pytest.mark.proves("life.final")
def test_nothing_leads_out_of_a_final_state() -> None:
    assert not [edge for edge in EDGES if edge.source in FINAL]


@pytest.mark.proves("stuck.every-state-ends")
def test_every_open_state_can_end_and_every_state_can_be_reached() -> None:
    reached = {State.PENDING}
    while more := {edge.target for edge in EDGES if edge.source in reached} - reached:
        reached |= more
    assert reached == set(State)
    for state in OPEN:
        assert {edge.target for edge in EDGES if edge.source == state} & (FINAL | {State.PENDING})


@pytest.mark.proves("stuck.every-state-ends")
def test_time_alone_ends_every_open_state() -> None:
    by_time = {Verb.EXPIRE, Verb.TIME_OUT, Verb.LOSE, Verb.FORCE}
    for state in OPEN:
        assert [edge for edge in EDGES if edge.source == state and edge.verb in by_time]
