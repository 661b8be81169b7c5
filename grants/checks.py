"""Refuses to start where a session could change without being recorded."""

from __future__ import annotations

from typing import Any

from django.core import checks

from sessions.models import RunnerSession
from sessions.signals import session_changed


@checks.register()
def ledger_is_connected(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """The receiver that keeps the ledger must be listening."""
    if session_changed.has_listeners(RunnerSession):
        return []
    return [checks.Error("No receiver records session changes.", id="grants.E001")]
