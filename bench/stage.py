"""Where a benchmark plays: a database and a server of their own, and organizations made to size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connections
from django.db.models import Model

from grants.models import LedgerHead
from keeptrusts_runners import ids, scratch
from keeptrusts_runners.demonstration import cast
from keeptrusts_runners.identity import accounts, tokens
from keeptrusts_runners.identity.models import ServiceAccount
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role
from keeptrusts_runners.identity.tenancy import organization_scope
from profiles import catalog
from profiles.models import RunnerProfile
from sessions import lifecycle
from sessions.models import RunnerSession

PREFIX = "keeptrusts_bench_"

# A session made by the verb is copied in every column, so that a new column needs nothing here.
# Its ledger's head is copied as well; events are not, since nothing that is measured reads them.
_COPY = """
WITH made AS (
  INSERT INTO runner_session (id, {columns})
  SELECT kt_uuid7(), {columns} FROM runner_session, generate_series(1, %(number)s)
   WHERE id = %(original)s
  RETURNING id)
INSERT INTO runner_ledger_head (session_id, {head_columns})
SELECT made.id, {head_columns} FROM made, runner_ledger_head h WHERE h.session_id = %(original)s
"""
_WRITTEN = ("runner_session", "runner_ledger_head", "runner_transition", "runner_event")
_DEPTH = """
SELECT count(*) FROM runner_session
 WHERE organization_id = %s AND profile_id = %s AND state = 'pending'
"""


@dataclass(frozen=True)
class Machine:
    """A service account, or a person, and what it presents."""

    principal: Principal
    role: Role

    @property
    def token(self) -> str:
        """A fresh one, good for a quarter of an hour."""
        principal = self.principal
        assert principal.id is not None
        return tokens.issue_access(
            principal.kind, principal.id, principal.organization_id, principal.scopes
        )


class Organization:
    """An organization with a machine that dispatches and one that claims."""

    def __init__(self, name: str) -> None:
        self.id: UUID = accounts.create_organization(name).id
        self.dispatcher, self.runner = self._machine(Role.ADMIN), self._machine(Role.RUNNER)

    def _machine(self, role: Role) -> Machine:
        with organization_scope(self.id):
            account, _ = accounts.create_service_account(self.id, str(role), role)
        return Machine(_principal(account, role), role)

    def person(self, role: Role) -> Machine:
        """A member, who decides what machines may not."""
        user = accounts.create_user(f"{uuid4().hex}@bench.example", "correct-horse-battery")
        with organization_scope(self.id):
            accounts.add_member(self.id, user, role)
        return Machine(
            Principal(
                PrincipalKind.USER,
                user.id,
                self.id,
                ROLE_SCOPES[role],
                role,
                account=ids.encode("user", user.id),
            ),
            role,
        )

    def profile(self, name: str = "plain", **fields: Any) -> RunnerProfile:
        given = {"name": name, "execution_target": "bench", "lease_ttl_seconds": 900} | fields
        with organization_scope(self.id):
            made = catalog.create_profile(given, by=self.dispatcher.principal)
            made.refresh_from_db()
        return made

    def publish(self, profile: RunnerProfile) -> None:
        """A harness revision for it."""
        revision = {"version": "1", "image_ref": f"registry.example/bench@sha256:{'0' * 64}"}
        with organization_scope(self.id):
            catalog.publish_harness(profile.id, revision, by=self.dispatcher.principal)

    def pend(self, profile: RunnerProfile, number: int, **fields: Any) -> UUID | None:
        """So many more sessions wait on this profile; the id of the first."""
        if number < 1:
            return None
        given = {"profile_id": profile.id, "task_id": "bench"} | fields
        with organization_scope(self.id):
            session = lifecycle.dispatch(given, by=self.dispatcher.principal)
        if number > 1:
            _copy(session.id, number - 1)
        return session.id

    def fill(self, profile: RunnerProfile, depth: int) -> None:
        """As many sessions wait on this profile as `depth` again."""
        with connections["migrate"].cursor() as cursor:
            cursor.execute(_DEPTH, [self.id, profile.id])
            (present,) = cursor.fetchone()
        self.pend(profile, depth - present)


def _principal(account: ServiceAccount, role: Role) -> Principal:
    return Principal(
        PrincipalKind.SERVICE_ACCOUNT,
        account.id,
        account.organization_id,
        ROLE_SCOPES[role],
        role,
        account.name,
        account=ids.encode("sa", account.id),
    )


def columns(model: type[Model]) -> list[str]:
    """Those of its table that can be written, but for the key."""
    fields = (f for f in model._meta.concrete_fields if not (f.generated or f.primary_key))
    return [str(field.column) for field in fields]


def _copy(original: UUID, number: int) -> None:
    """As the owner of the tables, whom no policy binds."""
    statement = _COPY.format(
        columns=", ".join(columns(RunnerSession)), head_columns=", ".join(columns(LedgerHead))
    )
    with connections["migrate"].cursor() as cursor:
        cursor.execute(statement, {"original": original, "number": number})


@dataclass(frozen=True)
class Stage:
    """What benchmarks measure against: the server's address and process, and the database's."""

    url: str
    pid: int
    database: str

    def reference(self, machine: Machine) -> dict[str, Any]:
        """What the same work by psycopg needs to know."""
        return {
            "database": self.database,
            "organization": machine.principal.organization_id,
            "account_id": machine.principal.id,
            "account": machine.principal.account,
        }

    def product(self, machine: Machine) -> dict[str, Any]:
        return {"url": self.url, "token": machine.token}

    def settle(self) -> None:
        """After much was written: statistics as they would be in time, and no dead rows."""
        with connections["migrate"].cursor() as cursor:
            for table in (
                "runner_session",
                "runner_ledger_head",
                "runner_transition",
                "runner_event",
            ):
                cursor.execute(f"VACUUM ANALYZE {table}")

    def updates(self) -> tuple[int, int]:
        """Of runner_session until now: all, and those that touched no index (HOT)."""
        with connections["migrate"].cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
                " WHERE relname = 'runner_session'"
            )
            row = cursor.fetchone()
        return row[0], row[1]


@contextmanager
def raised(data_dir: Path, workers: int) -> Iterator[Stage]:
    """The database migrated and the server ready, until the block is left."""
    with (
        scratch.database(data_dir, PREFIX, str(os.getpid())),
        TemporaryDirectory(prefix="keeptrusts-bench-") as logs,
    ):
        bind = cast.free_bind("127.0.0.1:8700")
        options = ("--workers", str(workers))
        environment = _environment()
        with cast.Server(bind, Path(logs), *options, environment=environment) as server:
            server.wait_until_ready()
            yield Stage(server.url, server.pid, environment["DATABASE_URL"])


def _environment() -> Mapping[str, str]:
    return scratch.environment() | {
        "KEEPTRUSTS_ALLOWED_HOSTS": "127.0.0.1",
        "KEEPTRUSTS_LOG_LEVEL": "warning",
        "KEEPTRUSTS_WEB_THREADS": str(settings.ENVIRONMENT.web_threads),
    }
