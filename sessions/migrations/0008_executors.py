"""Executors, known from their claims; each session knows which one claimed it last."""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import keeptrusts_runners.ids
from keeptrusts_runners.identity.rls import protect, tenant_key, tenant_reference


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("profiles", "0003_harness_status_reasons"),
        ("runner_sessions", "0007_concurrency_keys"),
    ]

    operations = [
        migrations.CreateModel(
            name="RunnerExecutor",
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
                ("account", models.CharField(max_length=64)),
                ("name", models.CharField(blank=True, max_length=120)),
                ("version", models.CharField(blank=True, max_length=64)),
                ("labels", models.JSONField(default=dict)),
                (
                    "profile_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), null=True, size=None
                    ),
                ),
                ("first_seen_at", models.DateTimeField()),
                ("last_seen_at", models.DateTimeField()),
                ("polled_at", models.DateTimeField(null=True)),
                ("draining_at", models.DateTimeField(null=True)),
                ("draining_by", models.CharField(blank=True, default="", max_length=64)),
                ("draining_reason", models.TextField(blank=True, default="")),
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
                "db_table": "runner_executor",
            },
        ),
        migrations.AddField(
            model_name="runnersession",
            name="executor",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="sessions",
                to="runner_sessions.runnerexecutor",
            ),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(("executor__isnull", False)),
                fields=["executor", "-id"],
                name="runner_session_of_executor",
            ),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(("state__in", ["cancelling", "dispatched", "running"])),
                fields=["executor"],
                name="runner_session_held",
            ),
        ),
        migrations.AddIndex(
            model_name="runnerexecutor",
            index=models.Index(
                fields=["organization", "-polled_at"], name="runner_executor_polled"
            ),
        ),
        migrations.AddConstraint(
            model_name="runnerexecutor",
            constraint=models.UniqueConstraint(
                fields=("organization", "account", "name"), name="runner_executor_once"
            ),
        ),
        protect("runner_executor", app=("SELECT", "INSERT", "UPDATE")),
        tenant_key("runner_executor"),
        tenant_reference("runner_session", "executor_id", "runner_executor"),
    ]
