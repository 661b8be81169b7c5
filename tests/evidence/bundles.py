"""A session as the server would have recorded it, and its bundle, whole or tampered with.

`Recorded` is the truth in the database; `Bundle` is the exported file, member by member. Tests
change either: the first stands for a tampered server that still has its key, the second for
somebody who has only the file.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import (
    bundle_writer,
    chain,
    checkpoint,
    dsse,
    layout,
    merkle,
    records,
    statement,
)
from keeptrusts_runners.evidence.file_names import Listed, sums
from keeptrusts_runners.evidence.leaves import SESSION_LEAF, Leaf
from keeptrusts_runners.keys import SigningKey

START_US = 1_767_225_600_000_000
FILES = {"report.json": b'{"files": 2}\n', "bundle.tar.gz": bytes(range(256)) * 8}


def uuid(number: int) -> UUID:
    """A UUIDv7 that is the same in every run."""
    return UUID(int=0x019B_0000_0000_7000_8000_0000_0000_0000 + number)


ORGANIZATION, SESSION, PROFILE, HARNESS = uuid(1), uuid(2), uuid(3), uuid(4)
GRANT, USER, RUNNER = uuid(5), uuid(6), uuid(7)
PERSON, MACHINE = ids.encode("user", USER), ids.encode("sa", RUNNER)


@dataclass
class Row:
    """One row of the ledger's table."""

    at: int
    kind: str
    actor: str
    epoch: int
    body: bytes | None
    salt: bytes | None
    body_digest: bytes
    hash: bytes = b""

    @property
    def header(self):
        return self.at, self.kind, self.actor, self.epoch, self.body_digest


@dataclass
class Log:
    """An organization's log with this session's leaves among others'."""

    keys: list[SigningKey]
    organization: UUID = ORGANIZATION
    leaves: list[Leaf] = field(default_factory=list)

    def append(self, recorded: Recorded, seq: int | None = None) -> Log:
        """Anchor a session's record, its last if none is named."""
        seq = seq or len(recorded.rows)
        self.leaves.append(
            Leaf(
                self.organization.bytes,
                SESSION_LEAF,
                recorded.session.bytes,
                seq,
                recorded.rows[seq - 1].hash,
            )
        )
        return self

    def fill(self, number: int) -> Log:
        """Leaves of other sessions."""
        for count in range(number):
            subject = uuid(5000 + len(self.leaves) + count)
            hashed = hashlib.sha256(subject.bytes).digest()
            self.leaves.append(
                Leaf(self.organization.bytes, SESSION_LEAF, subject.bytes, 1, hashed)
            )
        return self

    def hashes(self) -> list[bytes]:
        return [merkle.leaf_hash(leaf.entry()) for leaf in self.leaves]

    def nodes(self, node: merkle.Node) -> bytes:
        level, index = node
        return merkle.root_of_leaves(self.hashes()[index << level : (index + 1) << level])

    def head(self, size: int | None = None) -> checkpoint.TreeHead:
        size = size or len(self.leaves)
        origin = checkpoint.log_origin(ids.encode("org", self.organization))
        return checkpoint.TreeHead(origin, size, merkle.root_of_leaves(self.hashes()[:size]))

    def note(self, size: int | None = None) -> bytes:
        return checkpoint.sign_checkpoint(self.head(size), self.keys).note().encode()

    def anchor(self, recorded: Recorded) -> tuple[dict | None, bytes]:
        """anchor.json and checkpoint.txt for the session's newest leaf."""
        own = [n for n, leaf in enumerate(self.leaves) if leaf.subject == recorded.session.bytes]
        if not own:
            return None, b""
        leaf, index = self.leaves[own[-1]], own[-1]
        proof = merkle.inclusion_proof(index, len(self.leaves), self.nodes)
        named = {
            "kind": leaf.kind,
            "subject": ids.encode("sess", UUID(bytes=leaf.subject)),
            "seq": leaf.seq,
            "hash": leaf.hash.hex(),
        }
        anchor = {"leaf": named, "index": index, "proof": [each.hex() for each in proof]}
        return anchor, self.note()

    def consistency(self, old: int, new: int) -> dict:
        proof = merkle.consistency_proof(old, new, self.nodes)
        return {"from": old, "to": new, "proof": [each.hex() for each in proof]}


