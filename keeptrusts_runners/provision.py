"""The roles and the database on a server that we administer: the embedded one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from keeptrusts_runners import postgres

DATABASE = "keeptrusts"
OWNER = "keeptrusts_owner"
_SQL = Path(__file__).parent / "sql"

# Held while provisioning: two processes that start at once would collide on the roles.
_LOCK = 0x6B74_7275_6E6E_6572


@contextmanager
def embedded(data_dir: Path) -> Iterator[Path]:
    """The embedded server with roles and database, for as long as the context lasts.

    Yields its socket directory. Raises PostgresError.
    """
    with postgres.use(data_dir) as socket_dir:
        provision(administrator(data_dir))
        yield socket_dir


def administrator(data_dir: Path, database: str = "postgres") -> str:
    """Connection string of the embedded server's superuser. Never the application's."""
    return postgres.conninfo(data_dir, user=postgres.SUPERUSER, database=database)


def provision(server: str) -> None:
    """Make roles and database unless this version of them is there already.

    `server` is an administrator's connection string for any database of the server.
    """
    version = hashlib.sha256(_script("roles") + _script("database")).hexdigest()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        if _provisioned_version(connection) == version:
            return
        make_roles(connection)
        if not database_exists(connection, DATABASE):
            make_database(connection, DATABASE)
        close_database(server, DATABASE)
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(DATABASE), version)
        )


def make_roles(connection: psycopg.Connection) -> None:
    connection.execute(_script("roles"))


def make_database(connection: psycopg.Connection, name: str, template: str = "template0") -> None:
    """A database of the owner's; it stays open to everybody until `close_database`."""
    connection.execute(
        sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(OWNER), sql.Identifier(template)
        )
    )


def close_database(server: str, name: str) -> None:
    """Leave the database to our roles alone."""
    with psycopg.connect(server, dbname=name, autocommit=True) as connection:
        connection.execute(_script("database"))


def database_exists(connection: psycopg.Connection, name: str) -> bool:
    found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name])
    return found.rowcount == 1


def _provisioned_version(connection: psycopg.Connection) -> str | None:
    row = connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
        [DATABASE],
    ).fetchone()
    return row[0] if row else None


def _script(name: str) -> bytes:
    return (_SQL / f"{name}.sql").read_bytes()
