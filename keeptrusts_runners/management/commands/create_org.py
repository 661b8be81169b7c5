"""`create_org --name NAME [--json]`: a new organization."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand

from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.management.conversation import tell, text, told_plainly


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # those of serving: they load every route
    help = "Create an organization."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--name", required=True, type=text, help="of the organization")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    @told_plainly
    def handle(self, *args: Any, **options: Any) -> None:
        made = accounts.create_organization(options["name"])
        answer = {"id": ids.encode("org", made.id), "name": made.name}
        tell(self, answer, as_json=options["json"])
