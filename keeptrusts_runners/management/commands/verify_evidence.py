"""`verify_evidence BUNDLE`: what the single-file verifier does, without a database or a server."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import Any

from django.core.management.base import BaseCommand

from keeptrusts_runners.evidence.verifier import cli


class Command(BaseCommand):
    help = cli.DESCRIPTION
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        cli.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        text, exit_code = cli.run_arguments(Namespace(**options))
        self.stdout.write(text)
        sys.exit(exit_code)
