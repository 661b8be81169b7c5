"""Sessions, and all that hangs on one of them."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keeptrusts_runners import ids
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.investigations import acts
from keeptrusts_runners.investigations.columns import (
    LAST,
    NOTHING,
    as_json,
    digest,
    link,
    linked,
    subject,
    table,
    who,
)
from keeptrusts_runners.investigations.filters import one_of
from keeptrusts_runners.investigations.forensic import Forensic
from keeptrusts_runners.investigations.questions import FORENSICS, Question
from sessions import lifecycle
from sessions.investigations import OF_SESSIONS
from sessions.models import RunnerSession
from sessions.states import State


def _cancel(session_id: UUID, by: Principal, reason: str) -> object:
    return lifecycle.cancel(session_id, by=by, reason=reason)


CANCEL = acts.Act(
    "cancelled",
    "Cancel sessions",
    "Each is cancelled at once, or its runner is told to stop and has a minute to confirm. Their "
    "grants end now.",
    Scope.WRITE,
    _cancel,
)


@admin.register(RunnerSession)
class RunnerSessionAdmin(Forensic):
    question = Question.WHAT_RAN
    many = "Sessions"
    first = True
    investigations = OF_SESSIONS
    id_prefix = "sess"
    exact = ("task_id",)
    belongs = {
        "org": "organization_id",
        "prof": "profile_id",
        "harn": "harness_id",
        "exec": "executor_id",
    }
    heavy = ("input", "metadata", "grant_policy", "result", "error", "progress", "lease_executor")
    list_display = (
        "public_id", "state", "reason", "task_id", "of_profile", "of_organization", "created_at",
        "ended_at",
    )  # fmt: skip
    list_select_related = ("profile", "organization")
    list_filter = (one_of("state", State),)
    actions: Any = (*Forensic.actions, acts.offered(CANCEL))
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "public_id", "in_console", "of_organization", "state", "reason", "task_id",
                    "all_of_it",
                )
            },
        ),
        (
            "What was to run",
            {
                "fields": (
                    "of_profile", "of_harness", "image", "dispatcher", "original", "retried_by",
                    "side_effects", "priority", "max_attempts", "labels_json", "input_json",
                    "metadata_json",
                )
            },
        ),
        (
            "Lease",
            {
                "fields": (
                    "lease_epoch", "holder", "of_executor", "executor_said", "lease_expires_at",
                    "heartbeat_at", "failures", "desired_state", "canceller",
                    "cancel_requested_at",
                )
            },
        ),
        (
            "Times and outcome",
            {
                "fields": (
                    "created_at", "dispatched_at", "started_at", "ended_at", "deadline_at",
                    "updated_at", "progress_json", "reported_outcome", "result_json",
                    "error_json", "disposition", "decided_by",
                )
            },
        ),
        (f"Steps, the last {LAST}", {"fields": ("last_transitions",)}),
        (f"Grants, the last {LAST}", {"fields": ("last_grants",)}),
        (f"Records, the last {LAST}", {"fields": ("records",)}),
        (f"Artifacts, the last {LAST}", {"fields": ("last_artifacts",)}),
        (f"Refusals, the last {LAST}", {"fields": ("last_refusals",)}),
        ("Evidence", {"fields": ("chain", "last_check", "held")}),
    )  # fmt: skip

    of_organization = linked("organization")
    of_profile = linked("profile")
    of_harness = linked("harness", "", "harness")
    of_executor = linked("executor", "exec")
    original = linked("retry_of", "sess", "retry of")
    dispatcher = who("dispatched_by")
    holder = who("lease_account", "held by")
    canceller = who("cancel_requested_by")
    decided_by = who("disposition_by")
    executor_said = as_json("lease_executor", "executor says")
    labels_json = as_json("labels")
    metadata_json = as_json("metadata")
    input_json = as_json("input")
    progress_json = as_json("progress")
    result_json = as_json("result")
    error_json = as_json("error")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        groups: Any = self.fieldsets
        return tuple(name for _, group in groups for name in group["fields"])

    def has_act_permission(self, request: HttpRequest) -> bool:
        return getattr(request.user, "is_superuser", False)

    @admin.display(description="in the console")
    def in_console(self, obj: RunnerSession) -> SafeString:
        return format_html(
            '<a href="{}">For members of the organization</a>', reverse("session", args=[obj.pk])
        )

    @admin.display(description="image digest")
    def image(self, obj: RunnerSession) -> str:
        return obj.harness.image_digest or "a mutable tag" if obj.harness else NOTHING

    @admin.display(description="retried by")
    def retried_by(self, obj: RunnerSession) -> SafeString | str:
        found = obj.retries.using(FORENSICS).order_by("-pk").only("pk")[:LAST]
        return format_html_join(", ", "{}", ((link(each, str(each)),) for each in found)) or NOTHING

    # --- what hangs on it: by reverse relations, since ledger and grants are above this app -------

    @admin.display(description="steps")
    def last_transitions(self, obj: RunnerSession) -> SafeString:
        found = obj.transitions.using(FORENSICS).order_by("-seq")[:LAST]
        rows = (
            (f"#{row.seq}", _at(row.at), row, row.reason, subject(row.actor), row.lease_epoch)
            for row in found
        )
        head = ("Record", "At", "Step", "Reason", "By", "Epoch")
        return table("Steps", head, rows, _of(obj, "runner_sessions", "transition"))

    @admin.display(description="grants")
    def last_grants(self, obj: RunnerSession) -> SafeString:
        found = obj.grants.using(FORENSICS).order_by("-id")[:LAST]
        rows = (
            (
                link(row, row.operation), row.resource or NOTHING, row.state,
                subject(row.requested_by), _at(row.activated_at), _at(row.expires_at),
                _at(row.ended_at), row.uses,
            )
            for row in found
        )  # fmt: skip
        head = ("Operation", "Resource", "State", "Asked for by", "Since", "Until", "Ended", "Uses")
        return table("Grants", head, rows, _of(obj, "grants", "permissiongrant"))

    @admin.display(description="records")
    def records(self, obj: RunnerSession) -> SafeString:
        found = obj.events.using(FORENSICS).filter(organization_id=obj.organization_id)
        rows = (
            (
                f"#{row.seq}", _at(row.recorded_at), row.level or NOTHING, row.kind,
                "redacted" if row.is_redacted else (row.message or NOTHING)[:200],
                subject(row.actor),
            )
            for row in found.order_by("-seq")[:LAST]
        )  # fmt: skip
        head = ("Record", "At", "Level", "Kind", "Message", "By")
        return table("Records", head, rows, _of(obj, "grants", "event"))

    @admin.display(description="artifacts")
    def last_artifacts(self, obj: RunnerSession) -> SafeString:
        found = obj.artifacts.using(FORENSICS).order_by("-id")[:LAST]
        rows = (
            (link(row, row.name), row.kind, f"{row.size_bytes:,}", row.sha256, _at(row.created_at))
            for row in found
        )
        head = ("Name", "Kind", "Bytes", "SHA-256", "Stored")
        return table("Artifacts", head, rows, _of(obj, "grants", "artifact"))

    @admin.display(description="refusals")
    def last_refusals(self, obj: RunnerSession) -> SafeString:
        found = obj.refusals.using(FORENSICS).order_by("-id")[:LAST]
        rows = (
            (_at(row.last_at), row.operation, row.code, subject(row.actor), row.count)
            for row in found
        )
        head = ("Last at", "Operation", "Code", "By", "Times")
        return table("Refusals", head, rows, _of(obj, "runner_sessions", "refusal"))

    @admin.display(description="chain")
    def chain(self, obj: RunnerSession) -> SafeString | str:
        head = _beside(obj, "ledger_head")
        if head is None:
            return NOTHING
        return format_html("{} {}", link(head, f"{head.seq:,} records, head"), digest(head.hash))

    @admin.display(description="last check")
    def last_check(self, obj: RunnerSession) -> SafeString | str:
        found = _beside(obj, "verification")
        if found is None:
            return "Not checked yet"
        return format_html("{}, {}", link(found, found.verdict), _at(found.checked_at))

    @admin.display(description="legal hold")
    def held(self, obj: RunnerSession) -> SafeString | str:
        found = _beside(obj, "hold")
        return "None" if found is None else link(found, str(found))

    @admin.display(description="all of it")
    def all_of_it(self, obj: RunnerSession) -> SafeString:
        places = (
            ("Records", "grants", "event"),
            ("Grants", "grants", "permissiongrant"),
            ("Artifacts", "grants", "artifact"),
            ("Checkpoints", "runner_sessions", "checkpoint"),
            ("Steps", "runner_sessions", "transition"),
            ("Refusals", "runner_sessions", "refusal"),
            ("Audit", "evidence", "auditrecord"),
        )
        links = ((_of(obj, app, model), text) for text, app, model in places)
        return format_html_join(" · ", '<a href="{}">{}</a>', links)


def _at(instant: Any) -> str:
    """To the second; the lists and exports have the rest."""
    return NOTHING if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}Z"


def _of(session: RunnerSession, app: str, model: str) -> str:
    """The admin's list of what belongs to this session; the audit log is searched by its id."""
    name = "q" if app == "evidence" else "session"
    query = urlencode({name: ids.encode("sess", session.pk)})
    return f"{reverse(f'admin:{app}_{model}_changelist')}?{query}"


def _beside(session: RunnerSession, relation: str) -> Any:
    """The one row beside a session, if there is one."""
    related: Any = RunnerSession._meta.get_field(relation).related_model
    return related._default_manager.using(FORENSICS).filter(pk=session.pk).first()
