"""The audit log: what was done in an organization and what was denied, by whom, from where.

Beside each model the migration adds row-level security. Nobody changes or deletes a record: the
application has no privilege to, and a trigger refuses it to everybody else.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

from django.db import models

from keeptrusts_runners import ids


class Outcome(models.TextChoices):
    DONE = "done"
    DENIED = "denied"


class AuditRecord(models.Model):
    """One mutation, one export, one look by staff, or a minute's denials of one kind.

    `body` are the bytes that `digest` is of; the columns beside it serve search. `object` is the
    TypeID of what it was done to, or the route for what was denied.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    at = models.DateTimeField()
    actor = models.CharField(max_length=64)
    verb = models.CharField(max_length=64)
    object = models.CharField(max_length=200)
    outcome = models.CharField(max_length=8, choices=Outcome.choices)
    request_id = models.CharField(max_length=128, blank=True)
    body = models.BinaryField()
    digest = models.BinaryField(max_length=32)

    class Meta:
        db_table = "evidence_audit"
        # Newest first, whole and by each filter that finds few of many.
        indexes = [
            models.Index(fields=["organization", "-id"], name="evidence_audit_newest"),
            models.Index(fields=["organization", "object", "-id"], name="evidence_audit_object"),
            models.Index(fields=["organization", "actor", "-id"], name="evidence_audit_actor"),
            models.Index(fields=["organization", "verb", "-id"], name="evidence_audit_verb"),
            models.Index(
                fields=["organization", "request_id"],
                condition=~models.Q(request_id=""),
                name="evidence_audit_request",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.object}"

    @cached_property
    def content(self) -> dict[str, Any]:
        """The stored body, parsed."""
        content: dict[str, Any] = json.loads(bytes(self.body))
        return content

    @property
    def before(self) -> str | None:
        return self.content.get("before")

    @property
    def after(self) -> str | None:
        return self.content.get("after")

    @property
    def detail(self) -> dict[str, Any]:
        return self.content.get("detail") or {}

    @property
    def source_address(self) -> str | None:
        return self.content.get("source_address")


class Denial(models.Model):
    """What was denied to one principal on one route in one minute, until it becomes a record."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    actor = models.CharField(max_length=64)
    route = models.CharField(max_length=200)
    code = models.CharField(max_length=64)
    minute = models.DateTimeField()
    count = models.PositiveIntegerField(default=1)
    first_request_id = models.CharField(max_length=128, blank=True)
    source_address = models.CharField(max_length=64, blank=True)

    class Meta:
        db_table = "evidence_denial"
        indexes = [models.Index(fields=["minute"], name="evidence_denial_due")]
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "actor", "route", "code", "minute"],
                name="evidence_denial_once_a_minute",
            )
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.route}"
