"""Events, artifacts and permission grants; keeps the ledger of every session."""

from django.apps import AppConfig


class GrantsConfig(AppConfig):
    name = "grants"
    verbose_name = "Events, artifacts and grants"

    def ready(self) -> None:
        from grants import checks, receivers  # noqa: F401  (connects and registers)
