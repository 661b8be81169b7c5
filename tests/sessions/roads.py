"""How a session comes into each state, and how each verb is asked for, by what the product has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from keeptrusts_runners import clock
from keeptrusts_runners.identity import principal
from sessions import claims, lifecycle, outcomes, reaper
from sessions.models import DesiredState, RunnerSession
from sessions.states import State, Verb
from tests import factories
from tests.factories import path
from tests.people import Org

Road = Callable[[Org], RunnerSession]
LONG_AGO = timedelta(minutes=1)


def overdue(org: Org, session: RunnerSession, *columns: str) -> None:
    """Let instants of the session lie in the past, as if that time had gone by."""
    with org.scope():
        past = clock.now() - LONG_AGO
        RunnerSession.objects.filter(id=session.id).update(**dict.fromkeys(columns, past))


def settled(org: Org, session: RunnerSession, *columns: str) -> RunnerSession:
    """What the reaper makes of the session when these instants have passed."""
    overdue(org, session, *columns)
    with org.scope():
        return reaper.settle(session.id, by=principal.system(org.id)) or session


def pause(org: Org, session: RunnerSession) -> RunnerSession:
    by = org.operator.principal
    with org.scope():
        return lifecycle.pause(session.id, by=by)


def resume(org: Org, session: RunnerSession) -> RunnerSession:
    by = org.operator.principal
    with org.scope():
        return lifecycle.resume(session.id, by=by)


def cancel(org: Org, session: RunnerSession) -> RunnerSession:
    by = org.operator.principal
    with org.scope():
        return lifecycle.cancel(session.id, by=by)


def end(org: Org, session: RunnerSession, outcome: Verb, **report: Any) -> RunnerSession:
    by, epoch = org.runner.principal, session.lease_epoch
    with org.scope():
        return outcomes.end(session.id, outcome, report, by=by, lease_epoch=epoch)


def acknowledge(org: Org, session: RunnerSession, wished: DesiredState) -> RunnerSession:
    by, epoch = org.runner.principal, session.lease_epoch
    with org.scope():
        return outcomes.acknowledge(session.id, wished, by=by, lease_epoch=epoch)


def checkpoint(org: Org, session: RunnerSession, data: Any) -> Any:
    by, epoch = org.runner.principal, session.lease_epoch
    with org.scope():
        return claims.checkpoint(session.id, data, by=by, lease_epoch=epoch)[1]


def paused(org: Org, **fields: Any) -> RunnerSession:
    session = factories.running(org, factories.pending(org, **fields))
    pause(org, session)
    return acknowledge(org, session, DesiredState.PAUSED)


ROADS: dict[State, Road] = {
    State.PENDING: factories.pending,
    State.DISPATCHED: factories.claimed,
    State.RUNNING: factories.running,
    State.PAUSED: paused,
    State.CANCELLING: lambda org: cancel(org, factories.running(org)),
    State.COMPLETED: lambda org: end(org, factories.running(org), Verb.COMPLETE, result={"n": 1}),
    State.FAILED: lambda org: end(org, factories.running(org), Verb.FAIL),
    State.CANCELLED: lambda org: cancel(org, factories.pending(org)),
    State.TIMED_OUT: lambda org: settled(org, factories.running(org), "deadline_at"),
    State.EXPIRED: lambda org: settled(org, factories.pending(org), "deadline_at"),
    State.LOST: lambda org: settled(org, factories.running(org), "lease_expires_at"),
}


def reach(org: Org, state: State) -> RunnerSession:
    session = ROADS[state](org)
    assert session.state == state
    return session


def requeue(org: Org, session: RunnerSession) -> RunnerSession:
    """Pending once more after a failure that can be tried again; its backoff is over."""
    session = end(org, session, Verb.FAIL, retryable=True)
    assert session.state == State.PENDING
    overdue(org, session, "not_before")
    return session


def _under_lease(method: str, place: str, body: Any) -> Callable[[Org, RunnerSession], Any]:
    def ask(org: Org, session: RunnerSession) -> Any:
        api = factories.session_api(org, session)
        return api.request(method, path(session, place) if place else path(session), body)

    return ask


def _operating(place: str) -> Callable[[Org, RunnerSession], Any]:
    return lambda org, session: org.operator.api.post(path(session, place))


# Every verb that somebody outside can ask for, at its door. An acknowledgement says what the
# session is not yet, so that it is never a mere repeat.
DOORS: dict[Verb, Callable[[Org, RunnerSession], Any]] = {
    Verb.PAUSE: _operating("pause"),
    Verb.RESUME: _operating("resume"),
    Verb.CANCEL: _operating("cancel"),
    Verb.CLAIM: lambda org, session: org.runner.api.post(path(session, "claim")),
    Verb.HEARTBEAT: _under_lease("POST", "heartbeat", {}),
    Verb.CHECKPOINT: _under_lease("POST", "checkpoint", {"data": {"at": 1}}),
    Verb.ACKNOWLEDGE: lambda org, session: factories.session_api(org, session).patch(
        path(session),
        {"state": "cancelled" if session.state in ("paused", "cancelling") else "paused"},
    ),
    Verb.COMPLETE: _under_lease("PATCH", "", {"state": "completed"}),
    Verb.FAIL: _under_lease("PATCH", "", {"state": "failed", "reason": "no luck"}),
}


def second_epoch(org: Org, **by: Any) -> RunnerSession:
    """Running, under its second lease."""
    on = factories.profile(org, max_attempts=5, backoff_seconds=0)
    session = requeue(org, factories.running(org, factories.pending(org, on)))
    return factories.running(org, session, **by)
