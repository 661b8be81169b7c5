"""The console's shared page plumbing as a Django app: template tags and static files, no models."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "keeptrusts_runners.console"
    label = "console"
