"""The ledger of each session, its artifacts, and its permission grants.

Beside each model the migrations add row-level security, tenant keys and the references that carry
the organization. runner_event is partitioned by ranges of the session id; its primary key in the
database is (session_id, seq), and it has no UPDATE or DELETE for anybody.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import CheckConstraint, F, Q, UniqueConstraint
from django.db.models.functions import Coalesce

from keeptrusts_runners import ids
from keeptrusts_runners.clock import DatabaseNow
from sessions.states import EXECUTING

if TYPE_CHECKING:
    from uuid import UUID


# The kind of the record that says which records were redacted, and why.
TOMBSTONE = "evidence.redacted"


class Level(models.TextChoices):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class LedgerHead(models.Model):
    """Where a session's hash chain stands, and what it has counted so far.

    `began_at`, `bucket_seconds` and `buckets` are its histogram (grants.histogram), which
    kt_ledger_buckets() counts anew from the records.
    """

    session = models.OneToOneField(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        primary_key=True,
        related_name="ledger_head",
        db_constraint=False,
    )
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    seq = models.PositiveBigIntegerField(default=0)
    hash = models.BinaryField(max_length=32)
    events = models.PositiveBigIntegerField(default=0)
    warnings = models.PositiveBigIntegerField(default=0)
    errors = models.PositiveBigIntegerField(default=0)
    began_at = models.DateTimeField(null=True)
    bucket_seconds = models.PositiveIntegerField(db_default=1)
    buckets = ArrayField(models.IntegerField(), db_default=[])

    class Meta:
        db_table = "runner_ledger_head"

    def __str__(self) -> str:
        return f"#{self.seq}"


class EventQuerySet(models.QuerySet["Event"]):
    def of_session(self, organization_id: UUID, session_id: UUID) -> Self:
        return self.filter(organization_id=organization_id, session_id=session_id)


class Event(models.Model):
    """One record of a session's ledger. `body` is the proof; the columns beside it serve reading.

    `body` and `salt` are NULL once the record is redacted.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization",
        models.PROTECT,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    session = models.ForeignKey(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        related_name="events",
        db_constraint=False,
        db_index=False,
    )
    seq = models.PositiveBigIntegerField()
    kind = models.CharField(max_length=64)
    actor = models.CharField(max_length=64)
    lease_epoch = models.PositiveBigIntegerField()
    recorded_at = models.DateTimeField()
    body = models.BinaryField(null=True)
    salt = models.BinaryField(null=True, max_length=32)
    body_digest = models.BinaryField(max_length=32)
    hash = models.BinaryField(max_length=32)
    level = models.CharField(max_length=8, null=True)  # noqa: DJ001  (null: redacted)
    step = models.CharField(max_length=200, null=True)  # noqa: DJ001
    client_id = models.CharField(max_length=120, null=True)  # noqa: DJ001
    client_seq = models.PositiveBigIntegerField(null=True)
    occurred_at = models.DateTimeField(null=True)

    objects: ClassVar[EventQuerySet] = EventQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "runner_event"

    def __str__(self) -> str:
        return f"#{self.seq} {self.kind}"

    @cached_property
    def content(self) -> dict[str, Any]:
        """The stored body, parsed; empty when it has been redacted."""
        return json.loads(bytes(self.body)) if self.body is not None else {}

    @property
    def is_redacted(self) -> bool:
        return self.body is None

    @property
    def message(self) -> str | None:
        return self.content.get("message")

    @property
    def data(self) -> Any:
        return self.content.get("data")

    @property
    def source(self) -> str | None:
        return self.content.get("source")


class ArtifactStatus(models.TextChoices):
    """`stored` until a check finds otherwise. `uploading` is said of uploads, which are no
    artifacts yet."""

    STORED = "stored"
    VERIFYING = "verifying"
    BROKEN = "broken"
    MISSING = "missing"
    REMOVED = "removed"


class Retention(models.TextChoices):
    """How long an artifact's content is kept: as the profile says of artifacts, or for as long as
    the session's evidence."""

    STANDARD = "standard"
    EVIDENCE = "evidence"


