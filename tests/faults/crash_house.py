"""A server with two workers, its loop and a PostgreSQL of its own, to be killed in parts."""

from __future__ import annotations

import copy
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import connections

from keeptrusts_runners import ids, postgres, provision
from keeptrusts_runners.identity.scopes import Role
from tests import factories
from tests.commands.product import Http, Product, eventually, free_port, parent_of
from tests.faults.load import Load, Target
from tests.people import Machine, Org

FAILPOINTS = Path(__file__).with_name("processes") / "failpoints"
RECOVERY_SECONDS = 60.0
# A brake after an absence lasts for the longest lease, and a test until it is over.
SHORT_LEASE = {"lease_ttl_seconds": 15, "heartbeat_interval_seconds": 5}


@contextmanager
def pointed_at(data_dir: Path) -> Iterator[None]:
    """The tests' own connections lead to the product's embedded database."""
    before = {alias: copy.deepcopy(connections[alias].settings_dict) for alias in connections}
    host = str(postgres.location(data_dir).socket_dir)
    _point({alias: known | _address(alias, host) for alias, known in before.items()})
    try:
        yield
    finally:
        _point(before)


def _address(alias: str, host: str) -> dict[str, object]:
    """As settings.py has it for an embedded database."""
    options = {"options": "-c role=keeptrusts_owner"} if alias == "migrate" else {}
    role = settings.DATABASE_ROLES[alias]
    return {
        "NAME": provision.DATABASE, "USER": role, "PASSWORD": "", "HOST": host, "PORT": "",
        "OPTIONS": options,
    }  # fmt: skip


def _point(to: dict[str, dict[str, object]]) -> None:
    connections.close_all()
    for alias, known in to.items():
        connections[alias].settings_dict.update(known)


class CrashHouse:
    """Made within `pointed_at` its data directory."""

    def __init__(self, product: Product) -> None:
        self.product = product
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        points = product.data_dir / "failpoints"
        points.mkdir(exist_ok=True)
        self._points = points
        self.server = product.start(
            "serve", "--bind", f"127.0.0.1:{port}", "--workers", "2", "--migrate", "--maintain",
            PYTHONPATH=str(FAILPOINTS), FAILPOINTS=str(points),
        )  # fmt: skip
        page = Http(self.url)
        eventually(
            page.is_ready, "it is ready", instead=lambda: page.readiness() + self.server.said()
        )

    def new_target(self) -> tuple[Org, Target]:
        """An organization with two machines and two profiles; nothing else is in it."""
        org = Org()
        target = Target(
            self.url,
            self._secret_of(org.machine(Role.ADMIN)),
            self._secret_of(org.machine()),
            ids.encode("prof", factories.profile(org, **SHORT_LEASE).id),
            ids.encode("prof", factories.profile(org).id),
        )
        return org, target

    def _secret_of(self, machine: Machine) -> tuple[str, Path]:
        client_id = ids.encode("sa", machine.account.id)
        file = self.product.data_dir / f"secret-{client_id}"
        file.write_text(machine.secret)
        return client_id, file

    # --- what is done to it ------------------------------------------------------------------

    def kill_postmaster(self) -> None:
        """The server's first process; its children go when they notice."""
        os.kill(self._postmaster(), signal.SIGKILL)

    def kill_backend(self) -> None:
        """One connection's process: PostgreSQL then takes all of its memory for spoilt."""
        (victim, *_) = self._child_of(self._postmaster(), "postgres: keeptrusts_app")
        os.kill(victim, signal.SIGKILL)

    def kill_worker(self) -> None:
        workers = self._child_of(self.server.pid, "multiprocessing.spawn")
        os.kill(random.choice(workers), signal.SIGKILL)

    def kill_loop(self) -> None:
        (loop,) = self._child_of(self.server.pid, "manage.py maintain")
        os.kill(loop, signal.SIGKILL)

    def _postmaster(self) -> int:
        pid_file = postgres.location(self.product.data_dir).cluster / "postmaster.pid"
        return int(pid_file.read_text().splitlines()[0])

    def _child_of(self, parent: int, words: str) -> list[int]:
        """At least one: they may be on their way."""

        def look() -> list[int]:
            return [
                pid
                for pid, command in self.product.processes().items()
                if words in command and parent_of(pid) == parent
            ]

        return eventually(look, f"there is a {words} process")

    def kill_at(self, point: str) -> None:
        """The first worker or loop to come by dies there: `worker.before-commit`."""
        armed = self._points / point
        armed.touch()
        eventually(lambda: not armed.exists(), f"somebody dies {point}", RECOVERY_SECONDS)

    # --- and what it is held to --------------------------------------------------------------

    def recovered_after(self, fault: Callable[[], None], load: Load) -> float:
        """Milliseconds until a claim is acknowledged that was asked for after it."""
        fault()
        hit_at = time.monotonic()
        claimed_at = eventually(
            lambda: load.claimed_since(hit_at), "claims go on", RECOVERY_SECONDS
        )
        return (claimed_at - hit_at) * 1000

    @contextmanager
    def answering_too_soon(self) -> Iterator[None]:
        """The defect of all such defects: commits are acknowledged before they are on disk."""
        self._as_administrator("ALTER ROLE keeptrusts_app SET synchronous_commit = off")
        try:
            yield
        finally:
            self._as_administrator("ALTER ROLE keeptrusts_app RESET synchronous_commit")

    def _as_administrator(self, statement: str) -> None:
        """And have everybody connect again, since a role's settings count from then on."""
        address = provision.administrator(self.product.data_dir)
        with psycopg.connect(address, autocommit=True) as own:
            own.execute(statement)
            own.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE usename = 'keeptrusts_app'"
            )
