"""A PostgreSQL of a test's own, reached by DATABASE_URL, to stop and start at will."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import psycopg.conninfo

from keeptrusts_runners import env, postgres, provision
from keeptrusts_runners.postgres_keeper import Server

ROLES = {
    "default": "keeptrusts_app",
    "migrate": "keeptrusts_migrate",
    "maintain": "keeptrusts_maintain",
    "signer": "keeptrusts_signer",
    "forensics": "keeptrusts_forensics",
}


class Database:
    """Ends with the thread that made it, at the latest."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        where = postgres.location(directory)
        where.home.mkdir(parents=True)
        where.home.chmod(0o711)
        # Its output would else go where the tests' goes.
        self._server = Server(where, durable=False)
        self._server.prepare()
        self.start()
        provision.provision(provision.administrator(directory))

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def kill_connections(self) -> None:
        """What a failover does to those who are connected."""
        with psycopg.connect(provision.administrator(self._directory), autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = 'keeptrusts'"
            )

    @contextmanager
    def holding_session(self, session_id: UUID) -> Iterator[Callable[[], bool]]:
        """A session that somebody holds locked; asks whether anybody waits for a lock."""
        address = psycopg.conninfo.make_conninfo(
            provision.administrator(self._directory), dbname=provision.DATABASE
        )
        with psycopg.connect(address) as holder, psycopg.connect(address, autocommit=True) as look:
            query = "SELECT FROM runner_session WHERE id = %s FOR NO KEY UPDATE"
            assert holder.execute(query, [session_id]).rowcount == 1

            def somebody_waits() -> bool:
                waiting = "SELECT FROM pg_locks WHERE NOT granted"
                return look.execute(waiting).rowcount > 0

            yield somebody_waits

    def settings(self) -> dict[str, str]:
        """The addresses, by the variable that holds them."""
        host = os.fspath(postgres.location(self._directory).socket_dir)
        return {
            variable: f"postgresql://{ROLES[alias]}@/{provision.DATABASE}?host={host}"
            for alias, variable in env.DATABASE_VARIABLES.items()
        }
