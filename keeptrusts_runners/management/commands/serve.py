"""`serve`: the production server, one port for API, console and admin."""

from __future__ import annotations

import argparse
import resource
from contextlib import nullcontext
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from grants import bundle, storage
from grants.file_store import FileStore
from keeptrusts_runners.errors import StorageUnavailable
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.management.conversation import require_connection
from keeptrusts_runners.management.processes import Kept, UntilStopped, address, is_free, manage

# How long requests in progress may go on after SIGTERM; shorter than what the demo waits for us.
FINISH_SECONDS = 5
# An importing worker answers late on a busy machine; killing it for that would never end.
WORKER_SILENCE_SECONDS = 30
# Open files of a process besides its streams: requests, waiting claims, the database.
OTHER_FILES = 2048


class Command(BaseCommand):
    help = "Serve API, console and admin on one port. Stops on SIGTERM or Ctrl-C."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--bind",
            default=settings.ENVIRONMENT.bind,
            metavar="HOST:PORT",
            help="where to listen (default: %(default)s)",
        )
        parser.add_argument(
            "--workers",
            type=int,
            default=1,
            metavar="N",
            help="processes to serve with (default: 1)",
        )
        parser.add_argument("--migrate", action="store_true", help="apply migrations first")
        parser.add_argument(
            "--maintain", action="store_true", help="run the maintenance loop beside it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with UntilStopped():
            self._serve(options)

    def _serve(self, options: dict[str, Any]) -> None:
        host, port = _free_address(options["bind"])
        if not 1 <= options["workers"] <= 64:
            raise CommandError(f"--workers takes a number from 1 to 64, not {options['workers']}.")
        if options["migrate"]:
            call_command("migrate", verbosity=0)
        _require_what_serving_needs(options["maintain"])
        allow_files(settings.ENVIRONMENT.streams + OTHER_FILES)
        with Kept(manage("maintain")) if options["maintain"] else nullcontext():
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
                ws="none",
                # Without a bound, one client that stops sending would hold up a shutdown.
                timeout_graceful_shutdown=FINISH_SECONDS,
                timeout_worker_healthcheck=WORKER_SILENCE_SECONDS,
            )


def _free_address(bind: str) -> tuple[str, int]:
    host, port = address(bind)
    if not is_free(host, port):
        raise CommandError(
            f"{host}:{port} cannot be used: it is taken, or not an address of this machine. "
            "Name another with --bind or KEEPTRUSTS_BIND."
        )
    return host, port


def allow_files(number: int) -> None:
    """Let this process and its workers have so many files open, or as many as they ever may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = number if hard == unlimited else min(number, hard)
    if soft != unlimited and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _require_what_serving_needs(maintain: bool) -> None:
    """What cannot be used is told now, and not to the first who needs it."""
    for variable, use in (
        ("KEEPTRUSTS_TOKEN_KEY_FILE", tokens.signing_key),
        ("KEEPTRUSTS_EVIDENCE_KEY_FILE", bundle.signing_key),
        ("KEEPTRUSTS_ARTIFACTS_DIR", FileStore(settings.ARTIFACTS_DIR).probe),
        ("KEEPTRUSTS_ARTIFACTS", lambda: storage.store().probe()),
    ):
        try:
            use()
        except OSError as error:
            why = f"{error.filename}: {error.strerror}"
            raise CommandError(f"{variable} cannot be used: {why}.") from None
        except StorageUnavailable as error:
            why = error.fields["reason"]
            raise CommandError(f"{variable} cannot be used: {why}.") from None
    if maintain:
        require_connection("maintain")
    connections["default"].ensure_connection()
    connections.close_all()
