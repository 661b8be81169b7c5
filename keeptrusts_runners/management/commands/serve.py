"""`serve`: the production server, one port for API, console and admin."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from grants import bundle
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.management.conversation import require_connection
from keeptrusts_runners.management.processes import GRACE_SECONDS, Child, address, is_free, manage


class Command(BaseCommand):
    help = "Serve API, console and admin on one port. Stops on SIGTERM or Ctrl-C."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--bind", default=settings.ENVIRONMENT.bind, metavar="HOST:PORT")
        parser.add_argument("--workers", type=int, default=1, metavar="N")
        parser.add_argument("--migrate", action="store_true", help="apply migrations first")
        parser.add_argument(
            "--maintain", action="store_true", help="run the maintenance loop beside it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["migrate"]:
            call_command("migrate", verbosity=0)
        if options["maintain"]:
            require_connection("maintain")
        # A key that cannot be used is told now, and not to the first who needs it.
        tokens.signing_key()
        bundle.signing_key()
        host, port = address(options["bind"])
        if not is_free(host, port):
            raise CommandError(
                f"{host}:{port} cannot be used: it is taken, or not an address of this machine. "
                "Name another with --bind or KEEPTRUSTS_BIND."
            )
        with Child(manage("maintain")) if options["maintain"] else nullcontext():
            self.stdout.write(f"Serving on http://{options['bind']}")
            self.stdout.flush()
            uvicorn.run(
                "keeptrusts_runners.asgi:application",
                host=host.strip("[]"),
                port=port,
                workers=options["workers"],
                log_config=None,
                access_log=False,
                server_header=False,
                # Without a bound, one idle keep-alive connection would hold up a shutdown.
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