class Artifact(models.Model):
    """A produced output, stored by the digest of its content. Visible only when whole.

    Once the content is removed the row stays, with its digest. `digest_source` says who computed
    that: this server of the bytes, or for now their sender. `checked_at` is when its bytes were
    last read back; null before the first time.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    session = models.ForeignKey(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        related_name="artifacts",
        db_constraint=False,
        db_index=False,
    )
    name = models.CharField(max_length=255)
    kind = models.CharField(max_length=64)
    media_type = models.CharField(max_length=127)
    size_bytes = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    digest_source = models.CharField(max_length=8, default="server")
    status = models.CharField(
        max_length=16, choices=ArtifactStatus.choices, default=ArtifactStatus.STORED
    )
    retention = models.CharField(
        max_length=16, choices=Retention.choices, default=Retention.STANDARD
    )
    removed_at = models.DateTimeField(null=True)
    removed_by = models.CharField(max_length=64, blank=True, default="")
    removal_reason = models.TextField(blank=True, default="")
    checked_at = models.DateTimeField(null=True)
    lease_epoch = models.PositiveBigIntegerField()
    created_by = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    # What an upload has that is not an artifact yet.
    upload = None

    class Meta:
        db_table = "runner_artifact"
        indexes = [
            models.Index(fields=["session", "-id"], name="runner_artifact_newest"),
            models.Index(
                fields=["id"], condition=Q(status="verifying"), name="runner_artifact_verifying"
            ),
            # All that have the same bytes.
            models.Index(fields=["organization", "sha256"], name="runner_artifact_blob"),
            # Whose bytes were read back the longest ago, or never.
            models.Index(
                Coalesce("checked_at", "created_at"),
                "id",
                condition=Q(status="stored"),
                name="runner_artifact_oldest_check",
            ),
            models.Index(
                fields=["organization", "-checked_at", "-id"],
                condition=Q(status__in=["broken", "missing"]),
                name="runner_artifact_damaged",
            ),
        ]
        constraints = [
            CheckConstraint(
                condition=Q(status__in=[status.value for status in ArtifactStatus]),
                name="runner_artifact_status",
            ),
            CheckConstraint(
                condition=~Q(status="removed") | Q(removed_at__isnull=False),
                name="runner_artifact_removed_at",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class GrantState(models.TextChoices):
    """requested → approved → active → expired | revoked | consumed | ended;
    requested → denied | lapsed."""

    REQUESTED = "requested"
    APPROVED = "approved"
    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"
    CONSUMED = "consumed"
    ENDED = "ended"
    DENIED = "denied"
    LAPSED = "lapsed"


OPEN_GRANT_STATES = (GrantState.REQUESTED, GrantState.APPROVED, GrantState.ACTIVE)


class GrantQuerySet(models.QuerySet["PermissionGrant"]):
    def usable(self) -> Self:
        """Active under the session's present lease, and in time by the database's clock.

        It joins the session, so that an ended session's grant is dead even where nothing has
        swept it.
        """
        return self.filter(
            state=GrantState.ACTIVE,
            session__state__in=sorted(EXECUTING),
            session__lease_epoch=F("lease_epoch"),
            session__lease_expires_at__gt=DatabaseNow(),
            expires_at__gt=DatabaseNow(),
        )

    def waiting(self) -> Self:
        return self.filter(state=GrantState.REQUESTED, request_lapses_at__gt=DatabaseNow())


class PermissionGrant(models.Model):
    """Temporary scoped access to a protected operation, for one session under its lease.

    Two clocks: the request lapses at `request_lapses_at`; access, once active, ends at
    `expires_at`. `operation_digest` is over exactly what approvers were shown. A grant that people
    approve as the renewal of another `renews` that one. `renewable_until` is the rule's longest
    time after the first activation; no renewal leads beyond it.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    session = models.ForeignKey(
        "runner_sessions.RunnerSession",
        models.PROTECT,
        related_name="grants",
        db_constraint=False,
        db_index=False,
    )
    operation = models.CharField(max_length=200)
    resource = models.CharField(max_length=512, blank=True, default="")
    constraints = models.JSONField(default=dict)
    reason = models.TextField()
    state = models.CharField(max_length=16, choices=GrantState.choices)
    ttl_seconds = models.PositiveIntegerField()
    operation_digest = models.CharField(max_length=71)
    rule = models.JSONField(null=True)
    policy_version = models.PositiveIntegerField()
    approvals_required = models.PositiveSmallIntegerField()
    single_use = models.BooleanField(default=False)
    lease_epoch = models.PositiveBigIntegerField(null=True)
    requested_by = models.CharField(max_length=64)
    requested_owner = models.UUIDField(null=True)
    requested_at = models.DateTimeField()
    request_lapses_at = models.DateTimeField()
    renews = models.ForeignKey(
        "self", models.PROTECT, null=True, related_name="renewals", db_constraint=False,
        db_index=False,
    )  # fmt: skip
    activated_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    renewable_until = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    end_reason = models.CharField(max_length=64, blank=True, default="")
    ended_by = models.CharField(max_length=64, blank=True, default="")
    uses = models.PositiveIntegerField(default=0)
    version = models.PositiveIntegerField(default=1)

    objects: ClassVar[GrantQuerySet] = GrantQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "runner_grant"
        indexes = [
            models.Index(fields=["session", "-id"], name="runner_grant_newest"),
            models.Index(
                fields=["organization", "request_lapses_at"],
                condition=Q(state="requested"),
                name="runner_grant_waiting",
            ),
            models.Index(
                fields=["organization", "expires_at"],
                condition=Q(state="active"),
                name="runner_grant_active",
            ),
            # What may be revoked, session by session.
            models.Index(
                fields=["organization", "session", "id"],
                condition=Q(state__in=[state.value for state in OPEN_GRANT_STATES]),
                name="runner_grant_open",
            ),
            # Requests that nobody decided on in time; the sweep may be late.
            models.Index(
                fields=["organization", "-id"],
                condition=Q(state__in=["requested", "lapsed"]),
                name="runner_grant_lapsed",
            ),
            # What one revocation has ended.
            models.Index(
                fields=["organization", "-ended_at", "-id"],
                condition=Q(state="revoked"),
                name="runner_grant_revoked",
            ),
            # What was in force at an instant.
            models.Index(
                fields=["organization", "-activated_at", "-id"],
                condition=Q(activated_at__isnull=False),
                name="runner_grant_activated",
            ),
        ]
        constraints = [
            CheckConstraint(
                condition=Q(state__in=[state.value for state in GrantState]),
                name="runner_grant_state",
            ),
            CheckConstraint(
                condition=~Q(state="active")
                | Q(expires_at__isnull=False, lease_epoch__isnull=False),
                name="runner_grant_active_has_an_end",
            ),
            UniqueConstraint(
                fields=["renews"], condition=Q(state="requested"), name="runner_grant_one_renewal"
            ),
            CheckConstraint(
                condition=Q(expires_at__isnull=True) | Q(expires_at__lte=F("renewable_until")),
                name="runner_grant_within_its_rule",
            ),
        ]

    def __str__(self) -> str:
        return self.operation


class Decision(models.Model):
    """One person's decision on a grant request; nobody decides twice."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    grant = models.ForeignKey(
        PermissionGrant,
        models.PROTECT,
        related_name="decisions",
        db_constraint=False,
        db_index=False,
    )
    by = models.ForeignKey("identity.User", models.PROTECT, related_name="+")
    decision = models.CharField(max_length=8)
    operation_digest = models.CharField(max_length=71)
    comment = models.TextField(blank=True, default="")
    ttl_seconds = models.PositiveIntegerField(null=True)
    constraints = models.JSONField(null=True)
    at = models.DateTimeField()

    class Meta:
        db_table = "runner_grant_decision"
        indexes = [
            models.Index(fields=["organization", "-id"], name="runner_grant_decision_newest")
        ]
        constraints = [
            UniqueConstraint(fields=["grant", "by"], name="runner_grant_decision_once"),
            CheckConstraint(
                condition=Q(decision__in=["approve", "deny"]), name="runner_grant_decision_word"
            ),
        ]

    def __str__(self) -> str:
        return self.decision
