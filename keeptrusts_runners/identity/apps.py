"""WHO: organizations, people, machines, tokens, scopes."""

from django.apps import AppConfig


class IdentityConfig(AppConfig):
    name = "keeptrusts_runners.identity"
    label = "identity"

    def ready(self) -> None:
        from keeptrusts_runners.console import finding
        from keeptrusts_runners.console.navigation import Item, register
        from keeptrusts_runners.identity.pages import finding as pages
        from keeptrusts_runners.identity.scopes import Scope

        finding.register("sa", pages.service_account)
        finding.register("user", pages.member)
        register(Item("Members", "/runners/members", order=60, scope=Scope.MEMBERS))
        accounts = Item("Service accounts", "/runners/service-accounts", 61, Scope.MEMBERS)
        register(accounts)
