"""Executors, as their claims make them known.

Beside the model the migration adds row-level security and the tenant key that sessions refer to.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import UniqueConstraint

from keeptrusts_runners import ids


class RunnerExecutor(models.Model):
    """Whatever claims: one for each account and name, known from its claims alone.

    `polled_at` is when it last asked for the next session, of `profile_ids` (None: of any) and
    with these labels; `last_seen_at` counts claims by id as well. Both are written at most every
    few seconds. While `draining_at` is set nothing new is handed to it.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    account = models.CharField(max_length=64)
    name = models.CharField(max_length=120, blank=True)
    version = models.CharField(max_length=64, blank=True)
    labels = models.JSONField(default=dict)
    profile_ids = ArrayField(models.UUIDField(), null=True)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    polled_at = models.DateTimeField(null=True)
    draining_at = models.DateTimeField(null=True)
    draining_by = models.CharField(max_length=64, blank=True, default="")
    draining_reason = models.TextField(blank=True, default="")

    class Meta:
        db_table = "runner_executor"
        indexes = [
            # Who asks for work now.
            models.Index(fields=["organization", "-polled_at"], name="runner_executor_polled"),
        ]
        constraints = [
            UniqueConstraint(
                fields=["organization", "account", "name"], name="runner_executor_once"
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.account
