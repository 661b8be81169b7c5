"""Forms that are read as the API's bodies are, so that one set of rules stands behind both doors.

    class RevisionForm(BodyForm):
        version = forms.CharField()

    form = RevisionForm(request.POST)
    fields = form.read(HarnessIn.read)     # None: refused, and each error stands at its field

What a field cannot be told from its text alone (bounds, patterns, references) is for the reader
and the verb to say; `refuse` puts their errors where they belong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError

from keeptrusts_runners.errors import DomainError, FieldError, Malformed, PayloadTooLarge

Body = dict[str, Any]


class BodyForm(forms.Form):
    """`places` says where a field's value stands in the body, where that is not its own name:
    `{"max_artifacts": "limits/max_artifacts"}`; "" keeps it out. What is left empty is left out,
    or is null with `empty_is_null`."""

    places: ClassVar[Mapping[str, str]] = {}
    empty_is_null: ClassVar[bool] = False

    def read(self, reader: Callable[[Body], Body]) -> Body | None:
        """What the reader of bodies makes of what was typed."""
        if not self.is_valid():
            return None
        try:
            return reader(self.body())
        except DomainError as error:
            self.refuse(error)
            return None

    def body(self) -> Body:
        """What a client of the API would send."""
        made: Body = {}
        for name, value in self.cleaned_data.items():
            *groups, member = self._place(name).split("/")
            if not member or (value in (None, "") and not self.empty_is_null):
                continue
            within = made
            for group in groups:
                within = within.setdefault(group, {})
            within[member] = value
        return made

    def _place(self, name: str) -> str:
        return self.places.get(name, name)

    def refuse(self, error: DomainError) -> None:
        """Say each of its reasons at the field whose value it is about, else above the form."""
        for reason in error.errors or [FieldError("", error.code, error.detail)]:
            name, rest = self._field_of(reason.pointer)
            self.add_error(name, f"{rest}: {reason.detail}" if rest else reason.detail)

    def _field_of(self, pointer: str) -> tuple[str | None, str]:
        """The field, and in words where within its value."""
        for name in self.fields:
            place = f"/{self._place(name)}"
            if place != "/" and (pointer == place or pointer.startswith(f"{place}/")):
                return name, _spoken(pointer[len(place) + 1 :])
        return None, pointer.strip("/")

    def differences(self, other: forms.Form) -> list[tuple[str, str, str]]:
        """Label, what stands here and what in the other, of each visible field where they
        differ."""
        rows = []
        for field in self.visible_fields():
            ours, theirs = _as_typed(field), _as_typed(other[field.name])
            if ours != theirs:
                rows.append((str(field.label), ours, theirs))
        return rows


def _as_typed(field: forms.BoundField) -> str:
    """As it stands in the control, however the browser ends lines; a choice in its words."""
    value = field.value()
    text = "" if value is None else "\n".join(str(value).strip().splitlines())
    choices = dict(getattr(field.field, "choices", ()))
    return str(choices.get(text, text))


def _spoken(path: str) -> str:
    """`0/operation` → `item 1, operation`."""
    parts = [part for part in path.split("/") if part]
    return ", ".join(f"item {int(part) + 1}" if part.isdigit() else part for part in parts)


def area(rows: int, **attributes: str) -> forms.Textarea:
    """A text area for what machines read."""
    given = {"rows": rows, "class": "mono", "spellcheck": "false", "autocapitalize": "none"}
    return forms.Textarea(attrs=given | attributes)


class LinesField(forms.CharField):
    """Text of several lines. Browsers end each with two characters; what is kept has one."""

    def __init__(self, *, rows: int = 2, **given: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": rows}), **given)

    def to_python(self, value: Any) -> str:
        return "\n".join((super().to_python(value) or "").splitlines())


class JsonField(forms.CharField):
    """JSON as text, read by `loads` (bytes in), whose refusals name line and column."""

    def __init__(self, *, loads: Callable[[bytes], Any], rows: int = 10, **given: Any) -> None:
        super().__init__(strip=False, widget=area(rows), **given)
        self.loads = loads

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        if not text.strip():
            return None
        try:
            return self.loads(text.encode())
        except Malformed as error:
            raise ValidationError(error.detail.replace("The body", "This")) from None
        except PayloadTooLarge as error:
            raise ValidationError(error.detail) from None
        except UnicodeEncodeError:
            raise ValidationError("This contains half of a surrogate pair.") from None

    def validate(self, value: Any) -> None:
        if self.required and value is None:
            raise ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """Those of text have no business with what was read from it."""

    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False)


class LabelsField(forms.CharField):
    """Pairs of text, one `key=value` a line."""

    def __init__(self, **given: Any) -> None:
        said: dict[str, Any] = {"label": "Labels", "help_text": "One key=value a line."}
        super().__init__(widget=area(2), required=False, **said | given)

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        labels: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            key, equals, said = line.partition("=")
            if not equals:
                raise ValidationError(f"Line {number}: a label is written key=value.")
            if key.strip() in labels:
                raise ValidationError(f"Line {number}: {key.strip()[:64]} is there twice.")
            labels[key.strip()] = said.strip()
        return labels

    def run_validators(self, value: Any) -> None:
        """The reader of the body has the rules."""

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return "\n".join(f"{key}={text}" for key, text in value.items())
        return value
