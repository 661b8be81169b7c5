"""PROOF: hash chains, signatures, bundles and their verifier."""

from django.apps import AppConfig


class EvidenceConfig(AppConfig):
    name = "keeptrusts_runners.evidence"
    label = "evidence"

    def ready(self) -> None:
        from keeptrusts_runners.evidence import receivers  # noqa: F401  (connects)
