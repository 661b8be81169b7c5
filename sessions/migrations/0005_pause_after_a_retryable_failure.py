"""A retryable failure while a pause is wanted leads to paused."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("identity", "0002_row_level_security_and_roles"),
        ("runner_sessions", "0004_dispositions_of_lost_sessions"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="transition",
            name="runner_transition_is_an_edge",
        ),
        migrations.AddConstraint(
            model_name="transition",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("source", ""), ("target", "pending"), ("verb", "dispatch")),
                    models.Q(("source", "pending"), ("target", "dispatched"), ("verb", "claim")),
                    models.Q(
                        ("source", "dispatched"), ("target", "running"), ("verb", "heartbeat")
                    ),
                    models.Q(("source", "running"), ("target", "running"), ("verb", "heartbeat")),
                    models.Q(
                        ("source", "cancelling"), ("target", "cancelling"), ("verb", "heartbeat")
                    ),
                    models.Q(
                        ("source", "cancelling"), ("target", "cancelling"), ("verb", "checkpoint")
                    ),
                    models.Q(
                        ("source", "dispatched"), ("target", "dispatched"), ("verb", "checkpoint")
                    ),
                    models.Q(("source", "running"), ("target", "running"), ("verb", "checkpoint")),
                    models.Q(("source", "pending"), ("target", "paused"), ("verb", "pause")),
                    models.Q(("source", "dispatched"), ("target", "dispatched"), ("verb", "pause")),
                    models.Q(("source", "running"), ("target", "running"), ("verb", "pause")),
                    models.Q(("source", "paused"), ("target", "pending"), ("verb", "resume")),
                    models.Q(
                        ("source", "dispatched"), ("target", "dispatched"), ("verb", "resume")
                    ),
                    models.Q(("source", "running"), ("target", "running"), ("verb", "resume")),
                    models.Q(("source", "pending"), ("target", "cancelled"), ("verb", "cancel")),
                    models.Q(("source", "paused"), ("target", "cancelled"), ("verb", "cancel")),
                    models.Q(
                        ("source", "dispatched"), ("target", "cancelling"), ("verb", "cancel")
                    ),
                    models.Q(("source", "running"), ("target", "cancelling"), ("verb", "cancel")),
                    models.Q(
                        ("source", "dispatched"), ("target", "paused"), ("verb", "acknowledge")
                    ),
                    models.Q(("source", "running"), ("target", "paused"), ("verb", "acknowledge")),
                    models.Q(
                        ("source", "cancelling"), ("target", "cancelled"), ("verb", "acknowledge")
                    ),
                    models.Q(
                        ("source", "dispatched"), ("target", "completed"), ("verb", "complete")
                    ),
                    models.Q(("source", "running"), ("target", "completed"), ("verb", "complete")),
                    models.Q(
                        ("source", "cancelling"), ("target", "cancelled"), ("verb", "complete")
                    ),
                    models.Q(("source", "dispatched"), ("target", "failed"), ("verb", "fail")),
                    models.Q(("source", "running"), ("target", "failed"), ("verb", "fail")),
                    models.Q(("source", "dispatched"), ("target", "pending"), ("verb", "fail")),
                    models.Q(("source", "running"), ("target", "pending"), ("verb", "fail")),
                    models.Q(("source", "dispatched"), ("target", "paused"), ("verb", "fail")),
                    models.Q(("source", "running"), ("target", "paused"), ("verb", "fail")),
                    models.Q(("source", "cancelling"), ("target", "cancelled"), ("verb", "fail")),
                    models.Q(("source", "pending"), ("target", "expired"), ("verb", "expire")),
                    models.Q(("source", "pending"), ("target", "timed_out"), ("verb", "time_out")),
                    models.Q(
                        ("source", "dispatched"), ("target", "timed_out"), ("verb", "time_out")
                    ),
                    models.Q(("source", "running"), ("target", "timed_out"), ("verb", "time_out")),
                    models.Q(("source", "paused"), ("target", "timed_out"), ("verb", "time_out")),
                    models.Q(("source", "dispatched"), ("target", "pending"), ("verb", "lose")),
                    models.Q(("source", "running"), ("target", "pending"), ("verb", "lose")),
                    models.Q(("source", "dispatched"), ("target", "paused"), ("verb", "lose")),
                    models.Q(("source", "running"), ("target", "paused"), ("verb", "lose")),
                    models.Q(("source", "dispatched"), ("target", "lost"), ("verb", "lose")),
                    models.Q(("source", "running"), ("target", "lost"), ("verb", "lose")),
                    models.Q(("source", "cancelling"), ("target", "cancelled"), ("verb", "lose")),
                    models.Q(("source", "cancelling"), ("target", "cancelled"), ("verb", "force")),
                    models.Q(("source", "dispatched"), ("target", "cancelled"), ("verb", "force")),
                    models.Q(("source", "running"), ("target", "cancelled"), ("verb", "force")),
                    _connector="OR",
                ),
                name="runner_transition_is_an_edge",
            ),
        ),
    ]
