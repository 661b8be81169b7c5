"""WHO: organizations, people, machines, tokens, scopes."""

from django.apps import AppConfig


class IdentityConfig(AppConfig):
    name = "keeptrusts_runners.identity"
    label = "identity"
