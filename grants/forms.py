"""What people say when they decide on a grant in the console."""

from __future__ import annotations

from typing import Any

from django import forms

from grants.models import PermissionGrant
from keeptrusts_runners.console.formats import duration

_SHORTER = (300, 900, 3600, 4 * 3600, 24 * 3600)


class DecisionForm(forms.Form):
    """Approve or deny, one form with two buttons. `operation_digest` is what was shown."""

    operation_digest = forms.RegexField(
        r"\Asha256:[0-9a-f]{64}\Z", max_length=71, widget=forms.HiddenInput
    )
    # 0 is as long as was asked for.
    ttl_seconds = forms.TypedChoiceField(label="Access lasts", coerce=int)
    comment = forms.CharField(
        label="Comment",
        help_text="Kept in the session's ledger. Needed to deny.",
        max_length=2000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    @property
    def given(self) -> dict[str, Any]:
        """For the verb, once the form is valid."""
        return self.cleaned_data | {"ttl_seconds": self.cleaned_data["ttl_seconds"] or None}

    def __init__(
        self, grant: PermissionGrant, data: Any = None, *, comment_required: bool = False
    ) -> None:
        super().__init__(
            data,
            auto_id=f"{grant.id.hex}-%s",
            initial={"operation_digest": grant.operation_digest},
        )
        as_asked = f"{duration(grant.ttl_seconds)}, as requested"
        shorter = [(s, duration(s)) for s in _SHORTER if s < grant.ttl_seconds]
        self.fields["ttl_seconds"].choices = [(0, as_asked), *shorter]  # type: ignore[attr-defined]
        self.fields["comment"].required = comment_required


class ReasonForm(forms.Form):
    """Why something is done that cannot be undone, or not unseen."""

    reason = forms.CharField(
        label="Reason",
        help_text="Kept in the session's ledger.",
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class RevokeForm(forms.Form):
    reason = forms.CharField(
        label="Reason",
        max_length=64,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, grant: PermissionGrant, data: Any = None) -> None:
        super().__init__(data, auto_id=f"{grant.id.hex}-revoke-%s")