@dataclass
class Recorded:
    """One session in the database."""

    organization: UUID = ORGANIZATION
    session: UUID = SESSION
    state: str = ""
    rows: list[Row] = field(default_factory=list)
    transitions: list[dict] = field(default_factory=list)
    grants: list[dict] = field(default_factory=list)
    artifacts: list[dict] = field(default_factory=list)
    checkpoints: list[dict] = field(default_factory=list)
    completeness: list[dict] = field(default_factory=list)
    refusals: list[dict] = field(default_factory=list)
    log: Log | None = None
    random: random.Random = field(default_factory=lambda: random.Random(7))

    def add(self, kind, data=None, *, actor=MACHINE, epoch=1, at=None, **content):
        body = {"id": ids.encode("evt", uuid(1000 + len(self.rows))), "level": "info", **content}
        if data is not None:
            body["data"] = data
        stored = json.dumps(body, separators=(",", ":"), sort_keys=True).encode()
        salt = self.random.randbytes(32)
        at = START_US + 1000 * len(self.rows) if at is None else at
        digest = chain.body_digest(salt, stored)
        row = Row(at, kind, actor, epoch, stored, salt, digest)
        self.rows.append(row)
        row.hash = self._hashes(len(self.rows) - 1, [row])[0]
        return len(self.rows)

    def become(self, state, verb, *, reason=None, epoch=1, **options):
        data = {"verb": verb, "from": self.state or None, "to": state}
        data |= {"reason": reason, "attempt": epoch}
        seq = self.add(f"state.{state}", data, epoch=epoch, **options)
        actor = self.rows[-1].actor
        line = {"seq": seq, **data, "actor": actor, "lease_epoch": epoch}
        self.transitions.append(line)
        self.state = state
        return seq

    def rechain(self, start=0):
        """What somebody does who has changed rows and can write the table."""
        for row, value in zip(
            self.rows[start:], self._hashes(start, self.rows[start:]), strict=True
        ):
            row.hash = value

    def _hashes(self, start, rows):
        head = self.rows[start - 1].hash if start else chain.GENESIS
        headers = [row.header for row in rows]
        return chain.extend(self.organization.bytes, self.session.bytes, start, head, headers)

    def redact(self, first, last, *, tombstone=True):
        for row in self.rows[first - 1 : last]:
            row.body = row.salt = None
        if tombstone:
            self.add("evidence.redacted", {"ranges": [[first, last]]}, actor="system", epoch=0)

    def session_document(self):
        return {
            "id": ids.encode("sess", self.session),
            "organization_id": ids.encode("org", self.organization),
            "profile_id": ids.encode("prof", PROFILE),
            "harness_id": ids.encode("harn", HARNESS),
            "state": self.state,
        }

    def predicate(self):
        return statement.session_predicate(
            organization_id=ids.encode("org", self.organization),
            session_id=ids.encode("sess", self.session),
            state=self.state,
            head_seq=len(self.rows),
            head_hash=self.rows[-1].hash if self.rows else chain.GENESIS,
            generated_at=datetime(2026, 1, 1, 12, tzinfo=UTC),
        )

    def files(self, key):
        anchor, note = self.log.anchor(self) if self.log else (None, b"")
        keys = [key.public_jwk() | {"purpose": "bundles"}]
        if self.log:
            keys += [each.public_jwk() | {"purpose": "checkpoints"} for each in self.log.keys]
        harness = {"id": ids.encode("harn", HARNESS), "image_digest": "sha256:" + "0" * 64}
        return [
            (layout.SESSION, _json(self.session_document())),
            (layout.PROFILE, _json({"id": ids.encode("prof", PROFILE)})),
            (layout.HARNESS, _json(harness)),
            (layout.TRANSITIONS, b"".join(_json(line) for line in self.transitions)),
            (layout.EVENTS, (line(seq, row) for seq, row in enumerate(self.rows, start=1))),
            (layout.GRANTS, _json(self.grants)),
            (layout.ARTIFACTS, _json(self.artifacts)),
            (layout.SUMS, self.sums()),
            (layout.CHECKPOINTS, _json(self.checkpoints)),
            (layout.COMPLETENESS, _json(self.completeness)),
            (layout.REFUSALS, _json(self.refusals)),
            (layout.ANCHOR, _json(anchor)),
            (layout.LOG_CHECKPOINT, note),
            (layout.KEYS, _json({"keys": keys})),
        ]

    def sums(self):
        listed = [Listed(str(a["id"]), str(a["name"]), a["sha256"]) for a in self.artifacts]
        return "".join(sums(listed)).encode()

    def export(self, key) -> bytes:
        out = io.BytesIO()
        bundle_writer.write_bundle(out, self.files(key), self.predicate(), key)
        return out.getvalue()

    def copy(self) -> Recorded:
        return copy.deepcopy(self)


