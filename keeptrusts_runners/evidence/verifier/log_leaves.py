"""All leaves of the log, which the reader got beside the bundle: no session hides a later record.

An inclusion proof shows that a record is in the log; only who sees all of it sees that no later
one is. The file has a line for each leaf, as /v1/runners/evidence/leaves gives them.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from pathlib import Path

from keeptrusts_runners.evidence.checkpoint import TreeHead
from keeptrusts_runners.evidence.leaves import AUDIT_LEAF, ROLLBACK_LEAF, SESSION_LEAF, Leaf
from keeptrusts_runners.evidence.merkle import Spine, leaf_hash
from keeptrusts_runners.evidence.verifier.report import Report, Unusable, shown
from keeptrusts_runners.evidence.verifier.signed import Statement
from keeptrusts_runners.evidence.verifier.typeid import uuid_bytes

_LEAF_LINE = re.compile(
    rb'\{"index":(0|[1-9][0-9]{0,18}),"kind":"([a-z]{1,8})","subject":"([a-z]{1,8}_[0-9a-z]{26})",'
    rb'"seq":(0|[1-9][0-9]{0,18}),"hash":"([0-9a-f]{64})"\}\n'
)
_SUBJECT_PREFIX = {SESSION_LEAF: "sess", AUDIT_LEAF: "aud", ROLLBACK_LEAF: "org"}
_MAX_LEAF_LINE_BYTES = 1024


def check_leaves(
    path: Path, heads: list[TreeHead], statement: Statement, records: int | None, report: Report
) -> None:
    """That the leaves are those of the checkpoints, and that none of this session is later than
    its last record; `records` is None where the chain is broken. Raises Unusable."""
    if not heads:
        raise Unusable("--leaves needs a checkpoint: the bundle has none")
    spine, newest = Spine(), 0
    roots = {head.size: head.root for head in heads}
    for leaf in _read_leaves(path, statement):
        spine.append(leaf_hash(leaf.entry()))
        expected = roots.pop(spine.size, None)
        if expected is not None and expected != spine.root():
            report.break_at("leaves", f"they are not those of the checkpoint of size {spine.size}")
        if leaf.kind == SESSION_LEAF and leaf.subject == statement.session:
            newest = max(newest, leaf.seq)
    if roots:
        raise Unusable(f"--leaves has {spine.size} leaves, the checkpoint {max(roots)}")
    if records is not None and newest > records:
        detail = f"it is missing: the organization's log has record {newest} of this session"
        report.break_record(records + 1, detail)
    elif not report.problems:
        report.check("Leaves", f"all {spine.size} of the log; none is of a later record")


def _read_leaves(path: Path, statement: Statement) -> Iterator[Leaf]:
    try:
        with path.open("rb") as file:
            for index, line in enumerate(iter(lambda: file.readline(_MAX_LEAF_LINE_BYTES), b"")):
                yield _leaf_of_line(line, index, statement)
    except (OSError, ValueError) as error:
        raise Unusable(f"--leaves {shown(str(path))}: {error}") from None


def _leaf_of_line(line: bytes, index: int, statement: Statement) -> Leaf:
    match = _LEAF_LINE.fullmatch(line)
    if match is None or int(match[1]) != index:
        raise ValueError(f"line {index + 1} is not leaf {index}")
    kind, subject = match[2].decode(), match[3].decode()
    if kind not in _SUBJECT_PREFIX:
        raise ValueError(f"leaf {index} is of a kind that needs a newer verifier")
    raw = uuid_bytes(_SUBJECT_PREFIX[kind], subject)
    return Leaf(statement.organization, kind, raw, int(match[4]), binascii.unhexlify(match[5]))
