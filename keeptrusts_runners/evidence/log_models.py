"""The organization's log: a Merkle tree over what was anchored, and its signed checkpoints.

The application only reads these tables and only the signer writes them, but for what waits, which
triggers write. Beside each model the migration makes the table itself, row-level security, and
triggers that refuse every change but growth. They refer to no session: a log outlives what it is
about.
"""

from __future__ import annotations

from django.db import models

from keeptrusts_runners.evidence.merkle import EMPTY_ROOT


def _organization() -> models.ForeignKey:
    return models.ForeignKey(
        "identity.Organization",
        models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )


class Pending(models.Model):
    """What waits to be appended: the newest record of a chain, or an audit record."""

    pk = models.CompositePrimaryKey("organization", "id")
    id = models.BigIntegerField()
    organization = _organization()
    kind = models.CharField(max_length=8)
    subject = models.UUIDField()
    seq = models.PositiveBigIntegerField()
    hash = models.BinaryField(max_length=32)
    at = models.DateTimeField()

    class Meta:
        db_table = "evidence_pending"

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} #{self.seq}"


class Log(models.Model):
    """Where an organization's log stands. `published_size` is the newest checkpoint that the file
    outside the database has too; `refused` says why nothing is signed, or is empty."""

    organization = models.OneToOneField(
        "identity.Organization",
        models.PROTECT,
        primary_key=True,
        related_name="+",
        db_constraint=False,
    )
    size = models.PositiveBigIntegerField(default=0)
    root = models.BinaryField(max_length=32, default=EMPTY_ROOT)
    published_size = models.PositiveBigIntegerField(default=0)
    refused = models.TextField(blank=True)
    refused_since = models.DateTimeField(null=True)

    class Meta:
        db_table = "evidence_log"

    def __str__(self) -> str:
        return f"{self.size} leaves"


class LogLeaf(models.Model):
    """One entry of a log, as `leaves.Leaf` encodes it."""

    pk = models.CompositePrimaryKey("organization", "index")
    organization = _organization()
    index = models.PositiveBigIntegerField()
    kind = models.CharField(max_length=8)
    subject = models.UUIDField()
    seq = models.PositiveBigIntegerField()
    hash = models.BinaryField(max_length=32)
    appended_at = models.DateTimeField()

    class Meta:
        db_table = "evidence_leaf"
        indexes = [
            models.Index(
                fields=["organization", "subject", "-index"], name="evidence_leaf_of_subject"
            )
        ]

    def __str__(self) -> str:
        return f"{self.index}: {self.kind} {self.subject} #{self.seq}"


class LogTile(models.Model):
    """Up to 256 hashes of one level of the tree, 32 bytes each; see tiles.py."""

    pk = models.CompositePrimaryKey("organization", "level", "index")
    organization = _organization()
    level = models.PositiveSmallIntegerField()
    index = models.PositiveBigIntegerField()
    hashes = models.BinaryField()

    class Meta:
        db_table = "evidence_tile"

    def __str__(self) -> str:
        return f"{self.level}/{self.index}"


class LogCheckpoint(models.Model):
    """A signed note about the log's first `size` leaves."""

    pk = models.CompositePrimaryKey("organization", "size")
    organization = _organization()
    size = models.PositiveBigIntegerField()
    root = models.BinaryField(max_length=32)
    note = models.TextField()
    at = models.DateTimeField()

    class Meta:
        db_table = "evidence_checkpoint"

    def __str__(self) -> str:
        return f"{self.size} leaves"


class LogKey(models.Model):
    """The public half of a key that signs checkpoints, of all organizations."""

    kid = models.CharField(primary_key=True, max_length=43)
    public_key = models.BinaryField(max_length=32)
    since = models.DateTimeField()
    until = models.DateTimeField(null=True)

    class Meta:
        db_table = "evidence_log_key"

    def __str__(self) -> str:
        return self.kid
