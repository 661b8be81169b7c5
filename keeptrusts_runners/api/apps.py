"""The API plumbing as a Django app: one table, path converters, checks."""

from __future__ import annotations

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "keeptrusts_runners.api"
    label = "api"

    def ready(self) -> None:
        from keeptrusts_runners.api import checks, converters, denials, health  # noqa: F401  (registers)

        checks.register_all()
        converters.register_all()
        health.register_platform_checks()
