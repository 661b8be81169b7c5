"""Events, artifacts and permission grants; keeps the ledger of every session."""

from django.apps import AppConfig


class GrantsConfig(AppConfig):
    name = "grants"
    verbose_name = "Events, artifacts and grants"

    def ready(self) -> None:
        from grants import (  # noqa: F401  (connects)
            artifact_models,
            checks,
            custody_models,
            figures,
            partitions,
            receivers,
        )
        from keeptrusts_runners.api import health, metrics
        from keeptrusts_runners.console import navigation

        health.register("event_partitions", partitions.covers_next_month)
        metrics.register(figures.metrics)
        navigation.register(navigation.Item("Approvals", "/runners/approvals", order=30))
