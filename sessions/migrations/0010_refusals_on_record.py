"""Refused claims and stale writes on record, beside the chain."""

import django.db.models.deletion
from django.db import migrations, models

import keeptrusts_runners.ids
from keeptrusts_runners.identity.rls import protect, tenant_reference


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0009_way_of_a_cancellation"),
    ]

    operations = [
        migrations.CreateModel(
            name="Refusal",
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
                ("operation", models.CharField(max_length=64)),
                ("code", models.CharField(max_length=64)),
                ("reason", models.CharField(blank=True, max_length=64)),
                ("actor", models.CharField(max_length=64)),
                ("named_epoch", models.PositiveBigIntegerField(default=0)),
                ("lease_epoch", models.PositiveBigIntegerField(default=0)),
                ("minute", models.DateTimeField()),
                ("count", models.PositiveIntegerField(default=1)),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("request_id", models.CharField(max_length=128)),
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
                        related_name="refusals",
                        to="runner_sessions.runnersession",
                    ),
                ),
            ],
            options={
                "db_table": "runner_refusal",
                "indexes": [models.Index(fields=["session", "-id"], name="runner_refusal_newest")],
                "constraints": [
                    models.UniqueConstraint(
                        fields=(
                            "session",
                            "minute",
                            "operation",
                            "code",
                            "reason",
                            "actor",
                            "named_epoch",
                        ),
                        name="runner_refusal_once_a_minute",
                    )
                ],
            },
        ),
        tenant_reference("runner_refusal", "session_id", "runner_session"),
        protect("runner_refusal", app=("SELECT", "INSERT", "UPDATE")),
    ]
