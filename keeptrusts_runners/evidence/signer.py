"""The signer, the only writer of the organizations' logs.

A pass takes what waits, appends it to each organization's tree, signs the tree's head and commits;
then it writes the checkpoint to a file outside the database, and only then is it published. So a
crash leaves the file behind the database, never ahead of it, and the next pass catches up. A
database that is behind its file has been rolled back: nothing is signed over that until an
operator has decided.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
import structlog
from django.conf import settings
from django.db import connections, transaction

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import log_keys, log_proofs
from keeptrusts_runners.evidence.checkpoint import (
    SignedCheckpoint,
    TreeHead,
    log_origin,
    sign_checkpoint,
)
from keeptrusts_runners.evidence.checkpoint_file import SUFFIX, CheckpointFile
from keeptrusts_runners.evidence.leaves import ROLLBACK_LEAF, Leaf
from keeptrusts_runners.evidence.merkle import leaf_hash, root_of_nodes
from keeptrusts_runners.evidence.tiles import DamagedLog, NodeReader, Tile, grow
from keeptrusts_runners.keys import KeyFileRefused, SigningKey

log = structlog.get_logger(__name__)

EVERY_SECONDS = 3.0
BATCH = 5000
# The duties of the maintenance loop share one thread: what is left waits for the next pass.
PASS_SECONDS = 1.0

# One probe of evidence_pending's key for each organization; oldest first, so that none starves.
_WAITING = """
WITH RECURSIVE first AS (
  (SELECT organization_id, at FROM evidence_pending ORDER BY organization_id, id LIMIT 1)
  UNION ALL
  SELECT next.organization_id, next.at FROM first, LATERAL (
    SELECT organization_id, at FROM evidence_pending
     WHERE organization_id > first.organization_id ORDER BY organization_id, id LIMIT 1) next
)
SELECT organization_id FROM first ORDER BY at
"""
_LOGS = "SELECT organization_id, size, published_size, refused FROM evidence_log"
_OPEN = """
INSERT INTO evidence_log (organization_id, size, root, published_size, refused)
VALUES (%s, 0, sha256(''), 0, '') ON CONFLICT DO NOTHING
"""
# Held to the end of the transaction: of two signers the second finds what the first has done.
_LOCK = """
SELECT size, root, published_size, refused FROM evidence_log
 WHERE organization_id = %s FOR UPDATE
"""
# Ids are given out under the head's lock, so those of one session are in the order of its chain;
# a record that commits late is in a later batch.
_TAKE = """
DELETE FROM evidence_pending p USING (
  SELECT id FROM evidence_pending WHERE organization_id = %(organization)s
   ORDER BY id LIMIT %(batch)s) taken
 WHERE p.organization_id = %(organization)s AND p.id = taken.id
RETURNING p.id, p.kind, p.subject, p.seq, p.hash
"""
_PUT_TILES = """
INSERT INTO evidence_tile (organization_id, level, index, hashes)
SELECT %b, * FROM unnest(%b::smallint[], %b::bigint[], %b::bytea[])
    ON CONFLICT (organization_id, level, index) DO UPDATE SET hashes = excluded.hashes
"""
_PUT_LEAVES = """
INSERT INTO evidence_leaf (organization_id, index, kind, subject, seq, hash)
SELECT %b, * FROM unnest(%b::bigint[], %b::text[], %b::uuid[], %b::bigint[], %b::bytea[])
"""
_GROW = "UPDATE evidence_log SET size = %s, root = %s WHERE organization_id = %s"
_PUT_CHECKPOINT = """
INSERT INTO evidence_checkpoint (organization_id, size, root, note) VALUES (%s, %s, %s, %s)
"""
_ROOT_AT = "SELECT root FROM evidence_checkpoint WHERE organization_id = %s AND size = %s"
_SINCE = """
SELECT size, note FROM evidence_checkpoint WHERE organization_id = %s AND size > %s ORDER BY size
"""
_PUBLISH = """
UPDATE evidence_log SET published_size = %s, refused = '', refused_since = NULL
 WHERE organization_id = %s
"""
_REFUSE = """
UPDATE evidence_log SET refused = %s, refused_since = clock_timestamp()
 WHERE organization_id = %s AND refused <> %s
