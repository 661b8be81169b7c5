"""PROOF: hash chains, signatures, bundles and their verifier."""

from django.apps import AppConfig


class EvidenceConfig(AppConfig):
    name = "keeptrusts_runners.evidence"
    label = "evidence"

    def ready(self) -> None:
        from keeptrusts_runners.console import finding
        from keeptrusts_runners.console.navigation import Item, register
        from keeptrusts_runners.evidence import receivers  # noqa: F401  (connects)
        from keeptrusts_runners.evidence.pages import finding as pages
        from keeptrusts_runners.identity.scopes import Scope

        finding.register("aud", pages.audit_record)
        register(Item("Audit", "/runners/audit", order=40, scope=Scope.AUDIT))
