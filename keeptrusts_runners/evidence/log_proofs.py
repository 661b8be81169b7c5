"""What can be proved of an organization's log: reads what the signer has published.

Call within the organization's scope. A published checkpoint is one that the file outside the
database has too; what is appended after it is not shown yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db import connections
from django.db.models import QuerySet

from keeptrusts_runners.errors import InvalidParameter, NotAnchored, NotFound
from keeptrusts_runners.evidence.log_models import Log, LogCheckpoint, LogLeaf
from keeptrusts_runners.evidence.merkle import consistency_proof, inclusion_proof
from keeptrusts_runners.evidence.tiles import NodeReader, Tile
from keeptrusts_runners.identity.tenancy import organization_scope

_CHUNK_ROWS = 2000

# By the primary key.
_TILE = "SELECT hashes FROM evidence_tile WHERE organization_id = %s AND level = %s AND index = %s"


@dataclass(frozen=True, slots=True)
class Inclusion:
    """The newest published leaf of a subject, and its proof under the newest checkpoint."""

    leaf: LogLeaf
    proof: list[bytes]
    checkpoint: LogCheckpoint


@dataclass(frozen=True, slots=True)
class Consistency:
    old: int
    new: int
    proof: list[bytes]


def published_size(organization_id: UUID) -> int:
    found = Log.objects.filter(organization_id=organization_id).first()
    return found.published_size if found else 0


def checkpoints(organization_id: UUID) -> QuerySet[LogCheckpoint]:
    """All that are published. Served by the primary key."""
    size = published_size(organization_id)
    return LogCheckpoint.objects.filter(organization_id=organization_id, size__lte=size)


def leaves(organization_id: UUID) -> QuerySet[LogLeaf]:
    """All that are published. Served by the primary key."""
    size = published_size(organization_id)
    return LogLeaf.objects.filter(organization_id=organization_id, index__lt=size)


def stream_leaves(organization_id: UUID) -> Iterator[LogLeaf]:
    """All of them in order; opens the scope it reads in."""
    with organization_scope(organization_id, snapshot=True):
        yield from leaves(organization_id).order_by("index").iterator(chunk_size=_CHUNK_ROWS)


def checkpoint(organization_id: UUID, size: int) -> LogCheckpoint:
    """Raises NotFound where none of that size was published."""
    found = checkpoints(organization_id).filter(size=size).first()
    if found is None:
        raise NotFound
    return found


def inclusion(organization_id: UUID, subject: UUID) -> Inclusion:
    """Raises NotAnchored while nothing of it is published."""
    newest = checkpoints(organization_id).order_by("-size").first()
    if newest is None:
        raise NotAnchored(retry_after=10)
    # Served by evidence_leaf_of_subject.
    of_subject = LogLeaf.objects.filter(organization_id=organization_id, subject=subject)
    leaf = of_subject.filter(index__lt=newest.size).order_by("-index").first()
    if leaf is None:
        raise NotAnchored(retry_after=10)
    proof = inclusion_proof(leaf.index, newest.size, nodes(organization_id))
    return Inclusion(leaf, proof, newest)


def consistency(organization_id: UUID, old: int, new: int) -> Consistency:
    """That the log of size `new` begins with all of size `old`. Raises InvalidParameter unless
    0 < old <= new <= the newest published size."""
    newest = published_size(organization_id)
    if not 0 < old <= new <= newest:
        raise InvalidParameter(f"from and to must be 1 to {newest}, and from at most to.")
    return Consistency(old, new, consistency_proof(old, new, nodes(organization_id)))


def nodes(organization_id: UUID, *, using: str = "default") -> NodeReader:
    """The organization's tree, read through this connection as it is asked for."""

    def fetch(tile: Tile) -> bytes | None:
        with connections[using].cursor() as cursor:
            cursor.execute(_TILE, [organization_id, *tile])
            row = cursor.fetchone()
        return None if row is None else bytes(row[0])

    return NodeReader(fetch)
