"""What was refused for sessions.

Beside the model the migration adds row-level security and the reference to the session that
carries the organization.
"""

from __future__ import annotations

from django.db import models
from django.db.models import UniqueConstraint

from keeptrusts_runners import ids


class Refusal(models.Model):
    """What was refused for a session: claims, and writes of executing code, most of all stale ones.

    Never in the session's chain, whose records are what took effect. Repeats within a minute are
    one row with a count.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    session = models.ForeignKey(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        related_name="refusals",
        db_constraint=False,
        db_index=False,
    )
    operation = models.CharField(max_length=64)
    code = models.CharField(max_length=64)
    reason = models.CharField(max_length=64, blank=True)
    actor = models.CharField(max_length=64)
    named_epoch = models.PositiveBigIntegerField(default=0)
    lease_epoch = models.PositiveBigIntegerField(default=0)
    minute = models.DateTimeField()
    count = models.PositiveIntegerField(default=1)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    request_id = models.CharField(max_length=128)

    class Meta:
        db_table = "runner_refusal"
        indexes = [models.Index(fields=["session", "-id"], name="runner_refusal_newest")]
        constraints = [
            UniqueConstraint(
                fields=["session", "minute", "operation", "code", "reason", "actor", "named_epoch"],
                name="runner_refusal_once_a_minute",
            )
        ]

    def __str__(self) -> str:
        return f"{self.operation}: {self.code}"
