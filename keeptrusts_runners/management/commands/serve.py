"""`serve`: the production server, one port for API, console and admin."""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from keeptrusts_runners import env

GRACE_SECONDS = 10


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
        host, port = address(options["bind"])
        refuse_if_busy(host, port)
        with _maintenance() if options["maintain"] else nullcontext():
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
                h11_max_incomplete_event_size=64 * 1024,
            )


def address(bind: str) -> tuple[str, int]:
    """HOST:PORT. Raises CommandError."""
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise CommandError(f"--bind takes HOST:PORT, not {bind!r}.")
    return host, int(port)


def is_busy(host: str, port: int) -> bool:
    """Does somebody else have the port?"""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError:
            return True
    return False


def refuse_if_busy(host: str, port: int) -> None:
    if is_busy(host, port):
        raise CommandError(
            f"{host}:{port} cannot be used: it is taken, or not an address of this machine. "
            "Name another with --bind or KEEPTRUSTS_BIND."
        )


def _maintenance() -> AbstractContextManager[Any]:
    return Child([sys.executable, str(env.BASE_DIR / "manage.py"), "maintain"])


class Child:
    """A process that ends with the block it was started for."""

    def __init__(self, command: list[str], **how: Any) -> None:
        self.command, self.how = command, how

    def __enter__(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(self.command, **self.how)
        return self.process

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
