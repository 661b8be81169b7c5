"""Positive controls: defects put in on the side of the tests, each of which the walks must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from grants import access, ledger
from sessions import claims, lifecycle, outcomes, transitions
from sessions.models import RunnerSession
from sessions.states import State
from tests.sessions.test_walks import Walk

Patch = Callable[[pytest.MonkeyPatch], None]


def _no_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "require_lease", lambda *_, **__: None)


def _no_epoch_in_the_fence(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "epoch_of", lambda *_: None)


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
    patch.setattr(access, "follow", lambda changes: {})


def _transitions_not_recorded(patch: pytest.MonkeyPatch) -> None:
    record = transitions.record

    def sparing(changes: list[Any]) -> list[RunnerSession]:
        if changes[0].target is State.RUNNING:
            return [change.session for change in changes]
        return record(changes)

    patch.setattr(transitions, "record", sparing)


def _links_forgotten(patch: pytest.MonkeyPatch) -> None:
    chained = ledger._chained

    def loose(head: ledger.Head, records: Any) -> Any:
        head.hash = bytes(32)
        return chained(head, records)

    patch.setattr(ledger, "_chained", loose)


@pytest.mark.parametrize(
    "defect",
    [
        _no_fence,
        _no_epoch_in_the_fence,
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
    with pytest.raises(AssertionError):
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
