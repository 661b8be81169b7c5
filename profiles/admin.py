"""Profiles and harness revisions of every organization, to look at."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keeptrusts_runners import ids
from keeptrusts_runners.investigations.columns import LAST, as_json, link, linked, table, who
from keeptrusts_runners.investigations.filters import one_of
from keeptrusts_runners.investigations.forensic import Forensic
from keeptrusts_runners.investigations.questions import FORENSICS, Question
from profiles.models import HarnessRevision, HarnessStatus, ProfileStatus, RunnerProfile


def _sessions(prefix: str, obj: Any) -> SafeString:
    """By address: sessions are an app above this one."""
    found = reverse("admin:runner_sessions_runnersession_changelist")
    query = urlencode({"q": ids.encode(prefix, obj.pk)})
    return format_html('<a href="{}?{}">All of them</a>', found, query)


@admin.register(RunnerProfile)
class RunnerProfileAdmin(Forensic):
    question = Question.WHAT_RAN
    many = "Profiles"
    id_prefix = "prof"
    exact = ("name",)
    belongs = {"org": "organization_id"}
    heavy = ("grant_policy",)
    list_display = ("name", "public_id", "status", "execution_target", "of_organization")
    list_select_related = ("organization",)
    list_filter = (one_of("status", ProfileStatus),)
    fields = readonly_fields = (
        "public_id", "in_console", "name", "status", "of_organization", "description",
        "execution_target", "version", "labels_json", "max_concurrent_sessions",
        "queue_target_seconds", "max_artifact_bytes", "max_artifacts", "max_stored_bytes",
        "lease_ttl_seconds", "heartbeat_interval_seconds", "max_attempts", "backoff_seconds",
        "policy", "grant_policy_version", "retention_days", "artifact_retention_days", "created_at",
        "updated_at", "sessions_of_it", "revisions",
    )  # fmt: skip

    of_organization = linked("organization")
    labels_json = as_json("labels")
    policy = as_json("grant_policy")

    @admin.display(description="in the console")
    def in_console(self, obj: RunnerProfile) -> SafeString:
        return format_html(
            '<a href="{}">For members of the organization</a>', reverse("profile", args=[obj.pk])
        )

    @admin.display(description="sessions")
    def sessions_of_it(self, obj: RunnerProfile) -> SafeString:
        return _sessions("prof", obj)

    @admin.display(description=f"harness revisions, the last {LAST}")
    def revisions(self, obj: RunnerProfile) -> SafeString:
        found = obj.harnesses.using(FORENSICS).order_by("-id")[:LAST]
        rows = (
            (link(row, row.version), row.status, row.image_ref, row.image_digest or "mutable tag")
            for row in found
        )
        return table("Harness revisions", ("Version", "Status", "Image", "Digest"), rows)


@admin.register(HarnessRevision)
class HarnessRevisionAdmin(Forensic):
    question = Question.WHAT_RAN
    many = "Harness revisions"
    id_prefix = "harn"
    belongs = {"org": "organization_id", "prof": "profile_id"}
    list_display = ("version", "public_id", "status", "of_profile", "image_ref", "published_at")
    list_select_related = ("profile",)
    list_filter = (one_of("status", HarnessStatus),)
    fields = readonly_fields = (
        "public_id", "version", "status", "status_reason", "status_changed_at", "changer",
        "of_profile", "of_organization", "image_ref", "image_digest", "entrypoint_json", "notes",
        "published_at", "publisher", "sessions_of_it",
    )  # fmt: skip

    of_profile = linked("profile")
    of_organization = linked("organization")
    changer = who("status_changed_by")
    publisher = who("published_by")
    entrypoint_json = as_json("entrypoint")

    @admin.display(description="sessions")
    def sessions_of_it(self, obj: HarnessRevision) -> SafeString:
        return _sessions("harn", obj)
