"""`seed --sessions N --events M`: realistic data with valid chains, by COPY."""

import sys
import time
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import Organization
from keeptrusts_runners.identity.tenancy import organization_scope
from keeptrusts_runners.management.conversation import (
    organization_id,
    require_connection,
    tell,
    told_plainly,
)
from keeptrusts_runners.seeding import seeder
from keeptrusts_runners.seeding.seeder import Progress

MAX_SESSIONS, MAX_EVENTS = 10_000_000, 1_000_000_000


def _number(most: int) -> Any:
    def number(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:12]) <= most:
            raise ArgumentTypeError(f"give a whole number from 1 to {most:,}")
        return int(text)

    return number


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # those of serving: they load every route
    help = (
        "Fill an organization with sessions of past months, for sizing, demos and benchmarks: "
        "profiles, harnesses, transitions, events, artifacts and grants, with chains that verify. "
        "Writes as the migrating role (DATABASE_MIGRATE_URL), by COPY."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--sessions", required=True, type=_number(MAX_SESSIONS), metavar="N", help="how many"
        )
        parser.add_argument(
            "--events", required=True, type=_number(MAX_EVENTS), metavar="M",
            help="what runners say in all of them together; the server's own records come on top",
        )  # fmt: skip
        parser.add_argument(
            "--org", metavar="ID", help="an organization that exists; else a new one is made"
        )
        parser.add_argument(
            "--seed", type=int, default=1, metavar="S",
            help="the same number gives the same data (default 1)",
        )  # fmt: skip
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    @told_plainly
    def handle(self, *args: Any, **options: Any) -> None:
        require_connection("migrate")
        organization = self._organization(options["org"])
        done = seeder.seed(
            organization,
            sessions=options["sessions"],
            events=options["events"],
            seed=options["seed"],
            now=clock.now(),
            report=_Reporter(options["sessions"], options["events"]),
        )
        answer = {
            "organization": ids.encode("org", organization),
            "sessions": done.sessions,
            "events": done.events,
            "records": done.records,
            "seconds": round(done.seconds, 1),
            "records_per_second": round(done.records / max(done.seconds, 0.001)),
        }
        tell(self, answer, as_json=options["json"])

    def _organization(self, named: str | None) -> Any:
        if named is None:
            return accounts.create_organization("Seeded").id
        organization = organization_id(named)
        with organization_scope(organization):
            if not Organization.objects.filter(id=organization).exists():
                raise CommandError("--org: There is no such organization.")
        return organization


class _Reporter:
    """How far it is, on standard error: one line that changes on a terminal, else one in ten
    seconds."""

    def __init__(self, sessions: int, events: int) -> None:
        self._all = f"{sessions:,} sessions, {events:,} events"
        self._terminal = sys.stderr.isatty()
        self._said = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if time.monotonic() - self._said < (0.2 if self._terminal else 10):
            return
        self._said = time.monotonic()
        rate = progress.records / max(progress.seconds, 0.001)
        line = (
            f"{progress.sessions:,} sessions, {progress.events:,} events of {self._all}; "
            f"{rate:,.0f} records a second"
        )
        print(f"\r{line}" if self._terminal else line, end="" if self._terminal else "\n",
              file=sys.stderr, flush=True)  # fmt: skip
