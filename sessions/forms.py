"""What people say when they act on a session in the console."""

from __future__ import annotations

from django import forms


class CancelForm(forms.Form):
    reason = forms.CharField(
        label="Reason",
        help_text="Kept in the session's ledger.",
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
