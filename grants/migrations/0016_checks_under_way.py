"""How far checks of long ledgers have come, so that they go on in the background, and after a kill."""

import django.db.models.deletion
from django.db import migrations, models

from keeptrusts_runners.identity.rls import protect, tenant_reference


class Migration(migrations.Migration):
    dependencies = [
        ("grants", "0015_direct_uploads"),
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0018_when_evidence_expired"),
    ]

    operations = [
        migrations.CreateModel(
            name="VerificationRun",
            fields=[
                (
                    "session",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="verification_run",
                        serialize=False,
                        to="runner_sessions.runnersession",
                    ),
                ),
                ("requested_by", models.CharField(max_length=64)),
                ("requested_at", models.DateTimeField()),
                ("stepped_at", models.DateTimeField()),
                ("failed_at", models.DateTimeField(null=True)),
                ("records", models.PositiveBigIntegerField(default=0)),
                ("head_hash", models.BinaryField(max_length=32)),
                ("ended_at_us", models.BigIntegerField(null=True)),
                ("redacted", models.JSONField(default=list)),
                ("tombstones", models.JSONField(default=list)),
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
                "db_table": "runner_verification_run",
            },
        ),
        tenant_reference("runner_verification_run", "session_id", "runner_session"),
        protect(
            "runner_verification_run",
            app=("SELECT", "INSERT", "UPDATE", "DELETE"),
            maintain=("SELECT",),
        ),
    ]
