"""Batches and their items, within their organization; maintenance sees which are running."""

import django.db.models.deletion
from django.db import migrations, models

import keeptrusts_runners.ids
from keeptrusts_runners.identity.rls import protect, tenant_key, tenant_reference


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0011_lanes_of_the_queue"),
    ]

    operations = [
        migrations.CreateModel(
            name="RunnerBatch",
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
                (
                    "verb",
                    models.CharField(
                        choices=[("cancel", "Cancel"), ("retry", "Retry")], max_length=16
                    ),
                ),
                ("options", models.JSONField(default=dict)),
                ("reason", models.TextField()),
                ("filter", models.JSONField()),
                ("as_of", models.DateTimeField()),
                ("requested_by", models.CharField(max_length=64)),
                (
                    "state",
                    models.CharField(
                        choices=[("running", "Running"), ("done", "Done")],
                        default="running",
                        max_length=16,
                    ),
                ),
                ("total", models.PositiveIntegerField(default=0)),
                ("done", models.PositiveIntegerField(default=0)),
                ("skipped", models.PositiveIntegerField(default=0)),
                ("refused", models.PositiveIntegerField(default=0)),
                ("stopped_by", models.CharField(blank=True, default="", max_length=64)),
                ("stopped_at", models.DateTimeField(null=True)),
                ("created_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                (
                    "organization",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
            ],
            options={
                "db_table": "runner_batch",
            },
        ),
        migrations.CreateModel(
            name="BatchItem",
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
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("pending", "Pending"),
                            ("done", "Done"),
                            ("skipped", "Skipped"),
                            ("refused", "Refused"),
                        ],
                        db_default="pending",
                        max_length=16,
                    ),
                ),
                ("code", models.CharField(blank=True, db_default="", max_length=64)),
                ("detail", models.TextField(blank=True, db_default="")),
                ("settled_at", models.DateTimeField(null=True)),
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
                    "retry",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="runner_sessions.runnersession",
                    ),
                ),
                (
                    "session",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="runner_sessions.runnersession",
                    ),
                ),
                (
                    "batch",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="items",
                        to="runner_sessions.runnerbatch",
                    ),
                ),
            ],
            options={
                "db_table": "runner_batch_item",
            },
        ),
        migrations.AddIndex(
            model_name="runnerbatch",
            index=models.Index(fields=["organization", "-id"], name="runner_batch_newest"),
        ),
        migrations.AddIndex(
            model_name="runnerbatch",
            index=models.Index(
                condition=models.Q(("state", "running")),
                fields=["organization", "id"],
                name="runner_batch_running",
            ),
        ),
        migrations.AddConstraint(
            model_name="runnerbatch",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("ended_at__isnull", True), ("state", "running")),
                    models.Q(("ended_at__isnull", False), ("state", "done")),
                    _connector="OR",
                ),
                name="runner_batch_ended_iff_done",
            ),
        ),
        migrations.AddIndex(
            model_name="batchitem",
            index=models.Index(
                fields=["batch", "outcome", "session"], name="runner_batch_item_outcome"
            ),
        ),
        migrations.AddConstraint(
            model_name="batchitem",
            constraint=models.UniqueConstraint(
                fields=("batch", "session"), name="runner_batch_item_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="batchitem",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("outcome", "pending"), ("settled_at__isnull", True)),
                    models.Q(
                        models.Q(("outcome", "pending"), _negated=True),
                        ("settled_at__isnull", False),
                    ),
                    _connector="OR",
                ),
                name="runner_batch_item_settled_iff_not_pending",
            ),
        ),
        tenant_key("runner_batch"),
        protect("runner_batch", app=("SELECT", "INSERT", "UPDATE"), maintain=("SELECT",)),
        tenant_reference("runner_batch_item", "batch_id", "runner_batch"),
        tenant_reference("runner_batch_item", "session_id", "runner_session"),
        tenant_reference("runner_batch_item", "retry_id", "runner_session"),
        protect("runner_batch_item", app=("SELECT", "INSERT", "UPDATE"), maintain=("SELECT",)),
    ]
