"""Is the evidence whole: records, heads, checks, holds, and what was left behind."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from grants import custody
from grants.custody_models import LegalHold, Verdict, Verification
from grants.investigations import OF_ARTIFACTS, OF_HEADS, OF_VERIFICATIONS
from grants.models import Artifact, ArtifactStatus, Event, LedgerHead
from keeptrusts_runners import clock
from keeptrusts_runners.evidence.log_models import LogLeaf, Pending
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.investigations import acts
from keeptrusts_runners.investigations.columns import LAST, as_hex, digest, linked, table, who
from keeptrusts_runners.investigations.filters import OfOneSession, OfSession, one_of
from keeptrusts_runners.investigations.forensic import Forensic
from keeptrusts_runners.investigations.questions import FORENSICS, Question


@admin.register(Event)
class EventAdmin(Forensic):
    """One session's records at a time. A record has no page here: the list has it whole."""

    question = Question.WHAT_RAN
    many = "Records of one session"
    dated = False
    search_fields = ()
    list_display = ("number", "recorded_at", "level", "kind", "step", "text", "by", "chain")
    list_display_links = None
    list_filter = (
        OfOneSession,
        # By runner_event_level, which has these alone.
        one_of("level", ("warning", "error", "critical")),
    )

    chain = as_hex("hash")
    by = who("actor", "by")

    @property
    def key(self) -> str:
        return "seq"

    @admin.display(description="record")
    def number(self, obj: Event) -> str:
        return f"#{obj.seq:,}"

    @admin.display(description="message")
    def text(self, obj: Event) -> str:
        return "redacted" if obj.is_redacted else (obj.message or "")[:2000]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        title = self.many
        if not request.GET.get("session"):
            title = "Choose a session: name it in the filter, or follow its page's link to records"
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def change_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        raise Http404

    def history_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        raise Http404


def _hold(session_id: UUID, by: Principal, reason: str) -> object:
    return custody.place_hold(session_id, reason, by=by)


HOLD = acts.Act(
    "held",
    "Hold the evidence",
    "Nothing of it can be redacted, and none of it expires, until the organization's auditors lift "
    "the hold.",
    Scope.AUDIT,
    _hold,
)


@admin.register(LedgerHead)
class LedgerHeadAdmin(Forensic):
    question = Question.IS_IT_WHOLE
    many = "Heads of ledgers"
    investigations = OF_HEADS
    id_prefix = "sess"
    dated = False
    heavy = ("buckets",)
    actions: Any = (*Forensic.actions, acts.offered(HOLD))
    list_display = ("public_id", "seq", "events", "warnings", "errors", "of_organization")
    list_select_related = ("organization",)
    fields = readonly_fields = (
        "of_session", "of_organization", "seq", "head", "events", "warnings", "errors",
        "anchored", "waits",
    )  # fmt: skip

    of_session = linked("session", "sess")
    of_organization = linked("organization")
    head = as_hex("hash")

    def has_act_permission(self, request: HttpRequest) -> bool:
        return getattr(request.user, "is_superuser", False)

    @admin.display(description=f"in the log, the last {LAST}")
    def anchored(self, obj: LedgerHead) -> SafeString:
        """By evidence_leaf_of_subject."""
        found = LogLeaf.objects.using(FORENSICS).filter(
            organization_id=obj.organization_id, subject=obj.session_id
        )
        rows = (
            (row.index, f"#{row.seq}", clock.rfc3339(row.appended_at), digest(row.hash))
            for row in found.order_by("-index")[:LAST]
        )
        return table("Leaves", ("Leaf", "Up to record", "Appended", "Head"), rows)

    @admin.display(description="waits for the log")
    def waits(self, obj: LedgerHead) -> str:
        """What waits of the organization is little; of more nothing is said."""
        found = Pending.objects.using(FORENSICS).filter(organization_id=obj.organization_id)
        first = list(found.order_by("id").values_list("subject", "seq", "at")[:1000])
        mine = [(seq, at) for subject, seq, at in first if subject == obj.session_id]
        if not mine:
            return "No" if len(first) < 1000 else "Unknown: the signer is far behind"
        seq, at = mine[-1]
        return f"Up to #{seq}, since {clock.rfc3339(at)}"


@admin.register(Verification)
class VerificationAdmin(Forensic):
    question = Question.IS_IT_WHOLE
    many = "Checks of chains"
    investigations = OF_VERIFICATIONS
    id_prefix = "sess"
    dated = False
    list_display = (
        "public_id",
        "verdict",
        "records",
        "first_bad_seq",
        "of_organization",
        "checked_at",
    )
    list_select_related = ("organization",)
    list_filter = (one_of("verdict", Verdict),)
    fields = readonly_fields = (
        "of_session", "of_organization", "verdict", "records", "head", "first_bad_seq", "reason",
        "checked_at",
    )  # fmt: skip

    of_session = linked("session", "sess")
    of_organization = linked("organization")
    head = as_hex("head_hash")


@admin.register(LegalHold)
class LegalHoldAdmin(Forensic):
    question = Question.IS_IT_WHOLE
    many = "Legal holds"
    id_prefix = "sess"
    dated = False
    list_display = ("public_id", "of_organization", "placer", "placed_at", "reason")
    list_select_related = ("organization",)
    fields = readonly_fields = ("of_session", "of_organization", "reason", "placer", "placed_at")

    of_session = linked("session", "sess")
    of_organization = linked("organization")
    placer = who("placed_by")


@admin.register(Artifact)
class ArtifactAdmin(Forensic):
    question = Question.IS_IT_WHOLE
    many = "Artifacts"
    investigations = OF_ARTIFACTS
    id_prefix = "art"
    exact = ("sha256",)
    belongs = {"org": "organization_id", "sess": "session_id"}
    list_display = (
        "name",
        "public_id",
        "status",
        "size_bytes",
        "digest",
        "of_session",
        "created_at",
    )
    list_filter = (one_of("status", ArtifactStatus), OfSession)
    fields = readonly_fields = (
        "public_id", "of_session", "of_organization", "name", "kind", "media_type", "size_bytes",
        "digest", "digest_source", "status", "checked_at", "lease_epoch", "maker", "created_at",
        "retention", "removed_at", "remover", "removal_reason",
    )  # fmt: skip

    of_session = linked("session", "sess")
    of_organization = linked("organization")
    maker = who("created_by")
    remover = who("removed_by")

    @admin.display(description="SHA-256")
    def digest(self, obj: Artifact) -> SafeString:
        return format_html("<code>{}</code>", obj.sha256)
