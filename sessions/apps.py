"""Runner sessions. The label keeps clear of django.contrib.sessions, which owns `sessions`."""

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    name = "sessions"
    label = "runner_sessions"
    verbose_name = "Runner sessions"

    def ready(self) -> None:
        from keeptrusts_runners.console import navigation
        from sessions import receivers, refusals  # noqa: F401  (connects and registers)

        navigation.register(navigation.Item("Sessions", "/runners/sessions", order=20))
