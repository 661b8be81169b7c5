"""Sessions of every organization, their transitions and checkpoints, to look at."""

from __future__ import annotations

from django.contrib import admin
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keeptrusts_runners import clock
from keeptrusts_runners.identity.forensics import FORENSICS, Forensic, as_json, linked
from sessions.batch_models import BatchItem, RunnerBatch
from sessions.models import Checkpoint, RunnerSession, Transition

LAST = 20


@admin.register(RunnerSession)
class RunnerSessionAdmin(Forensic):
    id_prefix = "sess"
    exact = ("task_id",)
    list_display = ("public_id", "state", "reason", "task_id", "of_profile", "of_organization")
    list_display_links = ("public_id",)
    list_select_related = ("profile", "organization")
    list_filter = ("state",)
    fields = readonly_fields = (
        "public_id",
        "in_console",
        "of_organization",
        "of_profile",
        "of_harness",
        "original",
        "task_id",
        "state",
        "reason",
        "desired_state",
        "side_effects",
        "priority",
        "lease_epoch",
        "failures",
        "max_attempts",
        "lease_account",
        "executor",
        "lease_expires_at",
        "heartbeat_at",
        "created_at",
        "dispatched_at",
        "started_at",
        "ended_at",
        "updated_at",
        "deadline_at",
        "dispatched_by",
        "labels_json",
        "metadata_json",
        "input_json",
        "progress_json",
        "result_json",
        "error_json",
        "last_transitions",
        "records",
        "of_session",
    )

    of_organization = linked("organization", "")
    of_profile = linked("profile", "")
    of_harness = linked("harness", "", "harness")
    original = linked("retry_of", "sess", "retry of")
    executor = as_json("lease_executor", "executor")
    labels_json = as_json("labels", "labels")
    metadata_json = as_json("metadata", "metadata")
    input_json = as_json("input", "input")
    progress_json = as_json("progress", "progress")
    result_json = as_json("result", "result")
    error_json = as_json("error", "error")

    @admin.display(description="in the console")
    def in_console(self, obj: RunnerSession) -> SafeString:
        return format_html(
            '<a href="{}">For members of the organization</a>', reverse("session", args=[obj.pk])
        )

    @admin.display(description=f"transitions, the last {LAST}")
    def last_transitions(self, obj: RunnerSession) -> SafeString:
        found = Transition.objects.using(FORENSICS).filter(session=obj).order_by("-seq")[:LAST]
        return format_html_join(
            "",
            "<p>#{} {} {}: {} {}</p>",
            ((row.seq, clock.rfc3339(row.at), row, row.actor, row.reason) for row in found),
        )

    @admin.display(description=f"records, the last {LAST}")
    def records(self, obj: RunnerSession) -> SafeString:
        """Through the reverse relation: the ledger's model belongs to an app above this one."""
        found = obj.events.using(FORENSICS).filter(organization_id=obj.organization_id)
        return format_html_join(
            "",
            "<p>#{} {} {} {} {}</p>",
            (
                (row.seq, clock.rfc3339(row.recorded_at), row.level or "", row.kind, _short(row))
                for row in found.order_by("-seq")[:LAST]
            ),
        )

    @admin.display(description="all of it")
    def of_session(self, obj: RunnerSession) -> SafeString:
        names = {
            "event": "events",
            "artifact": "artifacts",
            "permissiongrant": "grants",
            "ledgerhead": "ledger",
        }
        return format_html_join(
            " · ",
            '<a href="{}?session={}">{}</a>',
            (
                (address, obj.pk, text)
                for name, text in names.items()
                if (address := _list_address(name))
            ),
        )


def _short(row: object) -> str:
    return str(getattr(row, "message", "") or "")[:200]


def _list_address(model: str) -> str:
    try:
        return reverse(f"admin:grants_{model}_changelist")
    except NoReverseMatch:
        return ""


@admin.register(Transition)
class TransitionAdmin(Forensic):
    list_display = ("id", "at", "verb", "source", "target", "reason", "actor", "of_session")
    list_select_related = ("session",)
    fields = readonly_fields = (
        "of_session",
        "seq",
        "verb",
        "source",
        "target",
        "reason",
        "actor",
        "by_executor",
        "lease_epoch",
        "at",
    )

    of_session = linked("session", "sess")
    by_executor = as_json("executor")


@admin.register(Checkpoint)
class CheckpointAdmin(Forensic):
    id_prefix = "ckpt"
    list_display = ("public_id", "number", "label", "of_session", "lease_epoch", "created_at")
    list_select_related = ("session",)
    fields = readonly_fields = (
        "public_id",
        "of_session",
        "number",
        "label",
        "lease_epoch",
        "digest",
        "content",
        "created_at",
    )

    of_session = linked("session", "sess")
    content = as_json("data", "data")


@admin.register(RunnerBatch)
class RunnerBatchAdmin(Forensic):
    id_prefix = "batch"
    list_display = ("public_id", "verb", "state", "total", "requested_by", "of_organization")
    list_select_related = ("organization",)
    list_filter = ("state", "verb")
    fields = readonly_fields = (
        "public_id",
        "of_organization",
        "verb",
        "options_json",
        "reason",
        "filter_json",
        "as_of",
        "requested_by",
        "state",
        "total",
        "done",
        "skipped",
        "refused",
        "stopped_by",
        "stopped_at",
        "created_at",
        "ended_at",
        "all_items",
    )

    of_organization = linked("organization", "")
    options_json = as_json("options", "options")
    filter_json = as_json("filter", "filter")

    @admin.display(description="sessions")
    def all_items(self, obj: RunnerBatch) -> SafeString:
        address = reverse("admin:runner_sessions_batchitem_changelist")
        return format_html('<a href="{}?batch={}">All of it</a>', address, obj.pk)


@admin.register(BatchItem)
class BatchItemAdmin(Forensic):
    list_display = ("id", "of_session", "outcome", "code", "of_batch")
    list_select_related = ("session", "batch")
    fields = readonly_fields = (
        "of_batch",
        "of_session",
        "outcome",
        "code",
        "detail",
        "of_retry",
        "settled_at",
    )

    of_batch = linked("batch", "batch")
    of_session = linked("session", "sess")
    of_retry = linked("retry", "sess")
