"""What else is kept about execution: steps, checkpoints, executors, batches, refusals."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keeptrusts_runners import ids
from keeptrusts_runners.investigations.columns import as_json, linked, list_address, who
from keeptrusts_runners.investigations.filters import OfSession, one_of
from keeptrusts_runners.investigations.forensic import Forensic
from keeptrusts_runners.investigations.questions import Question
from sessions.batch_models import BatchItem, BatchState, BatchVerb, Outcome, RunnerBatch
from sessions.executor_models import RunnerExecutor
from sessions.investigations import OF_REFUSALS
from sessions.models import Checkpoint, RunnerSession, Transition
from sessions.refusal_models import Refusal


@admin.register(Transition)
class TransitionAdmin(Forensic):
    question = Question.WHAT_RAN
    many = "Steps of sessions"
    belongs = {"sess": "session_id"}
    list_display = ("at", "of_session", "verb", "source", "target", "reason", "by", "lease_epoch")
    list_filter = (OfSession,)
    fields = readonly_fields = (
        "of_session", "of_organization", "seq", "verb", "source", "target", "reason", "by",
        "by_executor", "claim_id", "lease_epoch", "at",
    )  # fmt: skip

    of_session = linked("session", "sess")
    of_organization = linked("organization")
    by = who("actor", "by")
    by_executor = as_json("executor")


@admin.register(Checkpoint)
class CheckpointAdmin(Forensic):
    question = Question.WHAT_RAN
    many = "Checkpoints of sessions"
    id_prefix = "ckpt"
    belongs = {"sess": "session_id"}
    heavy = ("data",)
    list_display = ("public_id", "number", "label", "of_session", "lease_epoch", "created_at")
    list_filter = (OfSession,)
    fields = readonly_fields = (
        "public_id", "of_session", "of_organization", "number", "label", "lease_epoch", "digest",
        "content", "created_at",
    )  # fmt: skip

    of_session = linked("session", "sess")
    of_organization = linked("organization")
    content = as_json("data")


@admin.register(RunnerExecutor)
class RunnerExecutorAdmin(Forensic):
    question = Question.WHAT_RAN
    many = "Executors"
    id_prefix = "exec"
    exact = ("account",)
    belongs = {"org": "organization_id"}
    list_display = ("named", "public_id", "version", "runs_as", "of_organization", "last_seen_at")
    list_select_related = ("organization",)
    fields = readonly_fields = (
        "public_id", "name", "version", "runs_as", "of_organization", "labels_json",
        "profile_ids", "first_seen_at", "last_seen_at", "polled_at", "draining_at", "drained_by",
        "draining_reason", "its_sessions",
    )  # fmt: skip

    of_organization = linked("organization")
    runs_as = who("account", "runs as")
    drained_by = who("draining_by")
    labels_json = as_json("labels")

    @admin.display(description="name")
    def named(self, obj: RunnerExecutor) -> str:
        return str(obj)

    @admin.display(description="sessions")
    def its_sessions(self, obj: RunnerExecutor) -> SafeString:
        return _searched(RunnerSession, q=ids.encode("exec", obj.pk))


@admin.register(RunnerBatch)
class RunnerBatchAdmin(Forensic):
    question = Question.WHAT_RAN
    many = "Batches"
    id_prefix = "batch"
    belongs = {"org": "organization_id"}
    list_display = ("public_id", "verb", "state", "total", "asked_by", "of_organization")
    list_select_related = ("organization",)
    list_filter = (one_of("state", BatchState), one_of("verb", BatchVerb))
    fields = readonly_fields = (
        "public_id", "of_organization", "verb", "options_json", "reason", "filter_json", "as_of",
        "asked_by", "state", "total", "done", "skipped", "refused", "stopper", "stopped_at",
        "created_at", "ended_at", "all_items",
    )  # fmt: skip

    of_organization = linked("organization")
    asked_by = who("requested_by")
    stopper = who("stopped_by")
    options_json = as_json("options")
    filter_json = as_json("filter")

    @admin.display(description="sessions")
    def all_items(self, obj: RunnerBatch) -> SafeString:
        return _searched(BatchItem, q=ids.encode("batch", obj.pk))


@admin.register(BatchItem)
class BatchItemAdmin(Forensic):
    question = Question.WHAT_RAN
    many = "Sessions of batches"
    belongs = {"batch": "batch_id"}
    list_display = ("of_session", "outcome", "code", "of_batch", "settled_at")
    list_display_links = ("outcome",)
    list_filter = (one_of("outcome", Outcome),)
    fields = readonly_fields = (
        "of_batch", "of_session", "of_organization", "outcome", "code", "detail", "of_retry",
        "settled_at",
    )  # fmt: skip

    of_organization = linked("organization")
    of_batch = linked("batch", "batch")
    of_session = linked("session", "sess")
    of_retry = linked("retry", "sess")


@admin.register(Refusal)
class RefusalAdmin(Forensic):
    question = Question.WHO_DECIDED
    many = "Refused writes and claims"
    investigations = OF_REFUSALS
    belongs = {"sess": "session_id"}
    list_display = ("last_at", "of_session", "operation", "code", "reason", "by", "count")
    list_filter = (OfSession,)
    fields = readonly_fields = (
        "of_session", "of_organization", "operation", "code", "reason", "by", "named_epoch",
        "lease_epoch", "minute", "count", "first_at", "last_at", "request_id",
    )  # fmt: skip

    of_session = linked("session", "sess")
    of_organization = linked("organization")
    by = who("actor", "by")


def _searched(model: Any, **query: str) -> SafeString:
    return format_html('<a href="{}">All of them</a>', list_address(model, urlencode(query)))
