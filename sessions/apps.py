"""Runner sessions. The label keeps clear of django.contrib.sessions, which owns `sessions`."""

from django.apps import AppConfig


class SessionsConfig(AppConfig):
    name = "sessions"
    label = "runner_sessions"
    verbose_name = "Runner sessions"

    def ready(self) -> None:
        from keeptrusts_runners.api import health, metrics
        from keeptrusts_runners.console import finding, navigation
        from sessions import liveness, receivers, refusals  # noqa: F401  (connects and registers)
        from sessions.pages import finding as pages

        health.register("maintenance", liveness.loop_is_away)
        metrics.register(liveness.metrics)
        finding.search_at("/runners/sessions", "q")
        finding.register("sess", pages.session)
        finding.register("exec", pages.executor)
        finding.register("batch", pages.batch)
        finding.register("harn", pages.harness)
        navigation.register(navigation.Item("Sessions", "/runners/sessions", order=20))
        navigation.register(navigation.Item("Executors", "/runners/executors", order=25))
