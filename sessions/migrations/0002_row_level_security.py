"""Sessions, transitions and checkpoints stay within their organization; the last two are
append-only, and heartbeats find room on their page."""

from django.db import migrations

from keeptrusts_runners.identity.rls import protect, tenant_key, tenant_reference


class Migration(migrations.Migration):
    dependencies = [
        ("runner_sessions", "0001_sessions_transitions_and_checkpoints"),
        ("profiles", "0002_row_level_security"),
    ]

    operations = [
        tenant_key("runner_session"),
        tenant_reference("runner_session", "profile_id", "runner_profile"),
        tenant_reference("runner_session", "harness_id", "runner_harness"),
        tenant_reference("runner_session", "retry_of_id", "runner_session"),
        protect("runner_session", app=("SELECT", "INSERT", "UPDATE"), maintain=("SELECT",)),
        tenant_reference("runner_transition", "session_id", "runner_session"),
        protect("runner_transition", maintain=("SELECT",)),
        tenant_reference("runner_checkpoint", "session_id", "runner_session"),
        protect("runner_checkpoint", maintain=("SELECT",)),
        # A heartbeat touches no index; with room on the page it stays a HOT update.
        migrations.RunSQL(
            "ALTER TABLE runner_session SET (fillfactor = 70)",
            "ALTER TABLE runner_session RESET (fillfactor)",
        ),
    ]
