"""What `manage.py` does once everything is installed: the database, then Django's command."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import psycopg
from django.core.management import execute_from_command_line
from django.db.utils import OperationalError

from keeptrusts_runners import env, provision
from keeptrusts_runners.keys import KeyFileRefused
from keeptrusts_runners.postgres import PostgresError

WITHOUT_DATABASE = {
    "help",
    "version",
    "--help",
    "-h",
    "--version",
    "runner",
    "verify_evidence",
    "makemigrations",
    "generate_docs",
    "spectacular",
    "test",  # has a server of its own
}
LISTENING = {"serve", "demo"}
INTERRUPTED = 130


def run(arguments: list[str]) -> None:
    """Run one command; the embedded PostgreSQL, when it is in use, lives at least as long."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "keeptrusts_runners.settings")
    name = arguments[1] if len(arguments) > 1 else "help"
    if name in LISTENING:
        _bind_is_a_setting(arguments[2:])
    try:
        with _database(name):
            execute_from_command_line(arguments)
    except (PostgresError, KeyFileRefused) as error:
        sys.exit(f"keeptrusts: {error}")
    except OperationalError as error:
        if not _is_unreachable(error) or "--traceback" in arguments:
            raise
        reason = str(error).strip().splitlines()[0]
        sys.exit(
            f"keeptrusts: the database cannot be reached ({reason}). Start it or correct "
            "DATABASE_URL; without that setting PostgreSQL is embedded."
        )
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _bind_is_a_setting(options: list[str]) -> None:
    """Host names and addresses follow from KEEPTRUSTS_BIND, and are read before any option is."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--bind", default="")
    bind = parser.parse_known_args(options)[0].bind
    with suppress(ValueError):
        env.split_bind(bind)
        os.environ["KEEPTRUSTS_BIND"] = bind


def _database(command: str) -> AbstractContextManager[Path | None]:
    environment = env.load()
    if command in WITHOUT_DATABASE or not environment.embedded_database:
        return nullcontext()
    return provision.embedded(environment.data_dir)


def _is_unreachable(error: OperationalError) -> bool:
    """No connection came about, as opposed to an error on one."""
    cause = error.__cause__
    return isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None
