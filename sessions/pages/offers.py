"""What a person may do to a session now, and what would have to be so for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from keeptrusts_runners import ids
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from sessions import states
from sessions.models import DesiredState, RunnerSession
from sessions.states import State, Verb


@dataclass(frozen=True, slots=True)
class Action:
    """`posts`: a button that does it; else a link to a page that asks first, or a download."""

    label: str
    url: str
    posts: bool = False
    risky: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to do, and a sentence on each thing that is not offered."""

    actions: list[Action]
    missing: list[str]


def of(session: RunnerSession, by: Principal) -> Offer:
    """Buttons say what would do something; the verbs decide again."""
    actions, missing = _operating(session) if by.has(Scope.WRITE) else ([], [_NEEDS_WRITE])
    if by.has(Scope.DISPATCH):
        again = f"{reverse('dispatch')}?from={ids.encode('sess', session.id)}"
        actions.append(Action("Dispatch again", again))
    if by.has(Scope.AUDIT):
        actions.append(Action("Export", reverse("session_evidence", args=[session.id])))
    else:
        missing.append("Export needs the scope runners:audit.")
    return Offer(actions, missing)


_NEEDS_WRITE = "Pausing, cancelling and retrying need the scope runners:write."


def _operating(session: RunnerSession) -> tuple[list[Action], list[str]]:
    actions: list[Action] = []
    missing: list[str] = []
    for possible, action, otherwise in (
        (may_be_decided(session), _to(session, "Decide outcome", "session_disposition"), _DECIDE),
        (session.is_final, _to(session, "Retry session", "session_retry"), _RETRY),
        (_may_resume(session), _resume(session), _needs(Verb.RESUME, "or a pause that is asked")),
        (_may_pause(session), _pause(session), _needs(Verb.PAUSE, "without a pause asked for")),
        (_may(session, Verb.CANCEL), _cancel(session), _needs(Verb.CANCEL)),
        (may_be_forced(session), _force(session), _FORCE),
    ):
        if possible:
            actions.append(action)
        else:
            missing.append(otherwise)
    return actions, missing


_DECIDE = "Deciding the outcome needs a lost session that nobody has decided on."
_RETRY = "Retry needs an ended session."
_FORCE = "Force cancel needs a cancellation that its executor has not confirmed."


def _needs(verb: Verb, more: str = "") -> str:
    """From the lifecycle's own table."""
    sources = [state.value for state in State if states.targets(verb, state)]
    if verb == Verb.RESUME:
        return f"Resume needs state paused, {more} for."
    sentence = f"{verb.capitalize()} needs state {', '.join(sources[:-1])} or {sources[-1]}"
    return f"{sentence}{', ' + more if more else ''}."


def _may(session: RunnerSession, verb: Verb) -> bool:
    return verb in states.allowed_verbs(State(session.state))


def _may_pause(session: RunnerSession) -> bool:
    return _may(session, Verb.PAUSE) and not (session.is_leased and _pause_is_wished(session))


def _may_resume(session: RunnerSession) -> bool:
    """While leased a pause is only wished for, and resuming withdraws it."""
    return _may(session, Verb.RESUME) and (not session.is_leased or _pause_is_wished(session))


def _pause_is_wished(session: RunnerSession) -> bool:
    return session.desired_state == DesiredState.PAUSED


def may_be_forced(session: RunnerSession) -> bool:
    """It has been asked to end, and its executor has not confirmed."""
    return session.state == State.CANCELLING


def may_be_decided(session: RunnerSession) -> bool:
    """Nobody knows how it went, and nobody has said what is to become of it."""
    return session.state == State.LOST and not session.disposition


def _to(session: RunnerSession, label: str, page: str) -> Action:
    return Action(label, reverse(page, args=[session.id]))


def _resume(session: RunnerSession) -> Action:
    label = "Resume session" if session.state == State.PAUSED else "Withdraw pause"
    return Action(label, reverse("session_resume", args=[session.id]), posts=True)


def _pause(session: RunnerSession) -> Action:
    return Action("Pause session", reverse("session_pause", args=[session.id]), posts=True)


def _cancel(session: RunnerSession) -> Action:
    return Action("Cancel session", reverse("session_cancel", args=[session.id]), risky=True)


def _force(session: RunnerSession) -> Action:
    return Action("Force cancel", reverse("session_force", args=[session.id]), risky=True)
