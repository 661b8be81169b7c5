"""The answers of creating requests, kept for a day so that a retry has no second effect."""

from __future__ import annotations

from django.contrib.postgres.functions import TransactionNow
from django.db import models


class IdempotencyKey(models.Model):
    """One Idempotency-Key that one principal has used on one route, and what it was answered.

    Written in the transaction of the effect, so that neither exists without the other. Organization
    and principal are plain values: the row is gone in a day, and outlives nothing.
    """

    id = models.BigAutoField(primary_key=True)
    organization_id = models.UUIDField()
    principal = models.CharField(max_length=64)
    route = models.CharField(max_length=200)
    key = models.CharField(max_length=255)
    body_digest = models.BinaryField(max_length=32)
    status = models.PositiveSmallIntegerField()
    headers = models.JSONField(default=dict)
    body = models.BinaryField()
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        db_table = "api_idempotency_key"
        constraints = [
            models.UniqueConstraint(
                fields=["organization_id", "principal", "route", "key"],
                name="api_idempotency_key_once",
            )
        ]
        # For the clean-up alone.
        indexes = [models.Index(fields=["created_at"], name="api_idempotency_key_age")]

    def __str__(self) -> str:
        return f"{self.route} {self.key}"
