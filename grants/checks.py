"""Refuses to start where a session could change without being recorded."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core import checks

from sessions.models import RunnerSession
from sessions.signals import session_changed


@checks.register()
def store_is_installed(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """A store that the settings choose needs its package."""
    if settings.ARTIFACTS == "file" or find_spec("boto3"):
        return []
    hint = "Install requirements-s3.txt."
    return [checks.Error("KEEPTRUSTS_ARTIFACTS needs boto3.", hint=hint, id="grants.E002")]


@checks.register()
def ledger_is_connected(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """The receiver that keeps the ledger must be listening."""
    if session_changed.has_listeners(RunnerSession):
        return []
    return [checks.Error("No receiver records session changes.", id="grants.E001")]
