"""Ledgers, artifacts and grants of every organization, to look at."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from grants.models import Artifact, Decision, Event, LedgerHead, PermissionGrant
from keeptrusts_runners.identity.forensics import (
    Forensic,
    as_hex,
    as_json,
    id_range,
    linked,
)


class SessionFilter(admin.SimpleListFilter):
    """`?session=sess_…` or its UUID: how the session's page leads here."""

    title = "session"
    parameter_name = "session"

    def has_output(self) -> bool:
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        given = request.GET.get("session")
        return [(given, given)] if given else []

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if (given := self.value()) is None:
            return queryset
        span = id_range("sess", given)
        return queryset.none() if span is None else queryset.filter(session_id__range=span)


class OneSessionFilter(SessionFilter):
    """Without a session there is nothing to see: no list runs through every partition."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        span = id_range("sess", self.value() or "")
        if span is None or span[0] != span[1]:
            return queryset.none()
        return queryset.filter(session_id=span[0])


@admin.register(Event)
class EventAdmin(Forensic):
    """One session's records at a time. A record has no page here: the console's has it whole."""

    ordering = ("-seq",)
    list_display = ("seq", "recorded_at", "level", "kind", "step", "text", "actor", "chain")
    list_display_links = None
    list_filter = (OneSessionFilter,)
    search_fields = ()

    chain = as_hex("hash")

    @admin.display(description="message")
    def text(self, obj: Event) -> str:
        return "redacted" if obj.body is None else (obj.message or "")[:2000]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        title = "Records of one session, the newest first"
        if not request.GET.get("session"):
            title = "Choose a session: open it in the admin and follow its link to events"
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def change_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        raise Http404

    def history_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        raise Http404


@admin.register(LedgerHead)
class LedgerHeadAdmin(Forensic):
    ordering = ("-session_id",)
    search_fields = ("session_id",)
    id_prefix = "sess"
    list_display = ("public_id", "seq", "events", "warnings", "errors", "of_organization")
    list_select_related = ("organization",)
    list_filter = (SessionFilter,)
    fields = readonly_fields = (
        "of_session",
        "of_organization",
        "seq",
        "head",
        "events",
        "warnings",
        "errors",
    )

    of_session = linked("session", "sess")
    of_organization = linked("organization", "")
    head = as_hex("hash")


@admin.register(Artifact)
class ArtifactAdmin(Forensic):
    id_prefix = "art"
    list_display = ("name", "public_id", "kind", "size_bytes", "sha256", "of_session")
    list_select_related = ("session",)
    list_filter = (SessionFilter,)
    fields = readonly_fields = (
        "public_id",
        "of_session",
        "of_organization",
        "name",
        "kind",
        "media_type",
        "size_bytes",
        "sha256",
        "status",
        "lease_epoch",
        "created_by",
        "created_at",
    )

    of_session = linked("session", "sess")
    of_organization = linked("organization", "")


@admin.register(PermissionGrant)
class PermissionGrantAdmin(Forensic):
    id_prefix = "grant"
    list_display = ("operation", "public_id", "state", "of_session", "requested_by", "requested_at")
    list_select_related = ("session",)
    list_filter = ("state", SessionFilter)
    fields = readonly_fields = (
        "public_id",
        "in_console",
        "of_session",
        "of_organization",
        "operation",
        "resource",
        "constraints_json",
        "reason",
        "state",
        "ttl_seconds",
        "operation_digest",
        "rule_json",
        "policy_version",
        "approvals_required",
        "single_use",
        "lease_epoch",
        "requested_by",
        "requested_at",
        "request_lapses_at",
        "renews_id",
        "activated_at",
        "expires_at",
        "renewable_until",
        "ended_at",
        "end_reason",
        "ended_by",
        "uses",
    )

    of_session = linked("session", "sess")
    of_organization = linked("organization", "")
    constraints_json = as_json("constraints", "constraints")
    rule_json = as_json("rule", "rule")

    @admin.display(description="in the console")
    def in_console(self, obj: PermissionGrant) -> SafeString:
        address = reverse("grant", args=[obj.session_id, obj.pk])
        return format_html('<a href="{}">For members of the organization</a>', address)


@admin.register(Decision)
class DecisionAdmin(Forensic):
    list_display = ("id", "decision", "person", "of_grant", "at")
    list_select_related = ("grant", "by")
    fields = readonly_fields = (
        "of_grant",
        "decision",
        "person",
        "operation_digest",
        "comment",
        "ttl_seconds",
        "constraints_json",
        "at",
    )

    of_grant = linked("grant", "grant")
    person = linked("by", "")
    constraints_json = as_json("constraints", "constraints")
