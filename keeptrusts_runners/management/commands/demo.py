"""`demo`: everything on embedded PostgreSQL, a real runner executing real sessions."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from keeptrusts_runners.demonstration import cast, stage
from keeptrusts_runners.demonstration.road import Road
from keeptrusts_runners.demonstration.show import Show
from keeptrusts_runners.demonstration.stage import Stage
from keeptrusts_runners.identity.scopes import Role

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
    -d '{{"profile_id": "'$PROFILE_ID'", "task_id": "task_456", "input": {{"job": "collect-artifacts"}}}}' \\
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
    help = (
        "Start everything: database, server, maintenance loop, a reference runner, and sessions "
        "that keep coming. With --once: one session from dispatch to verified evidence."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--bind", default=settings.ENVIRONMENT.bind, metavar="HOST:PORT")
        parser.add_argument(
            "--once",
            action="store_true",
            help="exit 0 only if the session completes and its bundle verifies offline",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        # Ctrl-C and a polite kill take the same way out, through every `with`.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        data_dir = settings.ENVIRONMENT.data_dir
        logs = data_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        call_command("migrate", verbosity=0)
        here = stage.set_up(data_dir)
        bind = cast.free_bind(options["bind"])
        if bind != options["bind"]:
            self.stdout.write(f"{options['bind']} is taken; using {bind}.")
        try:
            with cast.server(bind, logs) as url:
                profiles = stage.publish(here.client(url, Role.ADMIN))
                if options["once"]:
                    sys.exit(self._once(here, url, profiles, data_dir, logs))
                self._show(here, url, profiles, data_dir, logs)
        except KeyboardInterrupt:
            self.stdout.write("\nStopped.")

    def _once(
        self, here: Stage, url: str, profiles: dict[str, str], data_dir: Path, logs: Path
    ) -> int:
        served = profiles["artifact-collection"]
        with cast.runner(here, url, [served], 1, logs):
            return Road(here, url, sys.stdout).walk(served, data_dir / "evidence")

    def _show(
        self, here: Stage, url: str, profiles: dict[str, str], data_dir: Path, logs: Path
    ) -> None:
        served = [profile for name, profile in profiles.items() if name != "hands-on"]
        show = Show(here, url, profiles)
        tokens_file = data_dir / "demo.env"
        show.write_tokens(tokens_file)
        with cast.runner(here, url, served, 5, logs) as runner:
            self.stdout.write(_welcome(here, url, tokens_file, logs))
            self.stdout.flush()
            show.run(threading.Event(), tokens_file, lambda: not runner.has_ended())
            self.stdout.write(f"The runner has ended; {logs / 'runner.log'} says why.")


def _welcome(here: Stage, url: str, tokens_file: Path, logs: Path) -> str:
    (password,) = set(here.passwords.values())
    people = "\n".join(f"  {email}" for email in here.passwords)
    return WELCOME.format(url=url, password=password, people=people, env=tokens_file, logs=logs)
