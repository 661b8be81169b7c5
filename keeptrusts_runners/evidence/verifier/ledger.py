"""The chain of events.ndjson recomputed, and what its records say of the bundle's other files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from keeptrusts_runners.evidence.chain import GENESIS, extend
from keeptrusts_runners.evidence.verifier.records import BrokenRecord, LedgerRecord, read_record
from keeptrusts_runners.evidence.verifier.redactions import Redactions
from keeptrusts_runners.evidence.verifier.strict_json import parse_json

_FINAL_STATES = frozenset(
    f"state.{name}" for name in ("completed", "failed", "cancelled", "timed_out", "expired", "lost")
)
# What may follow the step that ended a session.
_AFTER_END = frozenset(("artifact.removed", "grant.ended", "evidence.redacted", "note"))
_REPEATED_ELSEWHERE = frozenset(("artifact.stored", "checkpoint.recorded", "evidence.redacted"))


@dataclass(slots=True)
class Told:
    """A record that other files repeat; `data` is None if its body is redacted."""

    seq: int
    kind: str
    actor: str
    epoch: int
    data: dict[str, Any] | None


@dataclass(slots=True)
class Ledger:
    """A chain that is being read: where it stands, and what it has told so far."""

    organization: bytes
    session: bytes
    watched: int = 0  # the number of a record whose hash is asked for later
    watched_hash: bytes | None = None
    seq: int = 0
    head: bytes = GENESIS
    states: list[Told] = field(default_factory=list)
    artifacts: list[Told] = field(default_factory=list)
    grants: list[Told] = field(default_factory=list)
    checkpoints: list[Told] = field(default_factory=list)
    redactions: Redactions = field(default_factory=Redactions)
    ended_at: int | None = None

    def read(self, batches: Iterable[list[bytes]]) -> None:
        """Read all records. Raises BrokenRecord for the first one that is broken."""
        for lines in batches:
            self.take(lines)
        self.require_tombstones()

    def take(self, lines: list[bytes]) -> None:
        """Read the next records. Raises BrokenRecord for the first one that is broken."""
        records, broken = _readable(lines, self.seq + 1)
        self._chain(records)
        if broken is not None:
            raise broken

    def require_tombstones(self) -> None:
        """All that is redacted is said to be, by the end. Raises BrokenRecord."""
        unnamed = self.redactions.first_without_tombstone()
        if unnamed is not None:
            raise BrokenRecord(unnamed, "its body is gone and no tombstone says so")

    def require_head(self, seq: int, head_hash: str) -> None:
        """What was read ends where a head says that it does. Raises BrokenRecord."""
        if self.seq < seq:
            detail = f"it is missing, as all after it: the head is record {seq}"
            raise BrokenRecord(self.seq + 1, detail)
        if self.seq > seq:
            raise BrokenRecord(seq + 1, "it comes after the head")
        if self.head.hex() != head_hash:
            raise BrokenRecord(self.seq, "the chain ends in another hash than the head's")

    def _chain(self, records: list[LedgerRecord]) -> None:
        headers = [record.header for record in records]
        hashes = extend(self.organization, self.session, self.seq, self.head, headers)
        for record, computed in zip(records, hashes, strict=True):
            if computed != record.hash:
                detail = "its hash does not follow from its fields and the record before"
                raise BrokenRecord(record.seq, detail)
            try:
                self._note(record)
            except ValueError as error:
                raise BrokenRecord(record.seq, str(error)) from None
            self.seq, self.head = record.seq, computed
            if record.seq == self.watched:
                self.watched_hash = computed

    def _note(self, record: LedgerRecord) -> None:
        """Keep what is needed later, and no more: there may be millions of records."""
        at_us, kind, actor, epoch, _ = record.header
        if self.ended_at is not None:
            self._check_after_end(kind, at_us)
        if record.body is None:
            self.redactions.add(record.seq)
        if kind.startswith(("state.", "grant.")) or kind in _REPEATED_ELSEWHERE:
            self._keep(Told(record.seq, kind, actor, epoch, _data(record.body)))
        if kind in _FINAL_STATES:
            self.ended_at = at_us

    def _check_after_end(self, kind: str, at_us: int) -> None:
        """The step that ends a session may have several records, all of one instant."""
        if kind.startswith("state."):
            raise ValueError("the session had ended, and no state follows a final one")
        if at_us != self.ended_at and kind not in _AFTER_END and not kind.startswith("hold."):
            raise ValueError("the session had ended, and nothing of this kind follows")

    def _keep(self, told: Told) -> None:
        if told.kind == "evidence.redacted":
            self.redactions.add_tombstone(told.seq, told.data)
        elif told.kind == "artifact.stored":
            self.artifacts.append(told)
        elif told.kind == "checkpoint.recorded":
            self.checkpoints.append(told)
        elif told.kind.startswith("grant."):
            self.grants.append(told)
        else:
            self.states.append(told)


def _readable(lines: list[bytes], seq: int) -> tuple[list[LedgerRecord], BrokenRecord | None]:
    """The records up to the first line that is none, and what is wrong with that one."""
    records: list[LedgerRecord] = []
    try:
        for number, line in enumerate(lines, start=seq):
            records.append(read_record(line, number))
    except BrokenRecord as broken:
        return records, broken
    return records, None


def _data(body: bytes | None) -> dict[str, Any] | None:
    if body is None:
        return None
    content = parse_json(body)
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict):
        raise ValueError("its body has no data")
    return data
