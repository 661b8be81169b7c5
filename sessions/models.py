"""Runner sessions, their recorded transitions and their checkpoints.

Beside each model the migrations add row-level security, the tenant keys and the references that
carry the organization: runner_session(profile_id, harness_id, retry_of_id,
executor_id), runner_transition(session_id), runner_checkpoint(session_id).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models import CheckConstraint, Func, Q, UniqueConstraint

from keeptrusts_runners import ids

# Django looks for them here.
from sessions import batch_models as batch_models
from sessions import executor_models as executor_models
from sessions import refusal_models as refusal_models
from sessions.states import EDGES, FAILURES, FINAL, LEASED, OPEN, State

if TYPE_CHECKING:
    from uuid import UUID


class SideEffects(models.TextChoices):
    """What running the task twice may do; at_most_once is never retried by itself."""

    IDEMPOTENT = "idempotent"
    RESUMABLE = "resumable"
    AT_MOST_ONCE = "at_most_once"


class DesiredState(models.TextChoices):
    """What every answer to an executor tells it to become."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLED = "cancelled"


class Disposition(models.TextChoices):
    """What a person decides about a session whose outcome nobody knows."""

    ACCEPT = "accept"
    RETRY = "retry"
    ABANDON = "abandon"


class View(models.TextChoices):
    """The four lists that operators keep open."""

    QUEUE = "queue"
    ACTIVE = "active"
    ATTENTION = "attention"
    COMPLETED = "completed"


class DatabaseUuid7(Func):
    """An id from the database's clock (see kt_uuid7 in the identity migrations)."""

    function = "kt_uuid7"
    output_field = models.UUIDField()


class Lane(Func):
    """A hash of what decides, for many sessions at once, whether they may be claimed: profile,
    harness and labels. An immutable function of the migration, so that a column can hold it."""

    function = "kt_lane"
    output_field = models.BigIntegerField()


class SessionQuerySet(models.QuerySet["RunnerSession"]):
    def in_organization(self, organization_id: UUID) -> Self:
        return self.filter(organization_id=organization_id)

    def in_view(self, view: str) -> Self:
        """Of those views that states make (what needs attention: sessions.attention)."""
        match view:
            case View.QUEUE:
                return self.filter(state=State.PENDING)
            case View.ACTIVE:
                return self.filter(state__in=[*LEASED, State.PAUSED])
            case _:
                return self.filter(state__in=FINAL)

    def leased(self) -> Self:
        return self.filter(state__in=_states(*LEASED))


def _states(*states: State) -> list[str]:
    return sorted(state.value for state in states)


