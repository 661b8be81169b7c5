"""What a request for many sessions must be, and what batches look like."""

from __future__ import annotations

from rest_framework import serializers

from keeptrusts_runners.api.filter_bodies import shape_of
from keeptrusts_runners.api.inputs import Boolean, InputShape, Instant, Text
from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape
from sessions.batch_models import BatchState, BatchVerb, Outcome, RunnerBatch
from sessions.filters import SessionFilters


class BulkIn(InputShape):
    filter = shape_of(SessionFilters)()
    as_of = Instant(required=False)
    reason = Text(max_length=2000, lines=True)
    dry_run = Boolean(required=False)


class BulkCancelIn(BulkIn):
    force = Boolean(required=False)


class BulkRetryIn(BulkIn):
    same_harness = Boolean(required=False)


class PreviewOut(OutputShape):
    """What a batch would take. `capped`: more match than one batch takes, and the figures are of
    the newest. `sample`: the newest of them."""

    as_of = InstantOut()
    matched = serializers.IntegerField()
    capped = serializers.BooleanField()
    by_state = serializers.DictField(child=serializers.IntegerField())
    sample = serializers.ListField(child=IdOut("sess"))


class ProgressOut(OutputShape):
    """What is not yet done, skipped or refused is pending."""

    total = serializers.IntegerField()
    done = serializers.IntegerField()
    skipped = serializers.IntegerField()
    refused = serializers.IntegerField()


class BatchOut(OutputShape):
    """One request for many sessions, and how far it has come."""

    id = IdOut("batch")
    verb = serializers.ChoiceField(BatchVerb.choices)
    options = serializers.DictField(child=serializers.BooleanField())
    reason = serializers.CharField()
    filter = serializers.DictField()
    as_of = InstantOut()
    by = serializers.CharField(source="requested_by")
    state = serializers.ChoiceField(BatchState.choices)
    progress = serializers.SerializerMethodField()
    stopped_by = serializers.CharField()
    stopped_at = InstantOut(allow_null=True)
    created_at = InstantOut()
    ended_at = InstantOut(allow_null=True)

    def get_progress(self, obj: RunnerBatch) -> dict[str, int]:
        """total, done, skipped, refused"""
        return ProgressOut.render(obj)


class BatchItemOut(OutputShape):
    """What has come of one session. `code` and `detail` say why it was skipped or refused;
    `retry_id` is the session that runs its task again."""

    session_id = IdOut("sess")
    outcome = serializers.ChoiceField(Outcome.choices)
    code = serializers.CharField()
    detail = serializers.CharField()
    retry_id = IdOut("sess", allow_null=True)
    settled_at = InstantOut(allow_null=True)
