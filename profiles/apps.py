"""Runner profiles and harness revisions."""

from django.apps import AppConfig


class ProfilesConfig(AppConfig):
    name = "profiles"
    verbose_name = "Runner profiles"

    def ready(self) -> None:
        from keeptrusts_runners.console import navigation

        navigation.register(navigation.Item("Fleet", "/runners", order=10))
