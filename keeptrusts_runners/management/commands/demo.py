"""`demo`: everything on embedded PostgreSQL, a real runner executing real sessions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from keeptrusts_runners.demonstration import cast, stage
from keeptrusts_runners.demonstration.road import Road
from keeptrusts_runners.demonstration.show import Show
from keeptrusts_runners.demonstration.stage import Stage
from keeptrusts_runners.demonstration.way_out import download
from keeptrusts_runners.identity.scopes import Role
from keeptrusts_runners.management.processes import UntilStopped

INTERRUPTED = 130

WELCOME = """
Keeptrusts Runners is running.

  Console   {url}/runners
  API       {url}/v1/docs

Sign in as any of these, with the password  {password}
{people}

A release is waiting for an approval: sign in as approver and decide.

Try the API by hand, in another terminal:

  . {env}

  # dispatch
  SESSION_ID=$(curl -s $KEEPTRUSTS_URL/v1/runners/sessions \\
    -H "Authorization: Bearer $OPERATOR_TOKEN" -H "Content-Type: application/json" \\
    -d '{{"profile_id": "'$PROFILE_ID'", "task_id": "task_456",
         "input": {{"job": "collect-artifacts"}}}}' \\
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])'); echo $SESSION_ID

  # claim
  SESSION_TOKEN=$(curl -s -X POST $KEEPTRUSTS_URL/v1/runners/sessions/$SESSION_ID/claim \\
    -H "Authorization: Bearer $ADMIN_TOKEN" \\
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["session_token"])')

  # record an event, and read them all
  curl -s $KEEPTRUSTS_URL/v1/runners/sessions/$SESSION_ID/events \\
    -H "Authorization: Bearer $SESSION_TOKEN" -H "Content-Type: application/json" \\
    -d '{{"kind": "step.started", "step": "collect", "message": "Collecting artifacts"}}'; echo
  curl -s $KEEPTRUSTS_URL/v1/runners/sessions/$SESSION_ID/events \\
    -H "Authorization: Bearer $OPERATOR_TOKEN"; echo

Logs are in {logs}. Ctrl-C stops everything.
"""


class Command(BaseCommand):
    requires_system_checks: list[str] = []  # its server makes them
    help = (
        "Start everything: database, server, maintenance loop, a reference runner, and sessions "
        "that keep coming. With --once: one session from dispatch to verified evidence."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--bind",
            default=settings.ENVIRONMENT.bind,
            metavar="HOST:PORT",
            help="where to listen (default: %(default)s); a busy port makes way for the next",
        )
        parser.add_argument(
            "--once",
            action="store_true",
            help="exit 0 only if the session completes and its bundle verifies offline",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        with UntilStopped():
            sys.exit(self._run(options))
        self.stdout.write("\nStopped.")
        if options["once"]:
            sys.exit(INTERRUPTED)

    def _run(self, options: dict[str, Any]) -> int:
        data_dir = settings.ENVIRONMENT.data_dir
        logs = _directory(data_dir / "logs")
        bind = cast.free_bind(options["bind"])
        if bind != options["bind"]:
            self.stdout.write(f"{options['bind']} is taken; using {bind}.")
        with cast.Server(bind, logs) as server:
            # While it starts; it is not ready before the tables are there.
            call_command("migrate", verbosity=0)
            here = stage.set_up(data_dir)
            server.wait_until_ready()
            with cast.maintenance(logs):
                profiles = stage.publish(here.client(server.url, Role.ADMIN))
                show = self._once if options["once"] else self._show
                return show(here, server, profiles, logs)

    def _once(self, here: Stage, server: cast.Server, profiles: dict[str, str], logs: Path) -> int:
        collection, guarded = profiles["artifact-collection"], profiles["guarded-download"]
        with cast.runner(here, server.url, [collection, guarded], 1, logs):
            evidence = settings.ENVIRONMENT.data_dir / "evidence"
            road = Road(here, server.url, sys.stdout)
            return road.walk(collection, evidence, then=lambda: download(road, guarded))

    def _show(self, here: Stage, server: cast.Server, profiles: dict[str, str], logs: Path) -> int:
        served = [profile for name, profile in profiles.items() if name != "hands-on"]
        show = Show(here, server.url, profiles)
        tokens_file = settings.ENVIRONMENT.data_dir / "demo.env"
        show.write_tokens(tokens_file)
        with cast.runner(here, server.url, served, 5, logs) as runner:
            self.stdout.write(_welcome(here, server.url, tokens_file, logs))
            self.stdout.flush()
            show.run(tokens_file, lambda: not (runner.has_ended() or server.has_ended()))
            ended = "server" if server.has_ended() else "runner"
            raise CommandError(f"The {ended} has ended; {logs / ended}.log says why.")


def _directory(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"Cannot make {path}: {error.strerror}.") from None
    return path


def _welcome(here: Stage, url: str, tokens_file: Path, logs: Path) -> str:
    (password,) = set(here.passwords.values())
    people = "\n".join(f"  {email}" for email in here.passwords)
    return WELCOME.format(url=url, password=password, people=people, env=tokens_file, logs=logs)
