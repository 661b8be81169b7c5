"""Lanes: what waits with the same profile, harness and labels is looked at once by a claim."""

from django.db import migrations, models

import sessions.models

# The built-in hash functions are what hash joins use; they are the same on every server of ours.
_FUNCTION = """
CREATE FUNCTION kt_lane(profile uuid, harness uuid, labels jsonb) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT uuid_hash_extended(profile, uuid_hash_extended(
       coalesce(harness, '00000000-0000-0000-0000-000000000000'), jsonb_hash_extended(labels, 0)))
$$;
GRANT EXECUTE ON FUNCTION kt_lane(uuid, uuid, jsonb) TO keeptrusts_app;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("profiles", "0003_harness_status_reasons"),
        ("runner_sessions", "0010_refusals_on_record"),
    ]

    operations = [
        migrations.RunSQL(_FUNCTION, "DROP FUNCTION kt_lane(uuid, uuid, jsonb)"),
        migrations.AddField(
            model_name="runnersession",
            name="lane",
            field=models.GeneratedField(
                db_persist=True,
                expression=sessions.models.Lane("profile", "harness", "labels"),
                output_field=models.BigIntegerField(),
            ),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(("not_before__isnull", True), ("state", "pending")),
                fields=["organization", "lane", "-priority", "id"],
                name="runner_session_lane",
            ),
        ),
        migrations.AddIndex(
            model_name="runnersession",
            index=models.Index(
                condition=models.Q(("not_before__isnull", False), ("state", "pending")),
                fields=["organization", "not_before"],
                name="runner_session_due",
            ),
        ),
    ]
