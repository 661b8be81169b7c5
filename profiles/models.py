"""Runner profiles and harness revisions.

Beside each model the migrations add what the ORM cannot say: row-level security, the tenant key
UNIQUE (organization_id, id), and the reference (organization_id, profile_id) of a harness to its
profile. The application may update nothing of a harness but its status and who set it, and why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import CheckConstraint, F, Q, UniqueConstraint

from keeptrusts_runners import ids

if TYPE_CHECKING:
    from uuid import UUID


class ProfileStatus(models.TextChoices):
    ACTIVE = "active"
    PAUSED = "paused"
    ARCHIVED = "archived"


class HarnessStatus(models.TextChoices):
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    RECALLED = "recalled"


# Defaults of a profile made from the seed's body (contract: nothing stays stuck).
LEASE_TTL_SECONDS = 60
HEARTBEAT_INTERVAL_SECONDS = 15
MAX_LEASE_TTL_SECONDS = 15 * 60
MAX_ATTEMPTS = 1
BACKOFF_SECONDS = 5
# How long work may wait for an executor before somebody should look.
QUEUE_TARGET_SECONDS = 600
MAX_ARTIFACT_BYTES = 1 << 30
MAX_ARTIFACTS = 500


class ProfileQuerySet(models.QuerySet["RunnerProfile"]):
    def in_organization(self, organization_id: UUID) -> Self:
        return self.filter(organization_id=organization_id)


class RunnerProfile(models.Model):
    """A named, versioned description of an execution environment."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey("identity.Organization", models.PROTECT, related_name="+")
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True, default="")
    execution_target = models.CharField(max_length=64)
    status = models.CharField(
        max_length=16, choices=ProfileStatus.choices, default=ProfileStatus.ACTIVE
    )
    version = models.PositiveIntegerField(default=1)
    labels = models.JSONField(default=dict)
    max_concurrent_sessions = models.PositiveIntegerField(null=True)
    queue_target_seconds = models.PositiveIntegerField(
        default=QUEUE_TARGET_SECONDS, db_default=QUEUE_TARGET_SECONDS
    )
    max_artifact_bytes = models.PositiveBigIntegerField(default=MAX_ARTIFACT_BYTES)
    max_artifacts = models.PositiveIntegerField(default=MAX_ARTIFACTS)
    max_stored_bytes = models.PositiveBigIntegerField(null=True)
    lease_ttl_seconds = models.PositiveIntegerField(default=LEASE_TTL_SECONDS)
    heartbeat_interval_seconds = models.PositiveIntegerField(default=HEARTBEAT_INTERVAL_SECONDS)
    max_attempts = models.PositiveIntegerField(default=MAX_ATTEMPTS)
    backoff_seconds = models.PositiveIntegerField(default=BACKOFF_SECONDS)
    grant_policy = models.JSONField(default=list)
    grant_policy_version = models.PositiveIntegerField(default=1)
    retention_days = models.PositiveIntegerField(null=True)
    artifact_retention_days = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects: ClassVar[ProfileQuerySet] = ProfileQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "runner_profile"
        constraints = [
            UniqueConstraint(
                fields=["organization", "name"],
                condition=~Q(status="archived"),
                name="runner_profile_name",
            ),
            CheckConstraint(
                condition=Q(status__in=[status.value for status in ProfileStatus]),
                name="runner_profile_status",
            ),
            CheckConstraint(
                condition=Q(heartbeat_interval_seconds__lt=F("lease_ttl_seconds")),
                name="runner_profile_heartbeat_within_lease",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def itself(self) -> RunnerProfile:
        """For answers that group columns under one member (`limits`, `lease`, `retry`)."""
        return self


class HarnessQuerySet(models.QuerySet["HarnessRevision"]):
    def of_profile(self, organization_id: UUID, profile_id: UUID) -> Self:
        return self.filter(organization_id=organization_id, profile_id=profile_id)

    def newest_usable(self) -> HarnessRevision | None:
        """What a dispatch pins now: the newest that is neither deprecated nor recalled."""
        return self.filter(status=HarnessStatus.ACTIVE).order_by("-id").first()


class HarnessRevision(models.Model):
    """An immutable, published version of the code that runs inside a profile."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey("identity.Organization", models.PROTECT, related_name="+")
    profile = models.ForeignKey(
        RunnerProfile, models.PROTECT, related_name="harnesses", db_constraint=False
    )
    version = models.CharField(max_length=120)
    image_ref = models.CharField(max_length=512)
    image_digest = models.CharField(max_length=80, null=True)  # noqa: DJ001  (null: a mutable tag)
    entrypoint = models.JSONField(default=list)
    status = models.CharField(
        max_length=16, choices=HarnessStatus.choices, default=HarnessStatus.ACTIVE
    )
    status_reason = models.TextField(blank=True, default="")
    status_changed_at = models.DateTimeField(null=True)
    status_changed_by = models.CharField(max_length=64, blank=True, default="")
    notes = models.TextField(blank=True, default="")
    published_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    published_by = models.CharField(max_length=64)

    objects: ClassVar[HarnessQuerySet] = HarnessQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "runner_harness"
        constraints = [
            UniqueConstraint(fields=["profile", "version"], name="runner_harness_version"),
            CheckConstraint(
                condition=Q(status__in=[status.value for status in HarnessStatus]),
                name="runner_harness_status",
            ),
        ]

    def __str__(self) -> str:
        return self.version

    @property
    def image_name(self) -> str:
        """The reference without its digest, which is shown beside it."""
        return self.image_ref.partition("@")[0]