"""

# What this process has said already, by organization: a pass comes every few seconds.
_told: dict[UUID | None, str] = {}


class RolledBack(Exception):  # noqa: N818 - says what the database is
    """The database has less of a log, or another one, than the file outside it."""


@dataclass(frozen=True, slots=True)
class _Log:
    organization_id: UUID
    size: int
    root: bytes
    published_size: int
    refused: str


def run_once() -> Counter[str]:
    """One pass over all organizations, for PASS_SECONDS at most; one that fails stops no other."""
    try:
        keys = log_keys.signing_keys()
    except (KeyFileRefused, log_keys.UnknownLogKey, OSError) as error:
        if _say(None, error):
            log.error("log.no_key", reason=str(error))
        return Counter(no_key=1)
    _told.pop(None, None)
    counts: Counter[str] = Counter()
    until = time.monotonic() + PASS_SECONDS
    _watch_for_rollback(counts)
    while work := _organizations_with_work():
        before = counts["leaves"]
        for organization_id in work:
            counts += _anchor_apart(organization_id, keys)
            if time.monotonic() > until:
                return counts
        if counts["leaves"] == before:
            break
    return counts


def anchor(organization_id: UUID, keys: Sequence[SigningKey] | None = None) -> Counter[str]:
    """Append what waits for one organization, at most BATCH, sign and publish.

    Raises RolledBack, DamagedLog, and what a database or a file raises.
    """
    signing = keys or log_keys.signing_keys()
    with transaction.atomic(using="signer"):
        found = _locked(organization_id)
        _require_not_rolled_back(found, _file(organization_id))
        appended = _append(found, _taken(organization_id), signing)
    published = _publish(organization_id)
    return Counter(leaves=appended, checkpoints=published)


def accept_rollback(organization_id: UUID) -> tuple[int, int]:
    """Go on from what the database has, as an operator has decided, and say so in the log itself:
    a leaf names the size and root that were given up. The file is kept under another name.

    Answers the size that was and the one that is. Raises RolledBack if the log is not.
    """
    keys = log_keys.signing_keys()
    with transaction.atomic(using="signer"):
        found = _locked(organization_id)
        file = _file(organization_id)
        last = file.last()
        if last is None or not _is_rolled_back(found, last.head):
            raise RolledBack("It is not rolled back: there is nothing to accept.")
        organization = organization_id.bytes
        given_up = Leaf(organization, ROLLBACK_LEAF, organization, last.head.size, last.head.root)
        _append(found, [given_up], keys)
    # Afterwards: stopped before this, it is refused as before, and can be accepted again.
    aside = file.set_aside()
    _publish(organization_id)
    _told.pop(organization_id, None)
    log.warning(
        "log.rollback_accepted",
        organization=ids.encode("org", organization_id),
        was=last.head.size,
        now=found.size,
        file=str(aside),
    )
    return last.head.size, found.size


# --- one organization ------------------------------------------------------------------------


def _anchor_apart(organization_id: UUID, keys: Sequence[SigningKey]) -> Counter[str]:
    try:
        counts = anchor(organization_id, keys)
    except Exception as error:
        if not connections["signer"].is_usable():
            raise
        _refuse(organization_id, error)
        return Counter(refused=1)
    _told.pop(organization_id, None)
    return counts


def _locked(organization_id: UUID) -> _Log:
    with connections["signer"].cursor() as cursor:
        cursor.execute(_OPEN, [organization_id])
        cursor.execute(_LOCK, [organization_id])
        size, root, published_size, refused = cursor.fetchone()
    return _Log(organization_id, size, bytes(root), published_size, refused)


def _taken(organization_id: UUID) -> list[Leaf]:
    """What waits, the oldest first, and of each session only the newest head."""
    with connections["signer"].cursor() as cursor:
        cursor.execute(_TAKE, {"organization": organization_id, "batch": BATCH})
        rows = sorted(cursor.fetchall())
    newest = {(kind, subject): (seq, hashed) for _, kind, subject, seq, hashed in rows}
    return [
        Leaf(organization_id.bytes, kind, subject.bytes, seq, bytes(hashed))
        for (kind, subject), (seq, hashed) in newest.items()
    ]


def _append(found: _Log, leaves: list[Leaf], keys: Sequence[SigningKey]) -> int:
    """Grow the tree and sign its head. Raises DamagedLog if it is not the tree that was signed."""
    if not leaves:
        return 0
    stored = log_proofs.nodes(found.organization_id, using="signer")
    if root_of_nodes(found.size, stored) != found.root:
        raise DamagedLog(f"the tree of {found.size} leaves has another root than was signed")
    grown = grow(found.size, [leaf_hash(leaf.entry()) for leaf in leaves], stored.tile)
    size = found.size + len(leaves)
    root = root_of_nodes(size, NodeReader(lambda tile: grown.get(tile) or stored.tile(tile)))
    origin = log_origin(ids.encode("org", found.organization_id))
    note = sign_checkpoint(TreeHead(origin, size, root), keys).note()
    _store(found, leaves, grown)
    with connections["signer"].cursor() as cursor:
        cursor.execute(_GROW, [size, root, found.organization_id])
        cursor.execute(_PUT_CHECKPOINT, [found.organization_id, size, root, note])
    return len(leaves)


def _store(found: _Log, leaves: list[Leaf], grown: dict[Tile, bytes]) -> None:
    tiles = [(level, index, hashes) for (level, index), hashes in grown.items()]
    rows = [
        (index, leaf.kind, UUID(bytes=leaf.subject), leaf.seq, leaf.hash)
        for index, leaf in enumerate(leaves, start=found.size)
    ]
    # Django's own cursor merges parameters on the client, which has no binary form.
    with psycopg.Cursor(connections["signer"].connection) as cursor:
        for statement, values in ((_PUT_TILES, tiles), (_PUT_LEAVES, rows)):
            columns = [list(column) for column in zip(*values, strict=True)]
            cursor.execute(statement, [found.organization_id, *columns])


# --- the file outside ------------------------------------------------------------------------


def _file(organization_id: UUID) -> CheckpointFile:
    name = ids.encode("org", organization_id) + SUFFIX
    return CheckpointFile(settings.CHECKPOINTS_DIR / name)


def _publish(organization_id: UUID) -> int:
    """Write to the file what it lacks, then let everybody have it. Whatever ends us in between,
    this is done again and writes nothing twice."""
    with transaction.atomic(using="signer"), connections["signer"].cursor() as cursor:
        found = _locked(organization_id)
        file = _file(organization_id)
        last = file.last()
        if last is None and found.published_size:
            log.warning("log.file_is_new", file=str(file.path), size=found.published_size)
        cursor.execute(_SINCE, [organization_id, last.head.size if last else found.published_size])
        lacking = cursor.fetchall()
        if lacking:
            settings.CHECKPOINTS_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
            file.append(note for _, note in lacking)
        if lacking or found.published_size < found.size or found.refused:
            cursor.execute(_PUBLISH, [found.size, organization_id])
    return len(lacking)


def _require_not_rolled_back(found: _Log, file: CheckpointFile) -> None:
    last = file.last()
    if last is not None and _is_rolled_back(found, last.head):
        raise RolledBack(_rolled_back(last.head.size, found.size))


def _is_rolled_back(found: _Log, last: TreeHead) -> bool:
    """Whether the database lacks the file's last checkpoint, or has another one of its size."""
    if last.size > found.size:
        return True
    with connections["signer"].cursor() as cursor:
        cursor.execute(_ROOT_AT, [found.organization_id, last.size])
        row = cursor.fetchone()
    return row is None or bytes(row[0]) != last.root


