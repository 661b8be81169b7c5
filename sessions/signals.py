"""What sessions tell those above them, who keep the record: that a session has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.dispatch import Signal

from keeptrusts_runners.identity.principal import Principal
from sessions.models import RunnerSession
from sessions.states import State, Verb


@dataclass(frozen=True, slots=True)
class Change:
    """One session's step, as it stands after the guarded update.

    `source` is None for a dispatch. `kind` names the ledger record when the step is not a change
    of state (`checkpoint.recorded`); `also` are further records of the same step. What has no
    verb (`note`, `cancel.delivered`) is no step of the lifecycle; a note's `data` has a `comment`.
    """

    session: RunnerSession
    verb: Verb | None
    source: State | None
    target: State
    by: Principal
    at: datetime
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None
    also: tuple[tuple[str, Mapping[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """The ledger's answer for one change: where the record of it stands."""

    seq: int
    at: datetime


# Sent with `send` inside the transaction of the change: `changes` is a list of Change, and the
# receiver that keeps the ledger answers a list of Recorded in the same order. A receiver that
# fails takes the change down with it.
session_changed = Signal()
