"""The platform as a Django app: its commands and system checks, no models."""

from django.apps import AppConfig


class PlatformConfig(AppConfig):
    name = "keeptrusts_runners"
    label = "platform"

    def ready(self) -> None:
        from keeptrusts_runners import checks  # noqa: F401  (registers the checks)
