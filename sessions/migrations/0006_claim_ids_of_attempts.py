"""Each attempt keeps the claim_id that it was claimed with, so that an old one is still known."""

from django.db import migrations, models

# Before, only the newest claim's id was kept, beside the session.
_COPY = """
UPDATE runner_transition t SET claim_id = s.claim_id FROM runner_session s
 WHERE t.session_id = s.id AND t.verb = 'claim' AND t.lease_epoch = s.lease_epoch
   AND s.claim_id <> ''
"""


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0005_pause_after_a_retryable_failure"),
    ]

    operations = [
        migrations.AddField(
            model_name="transition",
            name="claim_id",
            field=models.CharField(blank=True, default="", max_length=120),
        ),
        migrations.RunSQL(_COPY, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="transition",
            index=models.Index(
                condition=models.Q(("claim_id", ""), _negated=True),
                fields=["organization", "actor", "claim_id"],
                name="runner_transition_claim_id",
            ),
        ),
    ]
