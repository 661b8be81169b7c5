"""What becomes of a session's evidence once it is there: holds on it, and checks of it.

Beside each model the migration adds row-level security and the reference to the session that
carries the organization.
"""

from __future__ import annotations

from django.db import models


class LegalHold(models.Model):
    """Nothing of this session's evidence is redacted or expires while the hold lasts."""

    session = models.OneToOneField(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        primary_key=True,
        related_name="hold",
        db_constraint=False,
    )
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    reason = models.TextField()
    placed_by = models.CharField(max_length=64)
    placed_at = models.DateTimeField()

    class Meta:
        db_table = "runner_legal_hold"

    def __str__(self) -> str:
        return self.reason[:64]


class Verdict(models.TextChoices):
    VERIFIED = "verified"
    BROKEN = "broken"
    EXPIRED = "expired"
    PENDING = "pending"


class Verification(models.Model):
    """What came of the last check of a session's chain against what is stored."""

    session = models.OneToOneField(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        primary_key=True,
        related_name="verification",
        db_constraint=False,
    )
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    verdict = models.CharField(max_length=16, choices=Verdict.choices)
    records = models.PositiveBigIntegerField()
    head_hash = models.BinaryField(max_length=32)
    first_bad_seq = models.PositiveBigIntegerField(null=True)
    reason = models.CharField(max_length=200, blank=True)
    checked_at = models.DateTimeField()

    # The check that is under way besides, for whoever asks for both; no column.
    running: VerificationRun | None = None

    class Meta:
        db_table = "runner_verification"
        indexes = [
            # Whose check is the oldest, and which were found broken.
            models.Index(fields=["checked_at"], name="runner_verification_oldest"),
            models.Index(
                fields=["organization", "-checked_at"],
                condition=models.Q(verdict="broken"),
                name="runner_verification_broken",
            ),
        ]

    def __str__(self) -> str:
        return self.verdict


class VerificationRun(models.Model):
    """A check of a long ledger that is under way: how far it has come, and what it needs to go on.

    The row goes when its result is kept.
    """

    session = models.OneToOneField(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        primary_key=True,
        related_name="verification_run",
        db_constraint=False,
    )
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    requested_by = models.CharField(max_length=64)
    requested_at = models.DateTimeField()
    stepped_at = models.DateTimeField()
    failed_at = models.DateTimeField(null=True)
    # Up to where the chain holds, and its hash there.
    records = models.PositiveBigIntegerField(default=0)
    head_hash = models.BinaryField(max_length=32)
    # Microseconds since the epoch, once the record that ended the session has been read.
    ended_at_us = models.BigIntegerField(null=True)
    # Pairs of first and last number.
    redacted = models.JSONField(default=list)
    tombstones = models.JSONField(default=list)

    class Meta:
        db_table = "runner_verification_run"

    def __str__(self) -> str:
        return f"{self.records} records"