def line(seq: int, row: Row) -> bytes:
    """A record as events.ndjson has it."""
    return records.encode_record(seq, row.header, row.body, row.salt, row.hash)


def a_session(events: int = 20) -> Recorded:
    """A session from dispatch to completion with all that a bundle can tell of."""
    recorded = Recorded()
    recorded.become("pending", "dispatch", actor=PERSON, epoch=0)
    recorded.become("dispatched", "claim")
    recorded.add("lease.granted", {"epoch": 1})
    recorded.become("running", "heartbeat")
    grant = {"grant_id": ids.encode("grant", GRANT), "operation": "files.read"}
    recorded.add("grant.requested", grant)
    recorded.add("grant.activated", grant, actor=PERSON)
    recorded.grants.append({"id": grant["grant_id"], "operation": "files.read", "state": "ended"})
    for number in range(1, events + 1):
        recorded.add("log", {"n": number}, message=f"line {number}", client_seq=number)
    for number, (name, content) in enumerate(FILES.items()):
        _store(recorded, number, name, content)
    point = {"number": 1, "digest": "sha256:" + "1" * 64}
    recorded.add("checkpoint.recorded", point)
    recorded.checkpoints.append(point)
    recorded.add("grant.used", grant)
    seq = recorded.become("completed", "complete")
    recorded.add("grant.ended", grant, actor="system", at=recorded.rows[seq - 1].at)
    recorded.add("note", {"text": "looked at"}, actor=PERSON, epoch=0)
    recorded.completeness.append(
        {"epoch": 1, "declared": events, "received": events, "missing": []}
    )
    return recorded


LOG_KEY = SigningKey.generate()


def anchored(recorded: Recorded, key: SigningKey = LOG_KEY) -> Recorded:
    """With a log of the organization that has the session's last record."""
    recorded.log = Log([key]).fill(3).append(recorded).fill(4)
    return recorded


def _store(recorded: Recorded, number: int, name: str, content: bytes) -> None:
    artifact = {
        "name": name,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    artifact_id = ids.encode("art", uuid(100 + number))
    recorded.add("artifact.stored", {"artifact_id": artifact_id, **artifact})
    recorded.artifacts.append({"id": artifact_id, **artifact})


@dataclass
class Bundle:
    """The members of an exported file; `pack` writes them without asking what they say."""

    members: list[tuple[str, bytes]]

    @classmethod
    def open(cls, archive: bytes) -> Bundle:
        members, position = [], 0
        while (header := archive[position : position + 512]) != bytes(512):
            size = int(header[124:135], 8)
            start = position + 512
            members.append((header[:100].rstrip(b"\0").decode(), archive[start : start + size]))
            position = start + size + -size % 512
        return cls(members)

    def __getitem__(self, name: str) -> bytes:
        return dict(self.members)[name]

    def replace(self, name: str, content: bytes) -> Bundle:
        return Bundle([(n, content if n == name else old) for n, old in self.members])

    def without(self, name: str) -> Bundle:
        return Bundle([member for member in self.members if member[0] != name])

    def lines(self) -> list[bytes]:
        return self[layout.EVENTS].splitlines(keepends=True)

    def with_lines(self, lines: list[bytes]) -> Bundle:
        return self.replace(layout.EVENTS, b"".join(lines))

    def statement(self) -> dict:
        return json.loads(dsse.decode_envelope(self[layout.STATEMENT]).payload)

    def resign(self, key: SigningKey | None, document: dict | None = None) -> Bundle:
        """A statement over the members as they are now; without a key, the old signature."""
        document = document or self.statement()
        for subject in document["subject"]:
            if subject["name"] in dict(self.members):
                content = self[subject["name"]]
                subject["digest"]["sha256"] = hashlib.sha256(content).hexdigest()
        payload = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        if key is not None:
            envelope = dsse.sign_envelope(dsse.IN_TOTO, payload, key)
        else:
            old = dsse.decode_envelope(self[layout.STATEMENT])
            envelope = dsse.Envelope(old.payload_type, payload, old.signatures)
        return self.replace(layout.STATEMENT, envelope.encode())

    def pack(self) -> bytes:
        parts = []
        for name, content in self.members:
            parts += [layout.tar_header(name, len(content)), content]
            parts.append(layout.tar_padding(len(content)))
        return b"".join([*parts, layout.END])


def _json(value) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