class RunnerSession(models.Model):
    """One regulated execution of a task on a profile, from dispatch to a final state.

    `lease_epoch` counts claims and is the attempt's number; `failures` counts only retryable
    fails and lost leases. `deadline_at` is when the present state ends by itself; a leased state
    ends by its lease as well. `run_deadline_at` is when running must be over; while paused,
    `run_seconds_left` holds what is left of it.
    """

    id = models.UUIDField(primary_key=True, db_default=DatabaseUuid7(), editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    profile = models.ForeignKey(
        "profiles.RunnerProfile",
        models.PROTECT,
        related_name="sessions",
        db_constraint=False,
        db_index=False,
    )
    harness = models.ForeignKey(
        "profiles.HarnessRevision",
        models.PROTECT,
        null=True,
        related_name="sessions",
        db_constraint=False,
        db_index=False,
    )
    retry_of = models.ForeignKey(
        "self", models.PROTECT, null=True, related_name="retries", db_constraint=False
    )
    task_id = models.CharField(max_length=200)
    side_effects = models.CharField(
        max_length=16, choices=SideEffects.choices, default=SideEffects.IDEMPOTENT
    )
    state = models.CharField(max_length=16, default=State.PENDING.value)
    reason = models.CharField(max_length=64, blank=True, default="")
    desired_state = models.CharField(
        max_length=16, choices=DesiredState.choices, default=DesiredState.RUNNING
    )
    version = models.PositiveIntegerField(default=1)
    priority = models.SmallIntegerField(default=0)
    labels = models.JSONField(default=dict)
    lane = models.GeneratedField(
        expression=Lane("profile", "harness", "labels"),
        output_field=models.BigIntegerField(),
        db_persist=True,
    )
    concurrency_key = models.CharField(max_length=120, blank=True, default="")
    concurrency_limit = models.PositiveIntegerField(default=1)
    metadata = models.JSONField(default=dict)
    input = models.JSONField(default=dict)
    traceparent = models.CharField(max_length=64, blank=True, default="")
    dispatched_by = models.CharField(max_length=64)
    grant_policy = models.JSONField(default=list)
    grant_policy_version = models.PositiveIntegerField(default=1)

    max_attempts = models.PositiveIntegerField()
    backoff_seconds = models.PositiveIntegerField()
    failures = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    queue_timeout_seconds = models.PositiveIntegerField()
    timeout_seconds = models.PositiveIntegerField()
    deadline_at = models.DateTimeField(null=True)
    run_deadline_at = models.DateTimeField(null=True)
    run_seconds_left = models.FloatField(null=True)

    lease_epoch = models.PositiveBigIntegerField(default=0)
    lease_account = models.CharField(max_length=64, blank=True, default="")
    lease_executor = models.JSONField(default=dict)
    executor = models.ForeignKey(
        executor_models.RunnerExecutor,
        models.PROTECT,
        null=True,
        related_name="sessions",
        db_constraint=False,
        db_index=False,
    )
    lease_ttl_seconds = models.PositiveIntegerField(null=True)
    lease_expires_at = models.DateTimeField(null=True)
    claim_id = models.CharField(max_length=120, blank=True, default="")
    heartbeat_at = models.DateTimeField(null=True)
    heartbeat_interval_seconds = models.PositiveIntegerField(null=True)

    progress = models.JSONField(null=True)
    progress_at = models.DateTimeField(null=True)
    checkpoints_recorded = models.PositiveIntegerField(default=0)
    resume_from = models.PositiveIntegerField(null=True)
    result = models.JSONField(null=True)
    error = models.JSONField(null=True)
    reported_outcome = models.CharField(max_length=16, blank=True, default="")
    outcome_epoch = models.PositiveBigIntegerField(null=True)
    outcome_digest = models.BinaryField(max_length=32, null=True)

    cancel_requested_at = models.DateTimeField(null=True)
    cancel_requested_by = models.CharField(max_length=64, blank=True, default="")
    cancel_delivered_at = models.DateTimeField(null=True)
    disposition = models.CharField(
        max_length=16, choices=Disposition.choices, blank=True, default=""
    )
    disposition_by = models.CharField(max_length=64, blank=True, default="")
    disposition_at = models.DateTimeField(null=True)

    created_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    dispatched_at = models.DateTimeField(null=True)
    # Set when the profile's retention has removed the content of its evidence.
    evidence_expired_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    paused_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    updated_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    objects: ClassVar[SessionQuerySet] = SessionQuerySet.as_manager()  # type: ignore[assignment]

    class Meta:
        db_table = "runner_session"
        indexes = [
            # Newest first: every list, a keyset page at any depth.
            models.Index(fields=["organization", "-id"], name="runner_session_newest"),
            # The claim: priority, then age. Partial, so that it stays as small as the queue.
            models.Index(
                fields=["organization", "-priority", "id"],
                condition=Q(state=State.PENDING.value),
                name="runner_session_queue",
            ),
            # The same by lanes, and what was put off by when it is due.
            models.Index(
                fields=["organization", "lane", "-priority", "id"],
                condition=Q(state=State.PENDING.value, not_before__isnull=True),
                name="runner_session_lane",
            ),
            models.Index(
                fields=["organization", "not_before"],
                condition=Q(state=State.PENDING.value, not_before__isnull=False),
                name="runner_session_due",
            ),
            # Lists of one state, however rare; and of one profile, with what is open of it: depths
            # and the active view. No heartbeat column is in any index, so that a heartbeat stays a
            # HOT update.
            models.Index(fields=["organization", "state", "-id"], name="runner_session_state"),
            models.Index(fields=["profile", "state", "-id"], name="runner_session_profile_state"),
            # What needs attention for what its row says by itself: as small as that.
            models.Index(
                fields=["organization", "-id"],
                condition=Q(state=State.LOST.value, disposition="")
                | Q(state=State.PENDING.value, failures__gt=0),
                name="runner_session_attention",
            ),
            # Which keys are in use, and by whom: as small as what runs now.
            models.Index(
                fields=["organization", "concurrency_key"],
                condition=Q(state__in=_states(*LEASED)) & ~Q(concurrency_key=""),
                name="runner_session_live_key",
            ),
            # When what is open ends by itself: each pass of the reaper.
            models.Index(
                fields=["deadline_at"],
                condition=Q(state__in=_states(*OPEN)),
                name="runner_session_deadline",
            ),
            models.Index(fields=["profile", "-id"], name="runner_session_of_profile"),
            models.Index(fields=["harness", "-id"], name="runner_session_of_harness"),
            # What an executor has run, and what it holds: as small as what has ever been claimed.
            # The latter has the live leases and nothing else, which is what the reaper looks at.
            models.Index(
                fields=["executor", "-id"],
                condition=Q(executor__isnull=False),
                name="runner_session_of_executor",
            ),
            models.Index(
                fields=["executor"],
                condition=Q(state__in=_states(*LEASED)),
                name="runner_session_held",
            ),
            # What retention may come for, and what ended of late; no open session is in them.
            models.Index(
                fields=["profile", "ended_at"],
                condition=Q(ended_at__isnull=False, evidence_expired_at=None),
                name="runner_session_kept",
            ),
            models.Index(
                fields=["-ended_at"],
                condition=Q(ended_at__isnull=False),
                name="runner_session_newest_ended",
            ),
            # What a profile's limit counts.
            models.Index(
                fields=["profile", "dispatched_at"],
                condition=Q(state__in=_states(*LEASED)),
                name="runner_session_live",
            ),
            models.Index(fields=["organization", "task_id", "-id"], name="runner_session_of_task"),
            # What failed in a window: as small as what ever failed.
            models.Index(
                fields=["organization", "-ended_at"],
                condition=Q(state__in=_states(*FAILURES)),
                name="runner_session_failed",
            ),
        ]
        constraints = [
            CheckConstraint(
                condition=Q(state__in=_states(*State)), name="runner_session_known_state"
            ),
            CheckConstraint(
                condition=Q(state__in=_states(*LEASED), lease_expires_at__isnull=False)
                | (~Q(state__in=_states(*LEASED)) & Q(lease_expires_at__isnull=True)),
                name="runner_session_lease_iff_leased",
            ),
            CheckConstraint(
                condition=Q(state__in=_states(*FINAL), ended_at__isnull=False)
                | (~Q(state__in=_states(*FINAL)) & Q(ended_at__isnull=True)),
                name="runner_session_ended_iff_final",
            ),
            CheckConstraint(
                condition=Q(state__in=_states(*FINAL))
                | Q(lease_expires_at__isnull=False)
                | Q(deadline_at__isnull=False),
                name="runner_session_never_stuck",
            ),
        ]

    def __str__(self) -> str:
        return ids.encode("sess", self.id)

    @property
    def is_final(self) -> bool:
        return self.state in FINAL

    @property
    def is_leased(self) -> bool:
        return self.state in LEASED


def _known_edges() -> Q:
    condition = Q()
    for edge in EDGES:
        source = edge.source.value if edge.source else ""
        condition |= Q(verb=edge.verb.value, source=source, target=edge.target.value)
    return condition


class Transition(models.Model):
    """One step of a session through its lifecycle, as the ledger's record `seq` says it.

    Kept beside the ledger because the timeline, attempts and summaries are read without touching
    a partition of events, and outlive its retention.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    session = models.ForeignKey(
        RunnerSession,
        models.PROTECT,
        related_name="transitions",
        db_constraint=False,
        db_index=False,
    )
    seq = models.PositiveBigIntegerField()
    verb = models.CharField(max_length=16)
    source = models.CharField(max_length=16, blank=True)
    target = models.CharField(max_length=16)
    reason = models.CharField(max_length=64, blank=True)
    actor = models.CharField(max_length=64)
    executor = models.JSONField(default=dict)
    claim_id = models.CharField(max_length=120, blank=True, default="")
    lease_epoch = models.PositiveBigIntegerField()
    at = models.DateTimeField()

    class Meta:
        db_table = "runner_transition"
        indexes = [
            # What a claim_id was answered with; partial, since one step of many is such a claim.
            models.Index(
                fields=["organization", "actor", "claim_id"],
                condition=~Q(claim_id=""),
                name="runner_transition_claim_id",
            )
        ]
        constraints = [
            UniqueConstraint(fields=["session", "seq"], name="runner_transition_once"),
            CheckConstraint(condition=_known_edges(), name="runner_transition_is_an_edge"),
        ]

    def __str__(self) -> str:
        return f"{self.source or '–'} → {self.target} ({self.verb})"


class Checkpoint(models.Model):
    """What an attempt leaves for the next: immutable, numbered from 1 without gaps."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    organization = models.ForeignKey(
        "identity.Organization", models.PROTECT, related_name="+", db_index=False
    )
    session = models.ForeignKey(
        RunnerSession,
        models.PROTECT,
        related_name="checkpoints",
        db_constraint=False,
        db_index=False,
    )
    number = models.PositiveIntegerField()
    lease_epoch = models.PositiveBigIntegerField()
    label = models.CharField(max_length=120, blank=True, default="")
    data = models.JSONField()
    digest = models.CharField(max_length=71)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "runner_checkpoint"
        constraints = [
            UniqueConstraint(fields=["session", "number"], name="runner_checkpoint_number")
        ]

    def __str__(self) -> str:
        return f"checkpoint {self.number}"
