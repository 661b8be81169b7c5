"""Profiles and harnesses stay within their organization; of a harness only the status changes."""

from django.db import migrations

from keeptrusts_runners.identity.rls import protect, tenant_key, tenant_reference


class Migration(migrations.Migration):
    dependencies = [("profiles", "0001_profiles_and_harness_revisions")]

    operations = [
        tenant_key("runner_profile"),
        protect("runner_profile", app=("SELECT", "INSERT", "UPDATE"), maintain=("SELECT",)),
        tenant_key("runner_harness"),
        tenant_reference("runner_harness", "profile_id", "runner_profile"),
        protect(
            "runner_harness", app=("SELECT", "INSERT", "UPDATE (status)"), maintain=("SELECT",)
        ),
    ]
