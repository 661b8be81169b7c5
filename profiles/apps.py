"""Runner profiles and harness revisions."""

from django.apps import AppConfig


class ProfilesConfig(AppConfig):
    name = "profiles"
    verbose_name = "Runner profiles"

    def ready(self) -> None:
        from keeptrusts_runners.console import finding, navigation
        from profiles.pages import finding as pages

        finding.register("prof", pages.profile)
        navigation.register(navigation.Item("Fleet", "/runners", order=10))
