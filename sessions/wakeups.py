"""Wake-ups: tell every process what a commit has changed, for those who wait there.

Three things are told: that a session may be claimable now, how far a session's ledger has grown,
and which kind of page of an organization would show something else now.
A signal is sent after the commit that made it true, and coalesced: one thread per process sends
what is due at most a hundred times a second. Inside the transaction NOTIFY would serialise all
commits. Whoever waits looks by himself every few seconds, so that a lost signal costs no more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID

import psycopg
import structlog
from django.db import connection, transaction

log = structlog.get_logger(__name__)

CLAIMABLE, GROWN, CHANGED = "kt_claimable", "kt_grown", "kt_changed"
# What pages show, and what a change of it is told of.
TOPICS = SESSIONS, APPROVALS, FLEET = "sessions", "approvals", "fleet"
PAUSE_SECONDS = 0.01
LATER_SECONDS = 1.0

# Of a channel and a subject, the newest that there is to tell.
Due = dict[tuple[str, str], str]
# For a listener: something was not told.
LOST_WORD = "lost"
LOST: Due = {(GROWN, ""): LOST_WORD, (CHANGED, ""): LOST_WORD}
# A notification holds 8,000 bytes, and the longest word about a ledger has 93.
WORDS = 80


class Notifier:
    """Sends what was announced since it last sent; its thread starts with the first."""

    def __init__(self) -> None:
        self._due: Due = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, organization_id: UUID) -> None:
        self._add({(CLAIMABLE, str(organization_id)): str(organization_id)})

    def add_grown(self, organization_id: UUID, heads: Mapping[UUID, int]) -> None:
        subjects = {f"{organization_id} {session_id}": seq for session_id, seq in heads.items()}
        self._add({(GROWN, subject): f"{subject} {seq}" for subject, seq in subjects.items()})

    def add_changes(self, organization_id: UUID, topics: Iterable[str]) -> None:
        words = [f"{organization_id} {topic}" for topic in topics]
        self._add({(CHANGED, word): word for word in words})

    def _add(self, due: Due) -> None:
        with self._changed:
            self._due |= due
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wakeups", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            try:
                self._send(self._take())
            except Exception as error:
                # Whatever it is, the thread goes on; what was lost is at least said to be.
                log.warning("wakeups.not_sent", reason=str(error).strip())
                time.sleep(LATER_SECONDS)
                self._add(LOST)

    def _take(self, timeout: float | None = None) -> Due:
        """What is due, once something is; nothing when nothing is in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._due, timeout)
            due, self._due = self._due, {}
        return due

    def _send(self, due: Due) -> None:
        with psycopg.connect(**address(), autocommit=True) as own:
            while due:
                for channel, payload in _notifications(due):
                    own.execute("SELECT pg_notify(%s, %s)", [channel, payload])
                # What comes in a burst goes together.
                time.sleep(PAUSE_SECONDS)
                # Stay connected while there is more; an idle process keeps no connection for it.
                due = self._take(timeout=5)


def _notifications(due: Due) -> Iterator[tuple[str, str]]:
    """Channels and payloads, each with as many words as it can hold: every process hears them all,
    and what it costs to hear one does not depend on its length."""
    for channel in (CLAIMABLE, GROWN, CHANGED):
        words = [word for (known, _), word in due.items() if known == channel]
        for start in range(0, len(words), WORDS):
            yield channel, "\n".join(words[start : start + WORDS])


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


def announce_growth(organization_id: UUID, heads: Mapping[UUID, int]) -> None:
    """The ledgers of these sessions go up to these numbers once the present transaction has
    committed: say so then."""
    transaction.on_commit(lambda: _notifier.add_grown(organization_id, heads))


def announce_changes(organization_id: UUID, topics: Iterable[str]) -> None:
    """Pages about these topics would show something else once the present transaction has
    committed: say so then."""
    transaction.on_commit(lambda: _notifier.add_changes(organization_id, topics))
