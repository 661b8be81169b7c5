"""Uploads that go on over several requests.

Beside the model the migration adds row-level security and the reference that carries the
organization.
"""

from __future__ import annotations

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import CheckConstraint, Q

from grants.storage import Blob
from keeptrusts_runners import ids


class Upload(models.Model):
    """An artifact that is being received over several requests; its id is the artifact's to be.

    `received_bytes` were acknowledged; more may be there. `placed_sha256` is set before the bytes
    come to their place in the store.

    One with `part_size_bytes` goes directly to the store, in parts of that size, and has its room
    from the beginning. From `completed_at` on the store has all of it; then it is read back, and
    either becomes the artifact (`placed_sha256`) or is refused.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey("identity.Organization", models.PROTECT, related_name="+")
    session = models.ForeignKey(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        related_name="uploads",
        db_constraint=False,
        db_index=False,
    )
    name = models.CharField(max_length=255)
    kind = models.CharField(max_length=64)
    media_type = models.CharField(max_length=127)
    retention = models.CharField(max_length=16, default="standard")
    length_bytes = models.PositiveBigIntegerField(null=True)
    max_bytes = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True, default="")
    received_bytes = models.PositiveBigIntegerField(default=0)
    placed_sha256 = models.CharField(max_length=64, blank=True, default="")
    part_size_bytes = models.PositiveBigIntegerField(null=True)
    multipart_id = models.TextField(blank=True, default="")
    completed_at = models.DateTimeField(null=True)
    refused_at = models.DateTimeField(null=True)
    found_sha256 = models.CharField(max_length=64, blank=True, default="")
    lease_epoch = models.PositiveBigIntegerField()
    created_by = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "runner_upload"
        indexes = [
            models.Index(fields=["session", "-id"], name="runner_upload_newest"),
            models.Index(fields=["expires_at"], name="runner_upload_expiring"),
            # Whose bytes are to be read back.
            models.Index(
                fields=["id"],
                condition=Q(completed_at__isnull=False, refused_at__isnull=True, placed_sha256=""),
                name="runner_upload_verifying",
            ),
        ]
        constraints = [
            CheckConstraint(
                condition=Q(length_bytes__isnull=True)
                | Q(received_bytes__lte=models.F("length_bytes")),
                name="runner_upload_within_its_length",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_direct(self) -> bool:
        return self.part_size_bytes is not None

    @property
    def status(self) -> str:
        """In the words of an artifact."""
        if self.refused_at is not None:
            return "broken"
        return "uploading" if self.completed_at is None else "verifying"

    @property
    def announced(self) -> Blob:
        """What a direct upload is said to be."""
        return Blob(self.sha256, self.length_bytes or 0)
