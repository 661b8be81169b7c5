"""A PostgreSQL of a test's own, reached by DATABASE_URL, to stop and start at will."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg

from keeptrusts_runners import env, postgres, provision
from keeptrusts_runners.postgres_keeper import Server

ROLES = {
    "default": "keeptrusts_app",
    "migrate": "keeptrusts_migrate",
    "maintain": "keeptrusts_maintain",
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

    def settings(self) -> dict[str, str]:
        """The addresses, by the variable that holds them."""
        host = os.fspath(postgres.location(self._directory).socket_dir)
        return {
            variable: f"postgresql://{ROLES[alias]}@/{provision.DATABASE}?host={host}"
            for alias, variable in env.DATABASE_VARIABLES.items()
        }
