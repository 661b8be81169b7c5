"""`test [--nightly] [pytest arguments]`: the whole run, or what pytest's arguments name."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import BaseCommand

from keeptrusts_runners.env import BASE_DIR

WORKERS = "2"
_CHOOSE_WORKERS = ("-n", "--numprocesses", "--dist", "--pdb", "-s", "--capture=no", "--co")


class Command(BaseCommand):
    help = "Runs the tests on a PostgreSQL of their own; arguments are pytest's."
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        """Everything after `test` but `--nightly` is pytest's, `--help` included."""
        self.handle(arguments=argv[2:])

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("arguments", nargs="*")

    def handle(self, *args: Any, **options: Any) -> NoReturn:
        command = [sys.executable, "-m", "pytest", *pytest_arguments(options["arguments"])]
        os.environ["KEEPTRUSTS_DATA_DIR"] = str(BASE_DIR / ".local" / "test")
        os.chdir(BASE_DIR)
        sys.stdout.flush()
        os.execv(sys.executable, command)


def pytest_arguments(given: list[str]) -> list[str]:
    """pytest's arguments: two workers and no long proofs unless the given ones say otherwise."""
    arguments = [argument for argument in given if argument != "--nightly"]
    if len(arguments) == len(given) and not any(a.startswith("-m") for a in arguments):
        arguments = ["-m", "not nightly", *arguments]
    if not any(argument.startswith(_CHOOSE_WORKERS) for argument in arguments):
        arguments = ["-n", WORKERS, *arguments]
    return arguments
