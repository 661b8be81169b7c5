"""Uploads that go on over several requests."""

import django.contrib.postgres.functions
import django.db.models.deletion
from django.db import migrations, models
from django.db.models import F, Q

import keeptrusts_runners.ids
from keeptrusts_runners.identity.rls import protect, tenant_reference


class Migration(migrations.Migration):
    dependencies = [("grants", "0013_lists_of_decided_lapsed_and_revoked_grants")]

    operations = [
        migrations.CreateModel(
            name="Upload",
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
                    "organization",
                    models.ForeignKey(
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
                        related_name="uploads",
                        to="runner_sessions.runnersession",
                    ),
                ),
                ("name", models.CharField(max_length=255)),
                ("kind", models.CharField(max_length=64)),
                ("media_type", models.CharField(max_length=127)),
                ("retention", models.CharField(default="standard", max_length=16)),
                ("length_bytes", models.PositiveBigIntegerField(null=True)),
                ("max_bytes", models.PositiveBigIntegerField()),
                ("sha256", models.CharField(blank=True, default="", max_length=64)),
                ("received_bytes", models.PositiveBigIntegerField(default=0)),
                ("placed_sha256", models.CharField(blank=True, default="", max_length=64)),
                ("lease_epoch", models.PositiveBigIntegerField()),
                ("created_by", models.CharField(max_length=64)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.contrib.postgres.functions.TransactionNow(),
                        editable=False,
                    ),
                ),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "runner_upload",
                "indexes": [
                    models.Index(fields=["session", "-id"], name="runner_upload_newest"),
                    models.Index(fields=["expires_at"], name="runner_upload_expiring"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(length_bytes__isnull=True)
                        | Q(received_bytes__lte=F("length_bytes")),
                        name="runner_upload_within_its_length",
                    )
                ],
            },
        ),
        tenant_reference("runner_upload", "session_id", "runner_session"),
        protect(
            "runner_upload",
            app=("SELECT", "INSERT", "UPDATE", "DELETE"),
            maintain=("SELECT", "DELETE"),
        ),
    ]
