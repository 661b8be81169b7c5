"""``manage.py runner``: the reference runner. It needs no database, and none of the settings."""

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand

from keeptrusts_runners.runner import cli, options


class Command(BaseCommand):
    """Parses the arguments; the rest is the runner's own package."""

    help = cli.DESCRIPTION
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        """`runner artifacts …` has arguments of its own."""
        if argv[2:3] == ["artifacts"]:
            sys.exit(cli.main(argv[2:]))
        super().run_from_argv(argv)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        options.add_arguments(parser)

    def handle(self, *_args: Any, **given: Any) -> None:
        sys.exit(cli.run(argparse.Namespace(**given)))
