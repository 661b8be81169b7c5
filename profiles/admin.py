"""Profiles and harness revisions of every organization, to look at."""

from __future__ import annotations

from django.contrib import admin

from keeptrusts_runners.identity.forensics import Forensic, as_json, linked
from profiles.models import HarnessRevision, RunnerProfile


@admin.register(RunnerProfile)
class RunnerProfileAdmin(Forensic):
    id_prefix = "prof"
    list_display = ("name", "public_id", "status", "execution_target", "of_organization")
    list_select_related = ("organization",)
    list_filter = ("status",)
    exact = ("name",)
    fields = readonly_fields = (
        "public_id",
        "name",
        "status",
        "of_organization",
        "description",
        "execution_target",
        "version",
        "labels_json",
        "max_concurrent_sessions",
        "max_artifact_bytes",
        "max_artifacts",
        "max_stored_bytes",
        "lease_ttl_seconds",
        "heartbeat_interval_seconds",
        "max_attempts",
        "backoff_seconds",
        "policy",
        "grant_policy_version",
        "retention_days",
        "artifact_retention_days",
        "created_at",
        "updated_at",
    )

    of_organization = linked("organization", "")
    labels_json = as_json("labels", "labels")
    policy = as_json("grant_policy", "grant policy")


@admin.register(HarnessRevision)
class HarnessRevisionAdmin(Forensic):
    id_prefix = "harn"
    list_display = ("version", "public_id", "status", "of_profile", "image_ref", "published_at")
    list_select_related = ("profile", "organization")
    list_filter = ("status",)
    fields = readonly_fields = (
        "public_id",
        "version",
        "status",
        "of_profile",
        "of_organization",
        "image_ref",
        "image_digest",
        "entrypoint_json",
        "notes",
        "published_at",
        "published_by",
    )

    of_profile = linked("profile", "")
    of_organization = linked("organization", "")
    entrypoint_json = as_json("entrypoint", "entrypoint")
