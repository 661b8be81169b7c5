"""An organization's log in tests: what waits, what was anchored, and a database rolled back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import connections, transaction

from keeptrusts_runners.evidence import signer
from keeptrusts_runners.evidence.checkpoint_file import CheckpointFile
from keeptrusts_runners.evidence.log_models import Log, LogCheckpoint, LogLeaf, Pending
from profiles.models import RunnerProfile
from sessions.models import RunnerSession
from tests import factories
from tests.people import Org

# In the order of their references to each other: none.
TABLES = ("evidence_pending", "evidence_log", "evidence_leaf", "evidence_tile",
          "evidence_checkpoint")  # fmt: skip


def log_of(org: Org) -> Log | None:
    return Log.objects.using("signer").filter(organization_id=org.id).first()


def leaves(org: Org) -> list[LogLeaf]:
    rows = LogLeaf.objects.using("signer").filter(organization_id=org.id)
    return list(rows.order_by("index"))


def checkpoints(org: Org) -> list[LogCheckpoint]:
    rows = LogCheckpoint.objects.using("signer").filter(organization_id=org.id)
    return list(rows.order_by("size"))


def pending(org: Org) -> list[Pending]:
    rows = Pending.objects.using("signer").filter(organization_id=org.id)
    return list(rows.order_by("id"))


def file_of(org: Org) -> CheckpointFile:
    return signer._file(org.id)


def pending_session(org: Org, on: RunnerProfile | None = None) -> RunnerSession:
    """A session whose head waits. So do the audit records of what made it; those are forgotten, so
    that a test can count."""
    return _alone(org, factories.pending(org, on))


def running_session(org: Org) -> RunnerSession:
    return _alone(org, factories.running(org))


def _alone(org: Org, session: RunnerSession) -> RunnerSession:
    with connections["migrate"].cursor() as cursor:
        cursor.execute(
            "DELETE FROM evidence_pending WHERE organization_id = %s AND kind = 'audit'", [org.id]
        )
    return session


def an_anchored_log(org: Org, size: int = 3) -> None:
    """A log that gains a leaf and a checkpoint for each of so many sessions."""
    on = factories.profile(org)
    for _ in range(size):
        pending_session(org, on)
        signer.anchor(org.id)


@contextmanager
def owner() -> Any:
    """As the tables' owner, whom neither privileges nor triggers hold: whoever has the server."""
    with transaction.atomic(using="migrate"), connections["migrate"].cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield cursor
        for table in TABLES:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def backup(org: Org) -> dict[str, list[Any]]:
    """The rows of the organization's log."""
    saved = {}
    with owner() as cursor:
        for table in TABLES:
            query = f"SELECT to_jsonb(t)::text FROM {table} t WHERE organization_id = %s"
            cursor.execute(query, [org.id])
            saved[table] = [row for (row,) in cursor.fetchall()]
    return saved


def restore(organization_id: UUID, saved: dict[str, list[Any]]) -> None:
    """The database as it was then; whatever was anchored since is gone from it."""
    with owner() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table} WHERE organization_id = %s", [organization_id])
            for row in saved[table]:
                cursor.execute(
                    f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, %s)",
                    [row],
                )
