"""The databases of a test run: one for each worker, copied from one that is migrated once.

Tests commit for real, as the application's role; organizations keep them apart. So nothing is
flushed or rolled back between tests, and a run that dies leaves databases behind, which the next
one drops.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from psycopg import sql

from keeptrusts_runners import env, postgres, provision, scratch

PREFIX = "keeptrusts_test_"
DATA_DIR = env.BASE_DIR / ".local" / "test"
PRODUCT = ("keeptrusts_runners", "profiles", "sessions", "grants")


@contextmanager
def databases(run: str, worker: str) -> Iterator[str]:
    """Point every alias at a new database of this worker's, for as long as the context lasts.

    `run` is the same for all workers of one test run and for no other. Yields the name.
    """
    with ExitStack() as stack:
        server = stack.enter_context(administrator())
        admin = stack.enter_context(psycopg.connect(server, autocommit=True))
        scratch.hold(admin, run)
        name = f"{PREFIX}{run}_{worker}"
        with _alone():
            scratch.drop_abandoned(admin, PREFIX, but=("template", "draft"))
            template = _template(admin, server)
            provision.make_database(admin, name, template)
        provision.close_database(server, name)
        scratch.point_aliases_at(name, DATA_DIR)
        try:
            yield name
        finally:
            connections.close_all()
            scratch.drop(admin, name)


def past_the_triggers(statement: str) -> None:
    """As a superuser, and as no role of the product can: append-only or not."""
    name = str(connections["default"].settings_dict["NAME"])
    with administrator() as server, psycopg.connect(server, dbname=name, autocommit=True) as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute(statement)  # type: ignore[arg-type]  # ours, and no literal


@contextmanager
def apart(run: str, worker: str) -> Iterator[None]:
    """Another database for as long as the context lasts, for tests that must know of every row."""
    before = str(connections["default"].settings_dict["NAME"])
    try:
        with databases(run, f"{worker}_apart"):
            yield
    finally:
        scratch.point_aliases_at(before, DATA_DIR)


@contextmanager
def administrator() -> Iterator[str]:
    """An administrator's connection string: for our own server, or for that of DATABASE_URL.
    That must be a server for tests, and its user an administrator: connections to it take on the
    product's roles as they begin."""
    if not settings.ENVIRONMENT.embedded_database:
        yield settings.ENVIRONMENT.database_urls["default"]
        return
    with postgres.use(DATA_DIR, durable=False):
        yield provision.administrator(DATA_DIR)


@contextmanager
def _alone() -> Iterator[None]:
    DATA_DIR.mkdir(parents=True, exist_ok=True)
    with open(DATA_DIR / "databases.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _template(admin: psycopg.Connection, server: str) -> str:
    """The name of a database migrated by exactly the present code."""
    name = f"{PREFIX}template_{_fingerprint()}"
    if not provision.database_exists(admin, name):
        for old in scratch.names_like(admin, f"{PREFIX}template_%"):
            scratch.drop(admin, old)
        provision.make_roles(admin)
        draft = f"{PREFIX}draft"
        scratch.drop(admin, draft)
        provision.make_database(admin, draft)
        provision.close_database(server, draft)
        scratch.point_aliases_at(draft, DATA_DIR)
        call_command("migrate", database="migrate", verbosity=0)
        connections.close_all()
        # Renamed once it is whole, so that an interrupted migration is never copied.
        admin.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                sql.Identifier(draft), sql.Identifier(name)
            )
        )
    return name


def _fingerprint() -> str:
    """Of all code and SQL that a migration could reach."""
    digest = hashlib.sha256((env.BASE_DIR / "requirements.txt").read_bytes())
    for package in PRODUCT:
        for path in sorted((env.BASE_DIR / package).rglob("*")):
            if path.suffix in (".py", ".sql"):
                digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]