def _rolled_back(was: int, size: int) -> str:
    if size < was:
        return f"The database was rolled back from size {was} to {size}."
    return f"The database has another log of size {was} than was published."


def _watch_for_rollback(counts: Counter[str]) -> None:
    """A log that nothing waits for may be rolled back as well."""
    sizes = {organization_id: size for organization_id, size, *_ in _logs()}
    for path in sorted(settings.CHECKPOINTS_DIR.glob(f"*{SUFFIX}")):
        try:
            organization_id = ids.decode("org", path.name.removesuffix(SUFFIX))
        except ValueError:
            continue  # Somebody else's file.
        try:
            _require_as_large(sizes.get(organization_id, 0), CheckpointFile(path).last())
        except (RolledBack, ValueError, OSError) as error:
            _refuse(organization_id, error)
            counts["refused"] += 1


def _require_as_large(size: int, last: SignedCheckpoint | None) -> None:
    if last is not None and last.head.size > size:
        raise RolledBack(_rolled_back(last.head.size, size))


# --- all of them -----------------------------------------------------------------------------


def _organizations_with_work() -> list[UUID]:
    """Those that longest waited first; at the end those that were refused, so that however many
    they are, the others have their turn."""
    with connections["signer"].cursor() as cursor:
        cursor.execute(_WAITING)
        waiting = [organization_id for (organization_id,) in cursor.fetchall()]
    logs = _logs()
    unpublished = [each for each, size, published_size, _ in logs if published_size < size]
    refused = dict.fromkeys(each for each, *_, reason in logs if reason)
    work = dict.fromkeys(waiting + unpublished)
    return [each for each in work if each not in refused] + list(refused)


def _logs() -> list[tuple[UUID, int, int, str]]:
    with connections["signer"].cursor() as cursor:
        cursor.execute(_LOGS)
        return list(cursor.fetchall())


def _refuse(organization_id: UUID, error: Exception) -> None:
    """Say that nothing is signed for an organization, and keep why for the metrics."""
    reason = f"{type(error).__name__}: {error}".strip()
    if _say(organization_id, error):
        log.error(
            "log.not_signed",
            organization=ids.encode("org", organization_id),
            reason=reason,
            exc_info=None if isinstance(error, (RolledBack, DamagedLog)) else error,
        )
    with transaction.atomic(using="signer"), connections["signer"].cursor() as cursor:
        cursor.execute(_OPEN, [organization_id])
        cursor.execute(_REFUSE, [reason, organization_id, reason])


def _say(organization_id: UUID | None, error: Exception) -> bool:
    """Whether this is something new."""
    said = _told.get(organization_id)
    _told[organization_id] = str(error)
    return said != str(error)
