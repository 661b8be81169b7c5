"""Positive controls: defects put in on the side of the tests, each of which the walks must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from grants import consequences, ledger
from keeptrusts_runners import clock
from keeptrusts_runners.errors import LeaseLost
from keeptrusts_runners.identity.principal import Principal
from sessions import claims, lifecycle, outcomes, transitions
from sessions.models import RunnerSession
from sessions.states import State
from sessions.transitions import Step
from tests.sessions.test_walks import Walk

Patch = Callable[[pytest.MonkeyPatch], None]


def _no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "require_lease", lambda *_, **__: None)


def _no_epoch_in_the_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "epoch_of", lambda *_: None)


def _a_clock_for_a_fence(patch: pytest.MonkeyPatch) -> None:
    def guard(session: RunnerSession, *, by: Principal, named_epoch: int | None) -> None:
        by.require_session(session.id)
        if session.lease_expires_at is None or session.lease_expires_at <= clock.now():
            raise LeaseLost(current_state=session.state, lease_epoch=session.lease_epoch)

    patch.setattr(claims, "require_lease", guard)


def _no_epoch_on_finish(patch: pytest.MonkeyPatch) -> None:
    end = outcomes.end

    def unfenced(session_id: UUID, *what: Any, by: Principal, **how: Any) -> RunnerSession:
        epoch = transitions.lock(session_id, by=by).lease_epoch
        return end(session_id, *what, by=replace(by, lease_epoch=epoch), **how)

    patch.setattr(outcomes, "end", unfenced)


def _epoch_not_bumped(patch: pytest.MonkeyPatch) -> None:
    step = claims._claim_step

    def same_epoch(session: RunnerSession, *more: Any) -> Step:
        claimed = step(session, *more)
        claimed.changes = {**claimed.changes, "lease_epoch": max(1, session.lease_epoch)}
        return claimed

    patch.setattr(claims, "_claim_step", same_epoch)


def _failures_not_counted(patch: pytest.MonkeyPatch) -> None:
    retry = outcomes._retry_or

    def forgetful(otherwise: State, session: RunnerSession, *more: Any) -> Any:
        target, reason, changes = retry(otherwise, session, *more)
        return target, reason, changes | {"failures": session.failures}

    patch.setattr(outcomes, "_retry_or", forgetful)


def _at_most_once_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcomes, "_may_have_acted", lambda session: False)


def _pause_forgotten_at_the_claim(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "requeued", lambda session, now, **_: {"deadline_at": now})


def _grants_outlive_the_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(consequences, "follow", lambda changes: {})


def _transitions_not_recorded(patch: pytest.MonkeyPatch) -> None:
    record = transitions.record

    def sparing(changes: list[Any]) -> list[RunnerSession]:
        if changes[0].target is State.RUNNING:
            return [change.session for change in changes]
        return record(changes)

    patch.setattr(transitions, "record", sparing)


def _links_forgotten(patch: pytest.MonkeyPatch) -> None:
    chained = ledger.chained

    def loose(head: ledger.Head, *more: Any) -> Any:
        head.hash = bytes(32)
        return chained(head, *more)

    patch.setattr(ledger, "chained", loose)


@pytest.mark.proves("tests.controls")
@pytest.mark.parametrize(
    "defect",
    [
        _no_fence,
        _no_epoch_in_the_fence,
        _a_clock_for_a_fence,
        _no_epoch_on_finish,
        _epoch_not_bumped,
        _failures_not_counted,
        _at_most_once_forgotten,
        _pause_forgotten_at_the_claim,
        _grants_outlive_the_lease,
        _transitions_not_recorded,
        _links_forgotten,
    ],
)
def test_a_walk_finds_this_defect(monkeypatch: pytest.MonkeyPatch, defect: Patch) -> None:
    defect(monkeypatch)
    with pytest.raises(AssertionError) as found:
        run_state_machine_as_test(
            Walk,
            settings=settings(
                max_examples=100,
                stateful_step_count=40,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
                report_multiple_bugs=False,
            ),
        )
    assert "internal_error" not in str(found.value), "the defect itself is broken"
