"""Batches: one verb for many sessions, asked for once and worked off one by one.

Beside the models the migration adds row-level security, the tenant key and the references that
carry the organization: runner_batch_item(batch_id, session_id, retry_id).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from django.db import models
from django.db.models import CheckConstraint, Q, UniqueConstraint

from keeptrusts_runners import ids

if TYPE_CHECKING:
    from uuid import UUID


class BatchVerb(models.TextChoices):
    CANCEL = "cancel"
    RETRY = "retry"


class BatchState(models.TextChoices):
    RUNNING = "running"
    DONE = "done"


class Outcome(models.TextChoices):
    """What has come of one session of a batch. Skipped: there was nothing to do any more.
    Refused: there was, and it may not be done."""

    PENDING = "pending"
    DONE = "done"
    SKIPPED = "skipped"
    REFUSED = "refused"


class BatchQuerySet(models.QuerySet["RunnerBatch"]):
    def in_organization(self, organization_id: UUID) -> Self:
        return self.filter(organization_id=organization_id)

    def running(self) -> Self:
        return self.filter(state=BatchState.RUNNING)


class RunnerBatch(models.Model):
    """One request for many sessions, on behalf of whoever made it.

    `filter` is as it was sent, and chose its sessions once; `options` are keywords of the verb.
    The three figures are of a batch that is done; while it runs they are counted from its items,
    so that working off an item touches no row that another one touches too.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    verb = models.CharField(max_length=16, choices=BatchVerb.choices)
    options = models.JSONField(default=dict)
    reason = models.TextField()
    filter = models.JSONField()
    as_of = models.DateTimeField()
    requested_by = models.CharField(max_length=64)
    state = models.CharField(
        max_length=16, choices=BatchState.choices, default=BatchState.RUNNING.value
    )
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    stopped_by = models.CharField(max_length=64, blank=True, default="")
    stopped_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    objects: ClassVar[BatchQuerySet] = BatchQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "runner_batch"
        indexes = [
            models.Index(fields=["organization", "-id"], name="runner_batch_newest"),
            # What there is to work off, in all organizations.
            models.Index(
                fields=["organization", "id"],
                condition=Q(state=BatchState.RUNNING.value),
                name="runner_batch_running",
            ),
        ]
        constraints = [
            CheckConstraint(
                condition=Q(state=BatchState.RUNNING.value, ended_at__isnull=True)
                | Q(state=BatchState.DONE.value, ended_at__isnull=False),
                name="runner_batch_ended_iff_done",
            )
        ]

    def __str__(self) -> str:
        return ids.encode("batch", self.id)

    @property
    def version(self) -> int:
        """Grows with every session that is settled, and with the end."""
        return self.done + self.skipped + self.refused + (self.state == BatchState.DONE)


class BatchItem(models.Model):
    """One session of a batch. Once it is not pending it stays as it is."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    batch = models.ForeignKey(
        RunnerBatch, models.PROTECT, related_name="items", db_constraint=False, db_index=False
    )
    session = models.ForeignKey(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    outcome = models.CharField(
        max_length=16, choices=Outcome.choices, db_default=Outcome.PENDING.value
    )
    code = models.CharField(max_length=64, blank=True, db_default="")
    detail = models.TextField(blank=True, db_default="")
    retry = models.ForeignKey(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    settled_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "runner_batch_item"
        indexes = [
            # What is left to do, the lists by outcome, and the progress: counted from the index.
            models.Index(fields=["batch", "outcome", "session"], name="runner_batch_item_outcome")
        ]
        constraints = [
            UniqueConstraint(fields=["batch", "session"], name="runner_batch_item_once"),
            CheckConstraint(
                condition=Q(outcome=Outcome.PENDING.value, settled_at__isnull=True)
                | (~Q(outcome=Outcome.PENDING.value) & Q(settled_at__isnull=False)),
                name="runner_batch_item_settled_iff_not_pending",
            ),
        ]

    def __str__(self) -> str:
        return f"{ids.encode('sess', self.session_id)}: {self.outcome}"
