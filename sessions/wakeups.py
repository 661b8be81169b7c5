"""Wake-ups: tell waiting executors, in every process, that a session may be claimable now.

A signal is sent after the commit that made it true, and coalesced: one thread per process sends
at most one NOTIFY for each organization at a time. Inside the transaction NOTIFY would serialise
all commits. A lost signal costs two seconds, after which waiters look by themselves.
"""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

import psycopg
import structlog
from django.db import connection, transaction

log = structlog.get_logger(__name__)

CHANNEL = "kt_claimable"


class Notifier:
    """Sends what was announced since it last sent; its thread starts with the first."""

    def __init__(self) -> None:
        self._due: set[UUID] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, organization_id: UUID) -> None:
        with self._changed:
            self._due.add(organization_id)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wakeups", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due)
                due, self._due = self._due, set()
            try:
                self._send(due)
            except Exception as error:
                # Whatever it is, the thread goes on; the waiters' own look makes up for it.
                log.warning("wakeups.not_sent", reason=str(error).strip())

    def _send(self, due: set[UUID]) -> None:
        with psycopg.connect(**address(), autocommit=True) as own:
            while due:
                own.execute(
                    "SELECT pg_notify(%s, org) FROM unnest(%s::text[]) AS org",
                    [CHANNEL, [str(organization_id) for organization_id in due]],
                )
                # Stay connected while there is more; an idle process keeps no connection for it.
                with self._changed:
                    self._changed.wait_for(lambda: self._due, timeout=5)
                    due, self._due = self._due, set()


def address() -> dict[str, Any]:
    """The application's connection parameters, for connections outside Django's: what libpq knows
    of them, certificates and timeouts included, and nothing that is Django's own."""
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    parameters = connection.get_connection_params()
    return {name: value for name, value in parameters.items() if name in known and value}


_notifier = Notifier()


def announce(organization_id: UUID) -> None:
    """Something may have become claimable: say so once the present transaction has committed."""
    transaction.on_commit(lambda: _notifier.add(organization_id))
