"""The audit log, and the log of each organization with its checkpoints, to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keeptrusts_runners import clock
from keeptrusts_runners.evidence.audit_models import AuditRecord, Denial, Outcome
from keeptrusts_runners.evidence.investigations import OF_AUDIT, OF_DENIALS, OF_LOGS
from keeptrusts_runners.evidence.log_models import Log, LogCheckpoint, LogKey, LogLeaf, Pending
from keeptrusts_runners.investigations.columns import (
    LAST,
    as_hex,
    digest,
    linked,
    pretty,
    table,
    who,
)
from keeptrusts_runners.investigations.filters import one_of
from keeptrusts_runners.investigations.forensic import Forensic
from keeptrusts_runners.investigations.questions import FORENSICS, Question


@admin.register(AuditRecord)
class AuditRecordAdmin(Forensic):
    question = Question.WHO_DECIDED
    many = "Audit log"
    investigations = OF_AUDIT
    id_prefix = "aud"
    exact = ("object", "actor", "verb", "request_id")
    belongs = {"org": "organization_id"}
    heavy = ("body",)
    list_display = ("at", "by", "verb", "of_object", "outcome", "of_organization")
    list_display_links = ("at",)
    list_select_related = ("organization",)
    list_filter = (one_of("outcome", Outcome),)
    fields = readonly_fields = (
        "public_id", "of_organization", "at", "by", "verb", "of_object", "outcome", "request_id",
        "content_json", "of_digest",
    )  # fmt: skip

    of_organization = linked("organization")
    by = who("actor", "by")
    of_object = who("object")
    of_digest = as_hex("digest")

    @admin.display(description="what was recorded")
    def content_json(self, obj: AuditRecord) -> SafeString:
        return pretty(obj.content)


@admin.register(Denial)
class DenialAdmin(Forensic):
    question = Question.WHO_DECIDED
    many = "Denials of this minute"
    investigations = OF_DENIALS
    list_display = ("minute", "by", "route", "code", "count", "of_organization")
    list_select_related = ("organization",)
    fields = readonly_fields = (
        "of_organization", "by", "route", "code", "minute", "count", "first_request_id",
        "source_address",
    )  # fmt: skip

    of_organization = linked("organization")
    by = who("actor", "by")


@admin.register(Log)
class LogAdmin(Forensic):
    """With its checkpoints, leaves and what waits: their keys are of two columns, for which the
    admin has no pages."""

    question = Question.IS_IT_WHOLE
    many = "Logs of organizations"
    investigations = OF_LOGS
    id_prefix = "org"
    dated = False
    list_display = ("of_organization", "public_id", "size", "published_size", "refused")
    list_display_links = ("public_id",)
    list_select_related = ("organization",)
    fields = readonly_fields = (
        "of_organization", "size", "of_root", "published_size", "refused", "refused_since",
        "checkpoints", "leaves", "waiting",
    )  # fmt: skip

    of_organization = linked("organization")
    of_root = as_hex("root")

    @admin.display(description=f"checkpoints, the last {LAST}")
    def checkpoints(self, obj: Log) -> SafeString:
        rows = (
            (
                row.size,
                clock.rfc3339(row.at),
                digest(row.root),
                format_html("<pre>{}</pre>", row.note),
            )
            for row in _of(LogCheckpoint, obj).order_by("-size")[:LAST]
        )
        return table("Checkpoints", ("Leaves", "Signed", "Root", "Signed note"), rows)

    @admin.display(description=f"leaves, the last {LAST}")
    def leaves(self, obj: Log) -> SafeString:
        rows = (
            (row.index, row.kind, row.subject, row.seq, clock.rfc3339(row.appended_at))
            for row in _of(LogLeaf, obj).order_by("-index")[:LAST]
        )
        return table("Leaves", ("Leaf", "Kind", "Of", "Record", "Appended"), rows)

    @admin.display(description=f"what waits, the oldest {LAST}")
    def waiting(self, obj: Log) -> SafeString:
        rows = (
            (clock.rfc3339(row.at), row.kind, row.subject, row.seq)
            for row in _of(Pending, obj).order_by("id")[:LAST]
        )
        return table("Waiting", ("Since", "Kind", "Of", "Record"), rows)


def _of(model: Any, log: Log) -> Any:
    return model.objects.using(FORENSICS).filter(organization_id=log.organization_id)


@admin.register(LogKey)
class LogKeyAdmin(Forensic):
    question = Question.IS_IT_WHOLE
    many = "Keys that sign logs"
    dated = False
    list_display = ("kid", "since", "until")
    fields = readonly_fields = ("kid", "of_key", "since", "until")

    of_key = as_hex("public_key")
