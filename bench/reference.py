"""R: what a request makes the database do, by psycopg alone.

Statement by statement the product's work for one operation: the organization's scope, the look at
the bearer's account, the locks, the rows, the hash chain, the commit. What it lacks is HTTP,
tokens, validation, rendering and the ORM.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import chain

_SCOPE = "SELECT set_config('app.org_id', %s, true)"
_ACCOUNT = """
SELECT a.role, a.name, a.owner_id FROM identity_service_account a
 WHERE a.id = %s AND a.revoked_at IS NULL
   AND NOT EXISTS (SELECT 1 FROM identity_revoked_token r WHERE r.id = %s)
"""
_LOCK_HEAD = """
SELECT seq, hash, clock_timestamp() FROM runner_ledger_head WHERE session_id = %s FOR UPDATE
"""
_INSERT_EVENTS = """
INSERT INTO runner_event
       (organization_id, session_id, seq, id, kind, actor, lease_epoch, recorded_at, body, salt,
        body_digest, hash, level)
SELECT * FROM unnest(
       %b::uuid[], %b::uuid[], %b::bigint[], %b::uuid[], %b::text[], %b::text[], %b::bigint[],
       %b::timestamptz[], %b::bytea[], %b::bytea[], %b::bytea[], %b::bytea[], %b::text[])
"""
_LOCK_SESSION = "SELECT * FROM runner_session WHERE id = %s FOR NO KEY UPDATE"
_ADVANCE_HEAD = """
UPDATE runner_ledger_head SET seq = %s, hash = %s, events = events + %s WHERE session_id = %s
"""
_TRANSITION = """
INSERT INTO runner_transition
       (id, organization_id, session_id, seq, verb, source, target, reason, actor, executor,
        claim_id, lease_epoch, at)
VALUES (%s, %s, %s, %s, %s, %s, %s, '', %s, '{}', '', %s, %s)
"""


class Reference:
    """One connection that works in one organization, as one account."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.connection = psycopg.connect(given["database"])
        self.organization: UUID = given["organization"]
        self.account_id, self.account = given["account_id"], given["account"]
        self._token_id = ids.new()

    def execute(self, statement: str, parameters: Any = None) -> psycopg.Cursor[Any]:
        return self.connection.execute(statement, parameters)

    def one(self, statement: str, parameters: Any = None) -> Any:
        """The first row. Raises LookupError where there is none: nothing may be measured then."""
        row = self.execute(statement, parameters).fetchone()
        if row is None:
            raise LookupError(statement)
        return row

    def begin(self) -> None:
        """What every request begins with."""
        self.execute(_SCOPE, [str(self.organization)])
        self.one(_ACCOUNT, [self.account_id, self._token_id])

    def commit(self) -> None:
        self.connection.commit()

    def now(self) -> datetime:
        now: datetime = self.one("SELECT clock_timestamp()")[0]
        return now

    def transition(
        self, session: UUID, epoch: int, verb: str, source: str, target: str, kinds: Sequence[str]
    ) -> None:
        """Lock the head, chain and store a record of each kind, move the head on, and keep the
        transition beside it."""
        seq, previous, now = self.one(_LOCK_HEAD, [session])
        rows, previous = self._chained(session, epoch, seq, previous, now, kinds)
        columns = [list(column) for column in zip(*rows, strict=True)]
        self.execute(_INSERT_EVENTS, columns)
        self.execute(_ADVANCE_HEAD, [seq + len(rows), previous, len(rows), session])
        self.execute(
            _TRANSITION,
            [
                ids.new(), self.organization, session, seq + 1, verb, source, target,
                self.account, epoch, now,
            ],
        )  # fmt: skip

    def event(self, session: UUID, epoch: int) -> None:
        """One event under the lease: the session's lock, the time, the chain and the head."""
        self.one(_LOCK_SESSION, [session])
        self.now()
        seq, previous, now = self.one(_LOCK_HEAD, [session])
        rows, previous = self._chained(session, epoch, seq, previous, now, ["log"])
        self.execute(_INSERT_EVENTS, [list(column) for column in zip(*rows, strict=True)])
        self.execute(_ADVANCE_HEAD, [seq + 1, previous, 1, session])

    def _chained(
        self,
        session: UUID,
        epoch: int,
        seq: int,
        previous: bytes,
        now: datetime,
        kinds: Sequence[str],
    ) -> tuple[list[tuple[Any, ...]], bytes]:
        rows = []
        at_us = int(now.timestamp() * 1_000_000)
        for number, kind in enumerate(kinds, seq + 1):
            event_id, salt = ids.new(), os.urandom(chain.SALT_BYTES)
            data = {"verb": kind, "holder": self.account, "lease_epoch": epoch}
            body = json.dumps({"id": ids.encode("evt", event_id), "data": data}).encode()
            digest = chain.body_digest(salt, body)
            previous = chain.link(
                self.organization.bytes, session.bytes, number, at_us, kind, self.account, epoch,
                digest, previous,
            )  # fmt: skip
            rows.append(
                (
                    self.organization, session, number, event_id, kind, self.account, epoch, now,
                    body, salt, digest, previous, "info",
                )
            )  # fmt: skip
        return rows, previous
