"""What people say in the console when they ask for grants, decide on them, and end them."""

from __future__ import annotations

from typing import Any

from django import forms

from grants import queries
from grants.models import PermissionGrant
from grants.policy import max_ttl_seconds
from grants.serializers import OPERATION
from keeptrusts_runners import ids
from keeptrusts_runners.api import strict_json
from keeptrusts_runners.console.formats import duration
from keeptrusts_runners.errors import Invalid, Malformed
from keeptrusts_runners.identity.principal import Principal

_SHORTER = (300, 900, 3600, 4 * 3600, 24 * 3600)


def refuse(form: forms.Form, error: Invalid) -> None:
    """What a verb finds wrong, at the fields that it names."""
    for each in error.errors:
        name = each.pointer.strip("/").partition("/")[0]
        form.add_error(name if name in form.fields else None, each.detail)


def _lines(label: str, help_text: str = "", *, rows: int = 2, **more: Any) -> forms.CharField:
    widget = forms.Textarea(attrs={"rows": rows})
    return forms.CharField(label=label, help_text=help_text, max_length=2000, widget=widget, **more)


class ReasonForm(forms.Form):
    """Why something is done that cannot be undone, or not unseen."""

    reason = _lines("Reason", "Kept in the session's ledger.", rows=3)


class DecisionForm(forms.Form):
    """Approve or deny, one form with two buttons. `operation_digest` is what was shown."""

    operation_digest = forms.RegexField(
        r"\Asha256:[0-9a-f]{64}\Z", max_length=71, widget=forms.HiddenInput
    )
    # 0 is as long as was asked for.
    ttl_seconds = forms.TypedChoiceField(label="Access lasts", coerce=int)
    comment = _lines("Comment", "Kept in the session's ledger. Needed to deny.", required=False)

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
        lasts = self.fields["ttl_seconds"]
        lasts.choices = [(0, as_asked), *shorter]  # type: ignore[attr-defined]
        lasts.help_text = f"{_whose(grant)} allows {duration(max_ttl_seconds(grant.rule))} at most."
        self.fields["comment"].required = comment_required


def _whose(grant: PermissionGrant) -> str:
    """Whose cap it is."""
    if grant.rule is None:
        return "The default, since no rule matches,"
    return f"The rule {grant.rule['operation']} of the profile's policy"


class RevokeForm(forms.Form):
    reason = forms.CharField(
        label="Reason",
        max_length=64,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, grant: PermissionGrant, data: Any = None) -> None:
        super().__init__(data, auto_id=f"{grant.id.hex}-revoke-%s")


class RenewForm(forms.Form):
    """`lease_epoch` is the lease that was shown: a renewal is for that one."""

    lease_epoch = forms.IntegerField(min_value=1, widget=forms.HiddenInput)
    ttl_seconds = forms.TypedChoiceField(label="Access lasts from now", coerce=int)
    reason = forms.CharField(
        label="Reason", help_text="Left out: the reason of the request.", max_length=2000,
        required=False, widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )  # fmt: skip

    def __init__(self, grant: PermissionGrant, lease_epoch: int, data: Any = None) -> None:
        super().__init__(
            data,
            auto_id=f"{grant.id.hex}-renew-%s",
            initial={"lease_epoch": lease_epoch, "ttl_seconds": grant.ttl_seconds},
        )
        most = max_ttl_seconds(grant.rule)
        offered = sorted({grant.ttl_seconds, *(s for s in _SHORTER if s <= most)})
        choices = [(seconds, duration(seconds)) for seconds in offered]
        self.fields["ttl_seconds"].choices = choices  # type: ignore[attr-defined]


class RequestForm(forms.Form):
    """A grant that a person asks for. The API's shape checks what is written."""

    operation = forms.CharField(
        label="Operation",
        help_text="As the enforcement point calls it: network.egress:packages.internal:443.",
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    resource = forms.CharField(
        label="Resource", max_length=512, required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )  # fmt: skip
    constraints = _lines("Constraints", "A JSON object.", required=False)
    reason = _lines("Reason", "Approvers read it; it is kept in the session's ledger.")
    ttl_seconds = forms.TypedChoiceField(
        label="Access lasts",
        coerce=int,
        initial=900,
        choices=[(seconds, duration(seconds)) for seconds in _SHORTER],
    )

    def clean_constraints(self) -> Any:
        text = self.cleaned_data["constraints"].strip()
        try:
            return strict_json.loads(text.encode()) if text else {}
        except Malformed as error:
            raise forms.ValidationError(error.detail) from None


class DenyForm(forms.Form):
    """Deny several requests for one reason."""

    comment = _lines("Comment", "Why. Kept in each session's ledger.")


class TargetForm(forms.Form):
    """Whose grants are meant: all of what is named must fit. `given` is for the verb, `query` for
    an address."""

    operation = forms.RegexField(
        rf"\A({OPERATION}\*?|\*)\Z",
        label="Operation",
        help_text="A name, or a prefix that ends in *.",
        max_length=200,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    profile = forms.ChoiceField(label="Profile", required=False)
    executor = forms.ChoiceField(label="Executor", required=False)

    def __init__(self, data: Any = None, *, by: Principal) -> None:
        super().__init__(data or None, auto_id="target-%s")
        profiles = queries.profile_names(by=by)
        executors = queries.executor_names(by=by)
        for name, prefix, found in (
            ("profile", "prof", profiles),
            ("executor", "exec", executors),
        ):
            choices = [("", "Any"), *((ids.encode(prefix, key), word) for key, word in found)]
            self.fields[name].choices = choices  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        if not self.errors and not any(self.cleaned_data.values()):
            raise forms.ValidationError("Name an operation, a profile or an executor.")
        return self.cleaned_data

    @property
    def given(self) -> dict[str, Any]:
        said = self.cleaned_data
        return {
            "operation": said["operation"] or None,
            "profile_id": ids.decode("prof", said["profile"]) if said["profile"] else None,
            "executor_id": ids.decode("exec", said["executor"]) if said["executor"] else None,
        }

    @property
    def query(self) -> dict[str, str]:
        return {name: value for name, value in self.cleaned_data.items() if value}

    @property
    def words(self) -> str:
        """Whose they are, in words."""
        said, names = self.cleaned_data, dict(self.fields["profile"].choices)  # type: ignore[attr-defined]
        names |= dict(self.fields["executor"].choices)  # type: ignore[attr-defined]
        parts = {
            "operation": said["operation"],
            "profile": names.get(said["profile"], "") if said["profile"] else "",
            "executor": names.get(said["executor"], "") if said["executor"] else "",
        }
        return ", ".join(f"{name} {word}" for name, word in parts.items() if word)


class RevokeAllForm(forms.Form):
    reason = _lines("Reason", "Kept in each session's ledger.")


class NoteForm(forms.Form):
    message = forms.CharField(
        label="Note",
        help_text="Part of the session's record from now on: it cannot be edited or removed.",
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
