"""Who is told of a refusal after its transaction has been rolled back.

A 403 or a stale write leaves no trace in the transaction that it ends; the audit record and the
counters register here instead, and write in a transaction of their own.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from django.http import HttpRequest

from keeptrusts_runners.errors import DomainError
from keeptrusts_runners.identity.principal import Principal

# None stands for a request that nobody was authenticated for.
Recorder = Callable[[Principal | None, HttpRequest, DomainError], None]

_RECORDED_STATUSES = frozenset({401, 403, 409})
_recorders: list[Recorder] = []
_log = structlog.get_logger("keeptrusts.api")


def register(recorder: Recorder) -> Recorder:
    """Call `recorder` for every 401, 403 and 409 from now on. Usable as a decorator."""
    if recorder not in _recorders:
        _recorders.append(recorder)
    return recorder


def record(principal: Principal | None, request: HttpRequest, error: DomainError) -> None:
    """Tell every recorder. What fails in one is logged: the client's answer stands."""
    if error.status not in _RECORDED_STATUSES:
        return
    for recorder in _recorders:
        try:
            recorder(principal, request, error)
        except Exception as failure:
            _log.error("refusal_not_recorded", exc_info=failure)
