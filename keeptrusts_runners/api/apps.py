"""The API plumbing as a Django app: one table, path converters, checks."""

from __future__ import annotations

from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "keeptrusts_runners.api"
    label = "api"

    def ready(self) -> None:
        from keeptrusts_runners.api import checks, converters, denials, health, metrics  # noqa: F401  (registers)
        from keeptrusts_runners.evidence import log_figures, unauthenticated

        checks.register_all()
        converters.register_all()
        health.register_platform_checks()
        health.register("signer", log_figures.signer_is_away)
        metrics.register(log_figures.metrics)
        metrics.register(unauthenticated.metrics)
