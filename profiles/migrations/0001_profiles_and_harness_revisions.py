import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models

import keeptrusts_runners.ids


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
    ]

    operations = [
        migrations.CreateModel(
            name="RunnerProfile",
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
                ("name", models.CharField(max_length=120)),
                ("description", models.TextField(blank=True, default="")),
                ("execution_target", models.CharField(max_length=64)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("active", "Active"),
                            ("paused", "Paused"),
                            ("archived", "Archived"),
                        ],
                        default="active",
                        max_length=16,
                    ),
                ),
                ("version", models.PositiveIntegerField(default=1)),
                ("labels", models.JSONField(default=dict)),
                ("max_concurrent_sessions", models.PositiveIntegerField(null=True)),
                ("max_artifact_bytes", models.PositiveBigIntegerField(default=1073741824)),
                ("max_artifacts", models.PositiveIntegerField(default=500)),
                ("lease_ttl_seconds", models.PositiveIntegerField(default=60)),
                ("heartbeat_interval_seconds", models.PositiveIntegerField(default=15)),
                ("max_attempts", models.PositiveIntegerField(default=1)),
                ("backoff_seconds", models.PositiveIntegerField(default=5)),
                ("grant_policy", models.JSONField(default=list)),
                ("grant_policy_version", models.PositiveIntegerField(default=1)),
                ("retention_days", models.PositiveIntegerField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.contrib.postgres.functions.TransactionNow(),
                        editable=False,
                    ),
                ),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=django.contrib.postgres.functions.TransactionNow(),
                        editable=False,
                    ),
                ),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
            ],
            options={
                "db_table": "runner_profile",
            },
        ),
        migrations.CreateModel(
            name="HarnessRevision",
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
                ("version", models.CharField(max_length=120)),
                ("image_ref", models.CharField(max_length=512)),
                ("image_digest", models.CharField(max_length=80, null=True)),
                ("entrypoint", models.JSONField(default=list)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("active", "Active"),
                            ("deprecated", "Deprecated"),
                            ("recalled", "Recalled"),
                        ],
                        default="active",
                        max_length=16,
                    ),
                ),
                ("notes", models.TextField(blank=True, default="")),
                (
                    "published_at",
                    models.DateTimeField(
                        db_default=django.contrib.postgres.functions.TransactionNow(),
                        editable=False,
                    ),
                ),
                ("published_by", models.CharField(max_length=64)),
                (
                    "organization",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="identity.organization",
                    ),
                ),
                (
                    "profile",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="harnesses",
                        to="profiles.runnerprofile",
                    ),
                ),
            ],
            options={
                "db_table": "runner_harness",
            },
        ),
        migrations.AddConstraint(
            model_name="runnerprofile",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "archived"), _negated=True),
                fields=("organization", "name"),
                name="runner_profile_name",
            ),
        ),
        migrations.AddConstraint(
            model_name="runnerprofile",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "paused", "archived"])),
                name="runner_profile_status",
            ),
        ),
        migrations.AddConstraint(
            model_name="runnerprofile",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("heartbeat_interval_seconds__lt", models.F("lease_ttl_seconds"))
                ),
                name="runner_profile_heartbeat_within_lease",
            ),
        ),
        migrations.AddConstraint(
            model_name="harnessrevision",
            constraint=models.UniqueConstraint(
                fields=("profile", "version"), name="runner_harness_version"
            ),
        ),
        migrations.AddConstraint(
            model_name="harnessrevision",
            constraint=models.CheckConstraint(
                condition=models.Q(("status__in", ["active", "deprecated", "recalled"])),
                name="runner_harness_status",
            ),
        ),
    ]
