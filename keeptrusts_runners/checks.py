"""System checks: what must hold before anything is served."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks


@checks.register()
def session_apps_keep_apart(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """`sessions` is Django's login table; the runner sessions' label is `runner_sessions`."""
    ours = apps.get_app_config("runner_sessions")
    django = apps.get_app_config("sessions")
    if ours.name == "sessions" and django.name == "django.contrib.sessions":
        return []
    return [checks.Error("The two session apps have changed places.", id="platform.E001")]


@checks.register()
def admin_can_read(app_configs: Any, **_: Any) -> list[checks.CheckMessage]:
    """The admin reads across organizations as a role of its own; without one it shows nothing."""
    variable = settings.ENVIRONMENT.lacks_address("forensics")
    if variable is None:
        return []
    return [checks.Warning(f"{variable} is not set: the admin shows nothing.", id="platform.W001")]
