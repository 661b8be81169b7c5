"""What stands behind artifacts: blobs that rows name, and the room that they take.

Both are known by two columns. Beside each model the migration adds row-level security.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q


class StoredBlob(models.Model):
    """Bytes that are in the store, or about to be: the row is there first.

    `artifacts` is how many name it. One that nobody names, and that nobody has reserved for a
    while, is collected, row and bytes.
    """

    pk = models.CompositePrimaryKey("organization_id", "sha256")
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    sha256 = models.CharField(max_length=64)
    size_bytes = models.PositiveBigIntegerField()
    artifacts = models.PositiveBigIntegerField(default=0)
    reserved_at = models.DateTimeField()

    class Meta:
        db_table = "runner_blob"
        indexes = [
            models.Index(
                fields=["reserved_at"], condition=Q(artifacts=0), name="runner_blob_unnamed"
            )
        ]

    def __str__(self) -> str:
        return self.sha256


class UsageOf(models.TextChoices):
    ORGANIZATION = "organization"
    PROFILE = "profile"
    SESSION = "session"


class StorageUsage(models.Model):
    """How much content an organization, a profile or a session has stored: kept in the transaction
    of each change, so that nothing is counted when somebody asks.

    `size_bytes` of an organization is what its store holds, the same bytes once; of profiles and
    sessions it is the sum of their artifacts. A session's row says its profile.
    """

    pk = models.CompositePrimaryKey("organization_id", "owner_id")
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    owner_id = models.UUIDField()
    kind = models.CharField(max_length=16, choices=UsageOf.choices)
    profile_id = models.UUIDField(null=True)
    artifacts = models.PositiveBigIntegerField(default=0)
    size_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        db_table = "runner_storage_usage"
        indexes = [
            # Sessions of a profile that have content, in the order of their dispatch.
            models.Index(
                fields=["profile_id", "owner_id"],
                condition=Q(kind="session", artifacts__gt=0),
                name="runner_storage_usage_sessions",
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.size_bytes}"
