"""`evidence_log`: what an operator decides about the organizations' logs. Runs as the signer."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import log_keys, signer
from keeptrusts_runners.evidence.log_models import Log
from keeptrusts_runners.keys import KeyFileRefused
from keeptrusts_runners.management.conversation import organization_id, require_connection

DEFAULT_OVERLAP_DAYS = 30


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # those of serving: they load every route
    help = "Look at the organizations' logs, replace their key, accept a rolled-back database."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
        verbs.add_parser("status", help="sizes, and in which logs nothing is signed and why")
        rotate = verbs.add_parser("rotate-key", help="sign with a new key, and with the old beside")
        rotate.add_argument(
            "--overlap-days",
            type=int,
            default=DEFAULT_OVERLAP_DAYS,
            metavar="DAYS",
            help="how long the old key signs too (default: %(default)s); 0 if it is compromised",
        )
        accept = verbs.add_parser(
            "accept-rollback", help="go on from what the database has; recorded in the log itself"
        )
        accept.add_argument("--org", required=True, metavar="ID", help="the organization")

    def handle(self, *args: Any, **options: Any) -> None:
        require_connection("signer")
        try:
            {"status": _status, "rotate-key": _rotate, "accept-rollback": _accept}[options["verb"]](
                self, options
            )
        except (
            KeyFileRefused,
            log_keys.KeyIsBeingReplaced,
            log_keys.UnknownLogKey,
            signer.RolledBack,
            OSError,
        ) as error:
            raise CommandError(str(error)) from None


def _status(command: BaseCommand, options: dict[str, Any]) -> None:
    for log in Log.objects.using("signer").order_by("organization_id"):
        state = log.refused or "signed"
        name = ids.encode("org", log.organization_id)
        command.stdout.write(f"{name}  {log.published_size:>10} of {log.size:<10}  {state}")
    for key in log_keys.registered_keys(using="signer"):
        until = f"until {key.until:%Y-%m-%d %H:%M} UTC" if key.until else "until it is replaced"
        command.stdout.write(f"key {key.kid}  since {key.since:%Y-%m-%d %H:%M} UTC, {until}")


def _rotate(command: BaseCommand, options: dict[str, Any]) -> None:
    days = options["overlap_days"]
    if not 0 <= days <= 3650:
        raise CommandError(f"--overlap-days takes a number from 0 to 3650, not {days}.")
    kid = log_keys.rotate(timedelta(days=days))
    command.stdout.write(f"Checkpoints are signed by {kid} from now on.")
    if days:
        command.stdout.write(f"The old key signs beside it for {days} days.")


def _accept(command: BaseCommand, options: dict[str, Any]) -> None:
    was, now = signer.accept_rollback(organization_id(options["org"]))
    command.stdout.write(f"The log goes on from size {now}; it was {was}. A leaf of it says so.")
