"""What admins type about people and machines in the console."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django import forms

from keeptrusts_runners.console.forms import BodyForm
from keeptrusts_runners.identity.scopes import (
    ROLE_MEANINGS,
    SERVICE_ACCOUNT_ROLES,
    USER_ROLES,
    Role,
)


def _roles(allowed: Collection[Role]) -> list[tuple[str, str]]:
    """In the order of the roles, each with what it may."""
    return [(r.value, f"{r.value.capitalize()}: {ROLE_MEANINGS[r]}") for r in Role if r in allowed]


def _role_field(allowed: Collection[Role], **given: Any) -> forms.ChoiceField:
    return forms.ChoiceField(
        label="Role", choices=_roles(allowed), widget=forms.RadioSelect, **given
    )


class ServiceAccountForm(BodyForm):
    name = forms.CharField(label="Name", max_length=120, strip=False)
    role = _role_field(SERVICE_ACCOUNT_ROLES, initial=Role.RUNNER.value)
    owner_user_id = forms.ChoiceField(
        label="Owner",
        required=False,
        help_text="The person who answers for it. What it asks for, its owner cannot approve.",
    )

    def __init__(self, *given: Any, owners: Sequence[tuple[str, str]], **named: Any) -> None:
        super().__init__(*given, **named)
        self.fields["owner_user_id"].choices = [  # type: ignore[attr-defined]
            ("", "Nobody"),
            *owners,
        ]


class RotateForm(BodyForm):
    keep_old_seconds = forms.TypedChoiceField(
        label="The secrets before it stay good for",
        coerce=int,
        initial=24 * 3600,
        choices=[
            (0, "no time: they end now"),
            (3600, "1 hour"),
            (24 * 3600, "24 hours"),
            (7 * 24 * 3600, "7 days"),
        ],
    )


class TypedForm(forms.Form):
    """A confirmation by typing what it is about."""

    typed = forms.CharField(
        label="Name",
        strip=True,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *given: Any, wanted: str, **named: Any) -> None:
        super().__init__(*given, **named)
        self.wanted = wanted
        self.fields["typed"].label = f"Type {wanted} to confirm"

    def clean_typed(self) -> str:
        typed: str = self.cleaned_data["typed"]
        if typed != self.wanted.strip():
            raise forms.ValidationError(f"This is not {self.wanted}.")
        return typed


class MemberForm(BodyForm):
    email = forms.CharField(
        label="E-mail address",
        max_length=254,
        help_text="Of somebody who has an account here. Whoever runs this installation makes one "
        "with manage.py create_user.",
        widget=forms.EmailInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    role = _role_field(USER_ROLES, initial=Role.VIEWER.value)


class RoleForm(BodyForm):
    role = _role_field(USER_ROLES)
