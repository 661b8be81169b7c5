"""The bundle's anchor: a leaf of the organization's log, and the signed checkpoint that has it.

Whoever holds the bundle's key alone cannot make one: checkpoints are signed with another key, and
are kept elsewhere too.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners.evidence.checkpoint import (
    SignedCheckpoint,
    TreeHead,
    log_origin,
    read_checkpoint,
)
from keeptrusts_runners.evidence.layout import ANCHOR, LOG_CHECKPOINT
from keeptrusts_runners.evidence.leaves import SESSION_LEAF, Leaf
from keeptrusts_runners.evidence.merkle import is_consistent, is_included, leaf_hash
from keeptrusts_runners.evidence.verifier.archive import Archive
from keeptrusts_runners.evidence.verifier.ledger import Ledger
from keeptrusts_runners.evidence.verifier.report import Report, Unusable, shown
from keeptrusts_runners.evidence.verifier.signed import Statement
from keeptrusts_runners.evidence.verifier.strict_json import parse_json
from keeptrusts_runners.evidence.verifier.typeid import uuid_bytes

_ANCHOR_HASH = re.compile(r"[0-9a-f]{64}")
# A tree of 2^64 leaves is 64 levels high.
_MAX_PROOF_HASHES = 128
_MAX_PROOF_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Anchor:
    """What anchor.json and checkpoint.txt say."""

    session_id: str
    leaf_kind: str
    seq: int
    hash: bytes
    index: int
    proof: list[bytes]
    checkpoint: SignedCheckpoint


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint that the reader kept from elsewhere, and a consistency proof if there is one."""

    head: TreeHead
    proof_sizes: tuple[int, int] | None
    proof: list[bytes]


def read_anchor(archive: Archive, report: Report) -> Anchor | None:
    """None if the bundle has none, or one that cannot be read, which is then reported."""
    if ANCHOR not in archive.members or LOG_CHECKPOINT not in archive.members:
        return None
    where = ANCHOR
    try:
        document = parse_json(archive.read(ANCHOR))
        where = LOG_CHECKPOINT
        note = archive.read(LOG_CHECKPOINT)
        if document is None and not note:
            return None
        checkpoint = read_checkpoint(note)
        where = ANCHOR
        return _anchor_of_json(document, checkpoint)
    except ValueError as error:
        report.break_at(where, str(error))
    except (KeyError, TypeError):
        report.break_at(where, "it is not an anchor")
    return None


def _anchor_of_json(document: Any, checkpoint: SignedCheckpoint) -> Anchor:
    leaf = document["leaf"]
    numbers = (leaf["seq"], document["index"])
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise TypeError("not a number")
    return Anchor(
        session_id=leaf["subject"],
        leaf_kind=leaf["kind"],
        seq=leaf["seq"],
        hash=_hash_of_hex(leaf["hash"]),
        index=document["index"],
        proof=_proof_of_json(document["proof"]),
        checkpoint=checkpoint,
    )


def check_anchor(anchor: Anchor, statement: Statement, report: Report) -> None:
    """That the checkpoint is of this organization's log, and has this leaf of this session."""
    head = anchor.checkpoint.head
    if head.origin != log_origin(statement.organization_id):
        report.break_at(LOG_CHECKPOINT, f"it is of another log, {shown(head.origin)}")
    elif (anchor.leaf_kind, anchor.session_id) != (SESSION_LEAF, statement.session_id):
        report.break_at(ANCHOR, "the leaf is of something else than this session")
    elif not _is_in_log(anchor, statement):
        report.break_at(ANCHOR, "the proof does not show that the log has this leaf")
    else:
        place = f"leaf {anchor.index} of {head.size}"
        report.check("Anchor", f"record {anchor.seq} is {place} in the organization's log")


def _is_in_log(anchor: Anchor, statement: Statement) -> bool:
    leaf = Leaf(
        statement.organization,
        anchor.leaf_kind,
        uuid_bytes("sess", anchor.session_id),
        anchor.seq,
        anchor.hash,
    )
    head = anchor.checkpoint.head
    return is_included(leaf_hash(leaf.entry()), anchor.index, head.size, anchor.proof, head.root)


def check_anchored_record(anchor: Anchor, ledger: Ledger, report: Report) -> None:
    """That the anchored head is a record of this chain; names those that came after it."""
    if anchor.seq > ledger.seq:
        detail = f"it is missing: the organization's log has record {anchor.seq} of this session"
        report.break_record(ledger.seq + 1, detail)
    elif ledger.watched_hash != anchor.hash:
        report.break_record(anchor.seq, "it is not the one that the organization's log has")
    elif anchor.seq < ledger.seq:
        report.lacks(
            f"an anchor of records {anchor.seq + 1} to {ledger.seq}: they came after the checkpoint"
        )


# --- a checkpoint from elsewhere -------------------------------------------------------------


def read_kept(checkpoint: Path, consistency: Path | None) -> KeptCheckpoint:
    """What --checkpoint and --consistency name. Raises Unusable."""
    try:
        head = read_checkpoint(_content(checkpoint)).head
    except (OSError, ValueError) as error:
        raise Unusable(f"--checkpoint {shown(str(checkpoint))}: {error}") from None
    if consistency is None:
        return KeptCheckpoint(head, None, [])
    try:
        document = parse_json(_content(consistency))
        sizes = (document["from"], document["to"])
        return KeptCheckpoint(head, sizes, _proof_of_json(document["proof"]))
    except (OSError, ValueError) as error:
        raise Unusable(f"--consistency {shown(str(consistency))}: {error}") from None
    except (KeyError, TypeError):
        text = shown(str(consistency))
        raise Unusable(f"--consistency {text}: not a consistency proof") from None


def check_kept(kept: KeptCheckpoint, checkpoint: SignedCheckpoint, report: Report) -> None:
    """That the bundle's log and the one that the reader knows are one. Raises Unusable where that
    needs a proof that was not given."""
    ours, theirs = checkpoint.head, kept.head
    if ours.origin != theirs.origin:
        report.break_at(LOG_CHECKPOINT, f"the one you kept is of {shown(theirs.origin)}")
        return
    old, new = sorted((ours, theirs), key=lambda head: head.size)
    if old.size == new.size:
        holds = old.root == new.root
    elif kept.proof_sizes != (old.size, new.size):
        if report.problems:
            return
        route = f"/v1/runners/evidence/consistency?from={old.size}&to={new.size}"
        raise Unusable(f"--checkpoint needs --consistency FILE, with the answer of GET {route}")
    else:
        holds = is_consistent(old.size, old.root, new.size, new.root, kept.proof)
    if holds:
        report.check("Log", f"consistent with the checkpoint of size {theirs.size} that you kept")
    else:
        detail = f"the log is not the one of the checkpoint of size {theirs.size} that you kept"
        report.break_at(LOG_CHECKPOINT, detail)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_PROOF_FILE_BYTES)


def _proof_of_json(proof: Any) -> list[bytes]:
    if not isinstance(proof, list) or len(proof) > _MAX_PROOF_HASHES:
        raise TypeError("not a proof")
    return [_hash_of_hex(each) for each in proof]


def _hash_of_hex(text: Any) -> bytes:
    if not isinstance(text, str) or not _ANCHOR_HASH.fullmatch(text):
        raise TypeError("not a hash in hex")
    return binascii.unhexlify(text)
