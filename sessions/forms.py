"""What people say when they act on sessions in the console."""

from __future__ import annotations

from django import forms

from sessions.models import Disposition


def _words(label: str, help_text: str, *, required: bool) -> forms.CharField:
    return forms.CharField(
        label=label,
        help_text=help_text,
        max_length=2000,
        required=required,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class CancelForm(forms.Form):
    reason = _words("Reason", "Kept in the session's ledger.", required=False)


class RetryForm(forms.Form):
    same_harness = forms.BooleanField(
        label="With the harness revision that it had, not with the newest", required=False
    )
    reason = _words("Reason", "Kept in the new session's ledger.", required=False)


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
