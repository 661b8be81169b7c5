import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

import keeptrusts_runners.ids
import sessions.models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("profiles", "0001_profiles_and_harness_revisions"),
    ]

    operations = [
        migrations.CreateModel(
            name="RunnerSession",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        db_default=sessions.models.DatabaseUuid7(),
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("task_id", models.CharField(max_length=200)),
                (
                    "side_effects",
                    models.CharField(
                        choices=[
                            ("idempotent", "Idempotent"),
                            ("resumable", "Resumable"),
                            ("at_most_once", "At Most Once"),
                        ],
                        default="idempotent",
                        max_length=16,
                    ),
                ),
                ("state", models.CharField(default="pending", max_length=16)),
                ("reason", models.CharField(blank=True, default="", max_length=64)),
                (
                    "desired_state",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("paused", "Paused"),
                            ("cancelled", "Cancelled"),
                        ],
                        default="running",
                        max_length=16,
                    ),
                ),
                ("version", models.PositiveIntegerField(default=1)),
                ("priority", models.SmallIntegerField(default=0)),
                ("labels", models.JSONField(default=dict)),
                ("metadata", models.JSONField(default=dict)),
                ("input", models.JSONField(default=dict)),
                ("traceparent", models.CharField(blank=True, default="", max_length=64)),
                ("dispatched_by", models.CharField(max_length=64)),
                ("grant_policy", models.JSONField(default=list)),
                ("grant_policy_version", models.PositiveIntegerField(default=1)),
                ("max_attempts", models.PositiveIntegerField()),
                ("backoff_seconds", models.PositiveIntegerField()),
                ("failures", models.PositiveIntegerField(default=0)),
                ("not_before", models.DateTimeField(null=True)),
                ("queue_timeout_seconds", models.PositiveIntegerField()),
                ("timeout_seconds", models.PositiveIntegerField()),
                ("deadline_at", models.DateTimeField(null=True)),
                ("run_deadline_at", models.DateTimeField(null=True)),
                ("run_seconds_left", models.FloatField(null=True)),
                ("lease_epoch", models.PositiveBigIntegerField(default=0)),
                ("lease_account", models.CharField(blank=True, default="", max_length=64)),
                ("lease_executor", models.JSONField(default=dict)),
                ("lease_ttl_seconds", models.PositiveIntegerField(null=True)),
                ("lease_expires_at", models.DateTimeField(null=True)),
                ("claim_id", models.CharField(blank=True, default="", max_length=120)),
                ("heartbeat_at", models.DateTimeField(null=True)),
                ("heartbeat_interval_seconds", models.PositiveIntegerField(null=True)),
                ("progress", models.JSONField(null=True)),
                ("progress_at", models.DateTimeField(null=True)),
                ("checkpoints_recorded", models.PositiveIntegerField(default=0)),
                ("resume_from", models.PositiveIntegerField(null=True)),
                ("result", models.JSONField(null=True)),
                ("error", models.JSONField(null=True)),
                ("reported_outcome", models.CharField(blank=True, default="", max_length=16)),
                ("outcome_epoch", models.PositiveBigIntegerField(null=True)),
                ("outcome_digest", models.BinaryField(max_length=32, null=True)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.contrib.postgres.functions.TransactionNow(),
                        editable=False,
                    ),
                ),
                ("dispatched_at", models.DateTimeField(null=True)),
                ("started_at", models.DateTimeField(null=True)),
                ("paused_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=django.contrib.postgres.functions.TransactionNow(),
                        editable=False,
                    ),
                ),
                (
                    "harness",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="sessions",
                        to="profiles.harnessrevision",
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
                (
                    "profile",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="sessions",
                        to="profiles.runnerprofile",
                    ),
                ),
                (
                    "retry_of",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="retries",
                        to="runner_sessions.runnersession",
                    ),
                ),
            ],
            options={
                "db_table": "runner_session",
            },
        ),
        migrations.CreateModel(
            name="Checkpoint",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=keeptrusts_runners.ids.new,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                ("lease_epoch", models.PositiveBigIntegerField()),
                ("label", models.CharField(blank=True, default="", max_length=120)),
                ("data", models.JSONField()),
                ("digest", models.CharField(max_length=71)),
                ("created_at", models.DateTimeField()),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
                (
                    "session",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="checkpoints",
                        to="runner_sessions.runnersession",
                    ),
                ),
            ],
            options={
                "db_table": "runner_checkpoint",
            },
        ),
        migrations.CreateModel(
            name="Transition",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=keeptrusts_runners.ids.new,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("seq", models.PositiveBigIntegerField()),
                ("verb", models.CharField(max_length=16)),
                ("source", models.CharField(blank=True, max_length=16)),
                ("target", models.CharField(max_length=16)),
                ("reason", models.CharField(blank=True, max_length=64)),
                ("actor", models.CharField(max_length=64)),
                ("executor", models.JSONField(default=dict)),
                ("lease_epoch", models.PositiveBigIntegerField()),
                ("at", models.DateTimeField()),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
                (
                    "session",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="transitions",
                        to="runner_sessions.runnersession",
                    ),
                ),
            ],
            options={
                "db_table": "runner_transition",
            },
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(fields=["organization", "-id"], name="runner_session_newest"),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(("state", "pending")),
                fields=["organization", "-priority", "id"],
                name="runner_session_queue",
            ),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(
                    ("state__in", ["cancelling", "dispatched", "paused", "pending", "running"])
                ),
                fields=["profile", "state"],
                name="runner_session_open",
            ),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(fields=["profile", "-id"], name="runner_session_of_profile"),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                fields=["organization", "task_id", "-id"], name="runner_session_of_task"
            ),
        ),
        migrations.AddConstraint(
            model_name="runnersession",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        [
                            "cancelled",
                            "cancelling",
                            "completed",
                            "dispatched",
                            "expired",
                            "failed",
                            "lost",
                            "paused",
                            "pending",
                            "running",
                            "timed_out",
                        ],
                    )
                ),
                name="runner_session_known_state",
            ),
        ),
        migrations.AddConstraint(
            model_name="runnersession",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("lease_expires_at__isnull", False),
                        ("state__in", ["cancelling", "dispatched", "running"]),
                    ),
                    models.Q(
                        models.Q(
                            ("state__in", ["cancelling", "dispatched", "running"]), _negated=True
                        ),
                        ("lease_expires_at__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="runner_session_lease_iff_leased",
            ),
        ),
        migrations.AddConstraint(
            model_name="runnersession",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(
                        ("ended_at__isnull", False),
                        (
                            "state__in",
                            ["cancelled", "completed", "expired", "failed", "lost", "timed_out"],
                        ),
                    ),
                    models.Q(
                        models.Q(
                            (
                                "state__in",
                                [
                                    "cancelled",
                                    "completed",
                                    "expired",
                                    "failed",
                                    "lost",
                                    "timed_out",
                                ],
                            ),
                            _negated=True,
                        ),
                        ("ended_at__isnull", True),
                    ),
                    _connector="OR",
                ),
                name="runner_session_ended_iff_final",
            ),
        ),
        migrations.AddConstraint(
            model_name="runnersession",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    (
                        "state__in",
                        ["cancelled", "completed", "expired", "failed", "lost", "timed_out"],
                    ),
                    ("lease_expires_at__isnull", False),
                    ("deadline_at__isnull", False),
                    _connector="OR",
                ),
                name="runner_session_never_stuck",
            ),
        ),
        migrations.AddConstraint(
            model_name="checkpoint",
            constraint=models.UniqueConstraint(
                fields=("session", "number"), name="runner_checkpoint_number"
            ),
        ),
        migrations.AddConstraint(
            model_name="transition",
            constraint=models.UniqueConstraint(
                fields=("session", "seq"), name="runner_transition_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="transition",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("source", ""), ("target", "pending"), ("verb", "dispatch")),
                    models.Q(("source", "pending"), ("target", "dispatched"), ("verb", "claim")),
                    models.Q(
                        ("source", "dispatched"), ("target", "running"), ("verb", "heartbeat")
                    ),
                    models.Q(("source", "running"), ("target", "running"), ("verb", "heartbeat")),
                    models.Q(
                        ("source", "cancelling"), ("target", "cancelling"), ("verb", "heartbeat")
                    ),
                    models.Q(
                        ("source", "cancelling"), ("target", "cancelling"), ("verb", "checkpoint")
                    ),
                    models.Q(
                        ("source", "dispatched"), ("target", "dispatched"), ("verb", "checkpoint")
                    ),
                    models.Q(("source", "running"), ("target", "running"), ("verb", "checkpoint")),
                    models.Q(("source", "pending"), ("target", "paused"), ("verb", "pause")),
                    models.Q(("source", "dispatched"), ("target", "dispatched"), ("verb", "pause")),
                    models.Q(("source", "running"), ("target", "running"), ("verb", "pause")),
                    models.Q(("source", "paused"), ("target", "pending"), ("verb", "resume")),
                    models.Q(
                        ("source", "dispatched"), ("target", "dispatched"), ("verb", "resume")
                    ),
                    models.Q(("source", "running"), ("target", "running"), ("verb", "resume")),
                    models.Q(("source", "pending"), ("target", "cancelled"), ("verb", "cancel")),
                    models.Q(("source", "paused"), ("target", "cancelled"), ("verb", "cancel")),
                    models.Q(
                        ("source", "dispatched"), ("target", "cancelling"), ("verb", "cancel")
                    ),
                    models.Q(("source", "running"), ("target", "cancelling"), ("verb", "cancel")),
                    models.Q(
                        ("source", "dispatched"), ("target", "paused"), ("verb", "acknowledge")
                    ),
                    models.Q(("source", "running"), ("target", "paused"), ("verb", "acknowledge")),
                    models.Q(
                        ("source", "cancelling"), ("target", "cancelled"), ("verb", "acknowledge")
                    ),
                    models.Q(
                        ("source", "dispatched"), ("target", "completed"), ("verb", "complete")
                    ),
                    models.Q(("source", "running"), ("target", "completed"), ("verb", "complete")),
                    models.Q(
                        ("source", "cancelling"), ("target", "cancelled"), ("verb", "complete")
                    ),
                    models.Q(("source", "dispatched"), ("target", "failed"), ("verb", "fail")),
                    models.Q(("source", "running"), ("target", "failed"), ("verb", "fail")),
                    models.Q(("source", "dispatched"), ("target", "pending"), ("verb", "fail")),
                    models.Q(("source", "running"), ("target", "pending"), ("verb", "fail")),
                    models.Q(("source", "cancelling"), ("target", "cancelled"), ("verb", "fail")),
                    models.Q(("source", "pending"), ("target", "expired"), ("verb", "expire")),
                    models.Q(("source", "pending"), ("target", "timed_out"), ("verb", "time_out")),
                    models.Q(
                        ("source", "dispatched"), ("target", "timed_out"), ("verb", "time_out")
                    ),
                    models.Q(("source", "running"), ("target", "timed_out"), ("verb", "time_out")),
                    models.Q(("source", "paused"), ("target", "timed_out"), ("verb", "time_out")),
                    models.Q(("source", "dispatched"), ("target", "pending"), ("verb", "lose")),
                    models.Q(("source", "running"), ("target", "pending"), ("verb", "lose")),
                    models.Q(("source", "dispatched"), ("target", "paused"), ("verb", "lose")),
                    models.Q(("source", "running"), ("target", "paused"), ("verb", "lose")),
                    models.Q(("source", "dispatched"), ("target", "lost"), ("verb", "lose")),
                    models.Q(("source", "running"), ("target", "lost"), ("verb", "lose")),
                    models.Q(("source", "cancelling"), ("target", "cancelled"), ("verb", "lose")),
                    models.Q(("source", "cancelling"), ("target", "cancelled"), ("verb", "force")),
                    models.Q(("source", "dispatched"), ("target", "cancelled"), ("verb", "force")),
                    models.Q(("source", "running"), ("target", "cancelled"), ("verb", "force")),
                    _connector="OR",
                ),
                name="runner_transition_is_an_edge",
            ),
        ),
    ]
