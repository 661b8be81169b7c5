"""Databases for a while, beside an installation's own: for tests and benchmarks.

Each belongs to a run, which holds a lock for as long as it lives. What a killed run left behind
has nobody's lock, and the next run drops it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from keeptrusts_runners import env, postgres, provision


@contextmanager
def database(data_dir: Path, prefix: str, run: str) -> Iterator[str]:
    """A migrated database on the embedded server of `data_dir`, which is running, behind every
    alias of this process for as long as the context lasts. Yields its name."""
    server, name = provision.administrator(data_dir), prefix + run
    with psycopg.connect(server, autocommit=True) as admin:
        hold(admin, run)
        drop_abandoned(admin, prefix)
        provision.make_database(admin, name)
        provision.close_database(server, name)
        before = point_aliases_at(name, data_dir)
        try:
            call_command("migrate", database="migrate", verbosity=0)
            yield name
        finally:
            connections.close_all()
            for alias, known in before.items():
                connections[alias].settings_dict.update(known)
            drop(admin, name)


def hold(admin: psycopg.Connection, run: str) -> None:
    """Say that this run is alive, for as long as the connection is open."""
    admin.execute("SELECT pg_advisory_lock_shared(%s)", [_run_key(run)])


def drop_abandoned(admin: psycopg.Connection, prefix: str, but: Collection[str] = ()) -> None:
    """Drop the databases of runs that are no more; what follows the prefix names the run."""
    for name in names_like(admin, f"{prefix}%"):
        run = name.removeprefix(prefix).partition("_")[0]
        if run in but:
            continue
        key = [_run_key(run)]
        row = admin.execute("SELECT pg_try_advisory_lock(%s)", key).fetchone()
        if row and row[0]:
            drop(admin, name)
            admin.execute("SELECT pg_advisory_unlock(%s)", key)


def names_like(admin: psycopg.Connection, pattern: str) -> list[str]:
    escaped = pattern.replace("_", r"\_")
    query = "SELECT datname FROM pg_database WHERE datname LIKE %s"
    return [row[0] for row in admin.execute(query, [escaped])]


def drop(admin: psycopg.Connection, name: str) -> None:
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def point_aliases_at(name: str, data_dir: Path) -> dict[str, dict[str, str]]:
    """Connections made from now on, in all threads, lead to this database. On a server of its own
    choosing (DATABASE_URL) they take on the product's roles. Answers what was there before."""
    connections.close_all()
    before = {}
    for alias, role in settings.DATABASE_ROLES.items():
        known = connections[alias].settings_dict
        before[alias] = {"NAME": known["NAME"], "HOST": known["HOST"]}
        known["NAME"] = name
        if settings.ENVIRONMENT.embedded_database:
            known["HOST"] = str(postgres.location(data_dir).socket_dir)
        elif alias != "migrate":  # It acts as the owner already.
            known["OPTIONS"]["options"] = f"-c role={role}"
    return before


def environment() -> dict[str, str]:
    """With these variables a command of the product works on the databases, and with the keys, of
    this process."""
    urls = {variable: database_url(alias) for alias, variable in env.DATABASE_VARIABLES.items()}
    return urls | {
        "KEEPTRUSTS_DATA_DIR": str(settings.ENVIRONMENT.data_dir),
        "KEEPTRUSTS_TOKEN_KEY_FILE": str(settings.TOKEN_KEY_FILE),
        "KEEPTRUSTS_EVIDENCE_KEY_FILE": str(settings.EVIDENCE_KEY_FILE),
        "KEEPTRUSTS_ARTIFACTS_DIR": str(settings.ARTIFACTS_DIR),
        "KEEPTRUSTS_ARTIFACTS": settings.ARTIFACTS,
        "KEEPTRUSTS_S3_ENDPOINT": settings.S3_ENDPOINT or "",
        # Tokens name their issuer by it: those made in this process are good there.
        "KEEPTRUSTS_PUBLIC_URL": settings.PUBLIC_URL,
        "DJANGO_SETTINGS_MODULE": "keeptrusts_runners.settings",
    }


def database_url(alias: str) -> str:
    """Where this alias leads now, for other processes and other libraries."""
    known = connections[alias].settings_dict
    parameters = {
        "dbname": known["NAME"],
        "user": known["USER"],
        "password": known["PASSWORD"],
        "host": known["HOST"],
        "port": known["PORT"],
        "options": known["OPTIONS"].get("options"),
    }
    given = {name: value for name, value in parameters.items() if value}
    return f"postgresql:///?{urlencode(given, quote_via=quote)}"


def _run_key(run: str) -> int:
    return int.from_bytes(hashlib.sha256(run.encode()).digest()[:8], signed=True)
