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
            upload_models,
        )
        from grants.models import PermissionGrant
        from grants.pages import finding as pages
        from grants.queries import WAITING
        from keeptrusts_runners.api import health, metrics
        from keeptrusts_runners.console import finding, navigation
        from sessions import attention

        attention.approvals(PermissionGrant.objects.waiting)
        health.register("event_partitions", partitions.covers_next_month)
        metrics.register(figures.metrics)
        finding.register("grant", pages.grant)
        finding.register("art", pages.artifact)
        waiting = navigation.Waiting(WAITING, "/runners/approvals/count", "approvals")
        navigation.register(
            navigation.Item("Approvals", "/runners/approvals", order=30, waiting=waiting)
        )
