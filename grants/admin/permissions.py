"""With which access, and who decided."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from grants.investigations import OF_GRANTS
from grants.models import Decision, Event, GrantState, PermissionGrant
from keeptrusts_runners import clock
from keeptrusts_runners.investigations.columns import (
    LAST,
    as_json,
    link,
    linked,
    subject,
    table,
    who,
)
from keeptrusts_runners.investigations.filters import OfSession, one_of
from keeptrusts_runners.investigations.forensic import Forensic
from keeptrusts_runners.investigations.questions import FORENSICS, Question

RECORDS = 200


@admin.register(PermissionGrant)
class PermissionGrantAdmin(Forensic):
    question = Question.WITH_WHICH_ACCESS
    many = "Grants"
    investigations = OF_GRANTS
    id_prefix = "grant"
    belongs = {"sess": "session_id"}
    heavy = ("rule", "constraints")
    list_display = (
        "operation", "public_id", "state", "of_session", "asked_by", "requested_at", "expires_at",
        "uses",
    )  # fmt: skip
    list_filter = (one_of("state", GrantState), OfSession)
    fields = readonly_fields = (
        "public_id", "in_console", "of_session", "of_organization", "operation", "resource",
        "constraints_json", "reason", "state", "ttl_seconds", "operation_digest", "rule_json",
        "policy_version", "approvals_required", "single_use", "lease_epoch", "asked_by",
        "owner_of_account", "requested_at", "request_lapses_at", "activated_at", "expires_at",
        "renewable_until", "ended_at", "end_reason", "ender", "uses", "decided", "of_renewed",
        "renewed_by", "history",
    )  # fmt: skip

    of_session = linked("session", "sess")
    of_organization = linked("organization")
    of_renewed = linked("renews", "grant")
    asked_by = who("requested_by")
    ender = who("ended_by")
    constraints_json = as_json("constraints")
    rule_json = as_json("rule")

    @admin.display(description="in the console")
    def in_console(self, obj: PermissionGrant) -> SafeString:
        to = reverse("grant", args=[obj.session_id, obj.pk])
        return format_html('<a href="{}">For members of the organization</a>', to)

    @admin.display(description="owner of the account")
    def owner_of_account(self, obj: PermissionGrant) -> Any:
        from keeptrusts_runners import ids

        return subject(ids.encode("user", obj.requested_owner) if obj.requested_owner else "")

    @admin.display(description="decisions")
    def decided(self, obj: PermissionGrant) -> SafeString:
        found = obj.decisions.using(FORENSICS).select_related("by").order_by("-id")[:LAST]
        rows = (
            (
                clock.rfc3339(row.at), link(row.by, row.by.email), link(row, row.decision),
                row.comment or "–", row.operation_digest == obj.operation_digest,
            )
            for row in found
        )  # fmt: skip
        head = ("At", "By", "Decision", "Comment", "On this digest")
        return table("Decisions", head, rows)

    @admin.display(description="renewed by")
    def renewed_by(self, obj: PermissionGrant) -> SafeString:
        found = obj.renewals.using(FORENSICS).order_by("-id")[:LAST]
        rows = ((link(row, self.name_of(row)), row.state) for row in found)
        return table("Renewals", ("Grant", "State"), rows)

    @admin.display(description=f"uses and what else is on record, of the session's last {RECORDS}")
    def history(self, obj: PermissionGrant) -> SafeString:
        """Of the session's records about grants, by runner_event_kind, those about this one."""
        name = self.name_of(obj)
        found = Event.objects.using(FORENSICS).filter(
            session_id=obj.session_id, organization_id=obj.organization_id, kind__in=KINDS
        )
        mine = (row for row in found.order_by("-seq")[:RECORDS] if _about(row) == name)
        rows = (
            (f"#{row.seq}", clock.rfc3339(row.recorded_at), row.kind, subject(row.actor))
            for row in mine
        )
        return table("Records", ("Record", "At", "Kind", "By"), rows)


KINDS = [
    f"grant.{word}"
    for word in (
        "requested", "approved", "denied", "activated", "used", "refused", "renewed", "revoked",
        "ended", "lapsed",
    )
]  # fmt: skip


def _about(record: Event) -> Any:
    """Which grant a record is about."""
    data = record.data
    return data.get("grant_id") if isinstance(data, dict) else None


@admin.register(Decision)
class DecisionAdmin(Forensic):
    question = Question.WHO_DECIDED
    many = "Decisions on grants"
    belongs = {"grant": "grant_id"}
    list_display = ("at", "decision", "person", "of_grant", "comment")
    list_select_related = ("by",)
    fields = readonly_fields = (
        "of_grant", "of_organization", "decision", "person", "operation_digest", "comment",
        "ttl_seconds", "constraints_json", "at",
    )  # fmt: skip

    of_grant = linked("grant", "grant")
    of_organization = linked("organization")
    person = linked("by")
    constraints_json = as_json("constraints")
