"""System checks: what must hold before anything is served."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core import checks


@checks.register()
def session_apps_keep_apart(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """`sessions` is Django's login table; the runner sessions' label is `runner_sessions`."""
    ours = apps.get_app_config("runner_sessions")
    django = apps.get_app_config("sessions")
    if ours.name == "sessions" and django.name == "django.contrib.sessions":
        return []
    return [checks.Error("The two session apps have changed places.", id="platform.E001")]
