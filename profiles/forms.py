"""What people type about profiles and harness revisions in the console."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms

from keeptrusts_runners.api import strict_json
from keeptrusts_runners.console.forms import BodyForm, JsonField, LabelsField, LinesField, area
from profiles import models
from profiles.models import RunnerProfile


def _number(label: str, hint: str = "") -> forms.IntegerField:
    """Its bounds are the API's to say."""
    return forms.IntegerField(label=label, help_text=hint, required=False)


class ProfileForm(BodyForm):
    """A profile whole. What is left empty goes back to its default."""

    name = forms.CharField(label="Name", max_length=120, strip=False)
    execution_target = forms.CharField(
        label="Execution target",
        max_length=64,
        strip=False,
        help_text="Where it runs, in your words: runner, vm, container.",
    )
    description = LinesField(label="Description", required=False)
    labels = LabelsField()
    max_concurrent_sessions = _number(
        "Sessions at once", "Across all executors. Empty: any number."
    )
    queue_target_seconds = _number(
        "Queue target, in seconds",
        "What waits longer is pointed out on the Fleet page.",
    )
    lease_ttl_seconds = _number(
        "Lease, in seconds", "How long an executor may be silent before it has lost the session."
    )
    heartbeat_interval_seconds = _number(
        "Heartbeat, in seconds", "How often an executor reports. Shorter than the lease."
    )
    max_attempts = _number(
        "Attempts", "How many failures or lost leases a session may have before it is given up."
    )
    backoff_seconds = _number("Backoff, in seconds", "The first pause before another attempt.")
    max_artifacts = _number("Artifacts of a session")
    max_artifact_bytes = _number("Bytes of one artifact")
    retention_days = _number(
        "Retention, in days", "When the content of evidence is removed. Empty: never."
    )
    grant_policy = JsonField(
        label="Grant policy",
        required=False,
        loads=strict_json.loads,
        help_text="A list of rules, each with an operation (a * at its end matches what follows), "
        "and what it takes: max_ttl_seconds, approvals_required, approver_roles, separation, "
        "single_use, auto, offline, risk. Sessions keep the policy they were dispatched under.",
    )
    # The version that was shown: whoever saved meanwhile is not written over unseen.
    version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    empty_is_null = True
    places: ClassVar = {
        "max_concurrent_sessions": "limits/max_concurrent_sessions",
        "queue_target_seconds": "limits/queue_target_seconds",
        "max_artifacts": "limits/max_artifacts",
        "max_artifact_bytes": "limits/max_artifact_bytes",
        "lease_ttl_seconds": "lease/ttl_seconds",
        "heartbeat_interval_seconds": "lease/heartbeat_interval_seconds",
        "max_attempts": "retry/max_attempts",
        "backoff_seconds": "retry/backoff_seconds",
        "version": "",
    }
    groups: ClassVar = (
        ("What it is", ("name", "execution_target", "description", "labels")),
        (
            "Leases and attempts",
            (
                "max_concurrent_sessions",
                "queue_target_seconds",
                "lease_ttl_seconds",
                "heartbeat_interval_seconds",
                "max_attempts",
                "backoff_seconds",
            ),
        ),
        ("What is kept", ("max_artifacts", "max_artifact_bytes", "retention_days")),
        ("What may be granted", ("grant_policy",)),
    )

    def __init__(self, *given: Any, may_set_policy: bool, **named: Any) -> None:
        super().__init__(*given, **named)
        if not may_set_policy:
            del self.fields["grant_policy"]

    def grouped(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The visible fields under their headings."""
        found = (
            (title, [self[n] for n in names if n in self.fields]) for title, names in self.groups
        )
        return [(title, fields) for title, fields in found if fields]


def initial(profile: RunnerProfile) -> dict[str, Any]:
    """The fields of a profile that exists."""
    names = [name for name in ProfileForm.base_fields if hasattr(profile, name)]
    return {name: getattr(profile, name) for name in names}


DEFAULTS: dict[str, Any] = {
    "queue_target_seconds": models.QUEUE_TARGET_SECONDS,
    "lease_ttl_seconds": models.LEASE_TTL_SECONDS,
    "heartbeat_interval_seconds": models.HEARTBEAT_INTERVAL_SECONDS,
    "max_attempts": models.MAX_ATTEMPTS,
    "backoff_seconds": models.BACKOFF_SECONDS,
    "max_artifacts": models.MAX_ARTIFACTS,
    "max_artifact_bytes": models.MAX_ARTIFACT_BYTES,
}


class RevisionForm(BodyForm):
    """A harness revision: it is published once and never changes."""

    version = forms.CharField(
        label="Version", max_length=120, strip=False, help_text="Once for each profile."
    )
    image_ref = forms.CharField(
        label="Image",
        max_length=512,
        strip=False,
        help_text="End it with @sha256:… to pin it: a tag alone can be moved later.",
        widget=forms.TextInput(attrs={"class": "mono", "spellcheck": "false"}),
    )
    image_digest = forms.CharField(
        label="Image digest",
        max_length=71,
        required=False,
        help_text="sha256:…, where the image does not name it itself.",
        widget=forms.TextInput(attrs={"class": "mono", "spellcheck": "false"}),
    )
    entrypoint = forms.CharField(
        label="Entrypoint", required=False, widget=area(2), help_text="One argument a line."
    )
    notes = LinesField(label="Notes", required=False, max_length=4000, rows=3)

    def clean_entrypoint(self) -> list[str]:
        return str(self.cleaned_data["entrypoint"]).splitlines()


class DeprecateForm(forms.Form):
    reason = LinesField(
        label="Reason", required=False, max_length=2000, help_text="Shown beside the revision."
    )
