"""`test [--nightly] [pytest arguments]`: every test of a run, the long proofs, or what is named."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import BaseCommand

from keeptrusts_runners.env import BASE_DIR

WORKERS = "2"
# A long proof keeps the machine busy by itself; two at once would tell less about either.
NIGHTLY_WORKERS = "1"
_CHOOSE_WORKERS = ("-n", "--numprocesses", "--dist", "--pdb", "-s", "--capture=no", "--co")


class Command(BaseCommand):
    help = (
        "Runs the tests on a PostgreSQL of their own. With --nightly the long proofs alone, "
        "with --scale X as well X times as long as they are; --record keeps the results for "
        "docs/proofs.md. All other arguments are pytest's."
    )
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
    """pytest's arguments: two workers and, as pyproject.toml says, no long proofs, or with
    `--nightly` nothing else, unless the given ones say otherwise."""
    nightly = "--nightly" in given
    arguments = [argument for argument in given if argument != "--nightly"]
    if nightly and not any(argument.startswith("-m") for argument in arguments):
        arguments = ["-m", "nightly", *arguments]
    if not any(argument.startswith(_CHOOSE_WORKERS) for argument in arguments):
        arguments = ["-n", NIGHTLY_WORKERS if nightly else WORKERS, *arguments]
    return arguments
