"""`bench [NAME…]`: the benchmarks of bench/, on a server and a database of their own."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from bench import report, stage
from bench.catalog import BENCHMARKS
from bench.figures import FULL, NORMAL, QUICK, Figure, Size
from keeptrusts_runners.management.processes import UntilStopped


class Command(BaseCommand):
    help = (
        "Measure the product over HTTP against the same work by psycopg, side by side. A whole run "
        "is recorded under bench/results/. Benchmarks: " + ", ".join(BENCHMARKS) + "."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="only these benchmarks")
        sizes = parser.add_mutually_exclusive_group()
        sizes.add_argument(
            "--quick", action="store_true", help="under a minute: that it runs, not how fast"
        )
        sizes.add_argument(
            "--full", action="store_true", help="with a million sessions where there are many"
        )
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
        parser.add_argument(
            "--workers", type=int, default=1, metavar="N", help="processes of the server"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.ENVIRONMENT.embedded_database:
            raise CommandError("It makes a database of its own: unset DATABASE_URL.")
        names = options["names"] or list(BENCHMARKS)
        if unknown := [name for name in names if name not in BENCHMARKS]:
            raise CommandError(f"No such benchmark: {unknown[0]}. Known: {', '.join(BENCHMARKS)}.")
        size = QUICK if options["quick"] else FULL if options["full"] else NORMAL
        with UntilStopped():
            result = self._run(names, size, options["workers"])
            if options["json"]:
                options["json"].write_text(json.dumps(result, indent=2) + "\n")
            if not (options["names"] or options["quick"]):
                self.stdout.write(f"\nRecorded in {report.keep(result)}.")

    def _run(self, names: list[str], size: Size, workers: int) -> dict[str, Any]:
        started, load = datetime.now(UTC), os.getloadavg()[0]
        found: dict[str, list[Figure]] = {}
        with stage.raised(settings.ENVIRONMENT.data_dir, workers) as here:
            for name in names:
                self.stdout.write(f"\n{name}: {BENCHMARKS[name].about}", ending="\n\n")
                self.stdout.flush()
                found[name] = BENCHMARKS[name].measure(here, size)
                self._say(found[name])
            return report.document(found, _about(), size, workers, started, load)

    def _say(self, figures: list[Figure]) -> None:
        self.stdout.write(report.table([one.as_json() for one in figures]))
        self.stdout.flush()


def _about() -> Mapping[str, str]:
    return {name: benchmark.about for name, benchmark in BENCHMARKS.items()}
