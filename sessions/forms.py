"""What people say when they act on sessions in the console."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django import forms

from keeptrusts_runners.api import strict_json
from keeptrusts_runners.console.forms import BodyForm, JsonField, LabelsField, LinesField
from sessions.models import Disposition, SideEffects


def _words(label: str, help_text: str, *, required: bool) -> LinesField:
    return LinesField(label=label, help_text=help_text, max_length=2000, required=required, rows=3)


class CancelForm(forms.Form):
    reason = _words("Reason", "Kept in the session's ledger.", required=False)


class RetryForm(forms.Form):
    same_harness = forms.BooleanField(
        label="With the harness revision that it had, not with the newest", required=False
    )
    checkpoint = forms.IntegerField(required=False, min_value=1, widget=forms.HiddenInput)
    reason = _words("Reason", "Kept in the new session's ledger.", required=False)


class EditForm(BodyForm):
    """What people may change of a session."""

    priority = forms.IntegerField(
        label="Priority", help_text="From -1000 to 1000. Higher ones are claimed first."
    )
    labels = LabelsField(help_text="One key=value a line. An executor must offer all of them.")
    deadline_at = forms.CharField(
        label="Deadline",
        help_text="Such as 2026-05-01T09:30:00Z. Empty leaves it as it is.",
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class BulkForm(forms.Form):
    """`filter` and `as_of` are what was shown; `typed` is asked for where they are many."""

    filter = forms.JSONField(widget=forms.HiddenInput)
    as_of = forms.CharField(widget=forms.HiddenInput, max_length=40)
    option = forms.BooleanField(required=False)
    reason = _words("Reason", "Kept in the record of each session.", required=True)
    typed = forms.CharField(
        label="How many sessions is this?",
        required=False,
        widget=forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"}),
    )

    def require_typed(self, matched: int) -> None:
        """Whoever acts on many has read how many they are."""
        self.fields["typed"].help_text = f"Type {matched} to go on."
        typed = self.cleaned_data.get("typed", "") if self.is_bound else ""
        if self.is_bound and typed.replace(",", "").strip() != str(matched):
            self.add_error("typed", f"{matched:,} sessions match now: type that number.")


class DispositionForm(forms.Form):
    decision = forms.ChoiceField(
        label="Decision",
        choices=[
            (Disposition.ACCEPT.value, "Accept: the effect is there, the work counts as done"),
            (Disposition.RETRY.value, "Retry: run the task again as a new session"),
            (Disposition.ABANDON.value, "Abandon: leave it as it is"),
        ],
        widget=forms.RadioSelect,
    )
    comment = _words("Comment", "How you know. Kept in the session's ledger.", required=True)
    same_harness = forms.BooleanField(
        label="Retry with the harness revision that it had, not with the newest", required=False
    )


class RecallForm(forms.Form):
    reason = LinesField(
        label="Reason",
        help_text="Shown beside the revision, and in the ledger of each session it cancels.",
        max_length=2000,
    )
    cancel_sessions = forms.BooleanField(label="Cancel its open sessions as well", required=False)


class DrainForm(forms.Form):
    reason = LinesField(
        label="Reason",
        help_text="Told to the executor when it asks for work.",
        max_length=2000,
        required=False,
    )


class EvictForm(forms.Form):
    reason = LinesField(
        label="Reason",
        help_text="Kept in the ledger of each session that it loses.",
        max_length=2000,
    )


class DispatchForm(BodyForm):
    """A dispatch as the API takes it, for a profile that has been chosen."""

    profile_id = forms.CharField(widget=forms.HiddenInput)
    harness_id = forms.ChoiceField(label="Harness revision", required=False)
    task_id = forms.CharField(
        label="Task id",
        max_length=200,
        strip=False,
        help_text="The work's name in your own system; it may be dispatched several times.",
    )
    input = JsonField(
        label="Input",
        required=False,
        loads=strict_json.loads,
        help_text="A JSON object, handed to the harness as it is.",
    )
    labels = LabelsField(
        help_text="One key=value a line. Only an executor that offers all of them is handed it."
    )
    priority = forms.IntegerField(
        label="Priority", required=False, help_text="-1000 to 1000; the highest is claimed first."
    )
    timeout_seconds = forms.IntegerField(
        label="Deadline, in seconds",
        required=False,
        help_text="How long it may run, from its first start. Empty: 24 h.",
    )
    queue_timeout_seconds = forms.IntegerField(
        label="Time in the queue, in seconds",
        required=False,
        help_text="How long it may wait for an executor. Empty: 24 h.",
    )
    not_before = forms.CharField(
        label="Not before", required=False, help_text="In UTC, such as 2026-05-01T09:30:00Z."
    )
    max_attempts = forms.IntegerField(
        label="Attempts", required=False, help_text="Empty: those of the profile."
    )
    side_effects = forms.ChoiceField(
        label="Side effects",
        required=False,
        choices=[
            ("", "Idempotent: it may run twice"),
            (SideEffects.RESUMABLE.value, "Resumable: it goes on from a checkpoint"),
            (SideEffects.AT_MOST_ONCE.value, "At most once: never tried again by itself"),
        ],
    )
    concurrency_key = forms.CharField(
        label="Concurrency key",
        required=False,
        max_length=120,
        help_text="With the same key no more than the limit run at once.",
    )
    concurrency_limit = forms.IntegerField(
        label="Limit of that key", required=False, help_text="Empty: one."
    )
    metadata = JsonField(
        label="Metadata",
        required=False,
        rows=3,
        loads=strict_json.loads,
        help_text="A JSON object that is kept beside the session.",
    )
    # The same click twice, or a reload, is the same session.
    key = forms.RegexField(r"^[0-9a-f]{32}$", widget=forms.HiddenInput)
    again = forms.CharField(required=False, widget=forms.HiddenInput)

    places: ClassVar = {"key": "", "again": ""}
    first: ClassVar = ("harness_id", "task_id", "input")

    def __init__(self, *given: Any, revisions: Sequence[tuple[str, str]], **named: Any) -> None:
        super().__init__(*given, **named)
        self.fields["harness_id"].choices = revisions  # type: ignore[attr-defined]

    def clean_labels(self) -> dict[str, str] | None:
        """None of them is nothing to send."""
        return self.cleaned_data["labels"] or None

    @property
    def shown(self) -> list[forms.BoundField]:
        return [self[name] for name in self.first]

    @property
    def folded(self) -> list[forms.BoundField]:
        """What most dispatches leave as it is."""
        return [field for field in self.visible_fields() if field.name not in self.first]

    @property
    def is_unfolded(self) -> bool:
        """Whether something of that is set, or wrong."""
        return any(field.errors or field.value() for field in self.folded)
