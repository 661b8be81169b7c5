"""Query parameters through django-filter, strictly: unknown, repeated or empty is a 400."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

import django_filters
from django import forms
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, QueryDict
from rest_framework import serializers
from rest_framework.request import Request

from keeptrusts_runners import ids
from keeptrusts_runners.api import fields
from keeptrusts_runners.api.converters import SUFFIX_PATTERN
from keeptrusts_runners.api.fields import parse_instant
from keeptrusts_runners.errors import FieldError, InvalidParameter, UnknownParameter

MAX_VALUE_LENGTH = 2048
# As many as a page of a list shows, and as fit into one value.
MAX_IDS = 50
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_ECHOED_NAME_LENGTH = 64


def check_parameters(
    request: HttpRequest | Request, known: Collection[str], repeatable: Collection[str] = ("label",)
) -> None:
    """Raises UnknownParameter for a parameter that is not known or is there twice, and
    InvalidParameter for a value that no parameter can take."""
    for name, values in request.GET.lists():
        if name not in known:
            taken = ", ".join(sorted(known)) or "none"
            raise UnknownParameter(
                f"This route has no parameter {name[:_ECHOED_NAME_LENGTH]!r}; it takes: {taken}.",
                parameter=name[:_ECHOED_NAME_LENGTH],
            )
        if len(values) > 1 and name not in repeatable:
            raise UnknownParameter(f"{name} is given {len(values)} times.", parameter=name)
        for value in values:
            _check_value(name, value)


def _check_value(name: str, value: str) -> None:
    if not value:
        raise invalid(name, "must not be empty.")
    if len(value) > MAX_VALUE_LENGTH:
        raise invalid(name, f"is longer than {MAX_VALUE_LENGTH} characters.")
    if _UNPRINTABLE.search(value):
        raise invalid(name, "contains a control character.")


def invalid(name: str, problem: str) -> InvalidParameter:
    """A 400 for one query parameter."""
    detail = f"{name} {problem}"
    return InvalidParameter(detail, errors=[FieldError(name, "invalid", detail)])


class StrictFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Base of the filter sets of all lists. Pages may use them too, through `apply`."""

    @classmethod
    def apply(cls, request: HttpRequest | Request, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The queryset, narrowed by the query. Raises InvalidParameter naming each wrong one."""
        return cls.narrow(request.GET, queryset)

    @classmethod
    def narrow(cls, given: QueryDict, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """The same for a query that is not the request's own."""
        if not any(name in given for name in cls.base_filters):
            # Building the form costs more than the query it would not change.
            return queryset
        filter_set = cls(data=given, queryset=queryset)
        if not filter_set.is_valid():
            raise _refused(filter_set.errors.get_json_data())
        return cast(QuerySet[Any], filter_set.qs)


def _refused(found: Mapping[str, Iterable[Mapping[str, str]]]) -> InvalidParameter:
    errors = [
        FieldError(name, item.get("code") or "invalid", f"{name}: {item['message']}")
        for name, items in found.items()
        for item in items
    ]
    return InvalidParameter(" ".join(error.detail for error in errors), errors=errors)


# --- the fields that read one parameter each, and the filters that use them ------------------


class _Filter(django_filters.Filter):  # type: ignore[misc]  # it has no types
    """One parameter; `openapi` is its JSON schema, `in_body` the same as a member of a body."""

    openapi: Mapping[str, Any]

    def in_body(self) -> serializers.Field[Any, Any, Any, Any]:
        """A field whose value is what this filter takes once its parameter is read."""
        raise NotImplementedError(f"{type(self).__name__} cannot be a member of a body yet")


class _WordsField(forms.Field):
    """`a,b`: some of a fixed list of words."""

    def __init__(self, *, words: Collection[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = tuple(words)

    def to_python(self, value: str | None) -> list[str] | None:
        if not value:
            return None
        named = value.split(",")
        for word in named:
            if word not in self.words:
                raise ValidationError(
                    f"{word[:_ECHOED_NAME_LENGTH]!r} is not one of {', '.join(self.words)}."
                )
        return named


class WordsFilter(_Filter):
    """`state=pending,running`: any of them."""

    field_class = _WordsField

    def __init__(self, words: Collection[str], **kwargs: Any) -> None:
        super().__init__(lookup_expr="in", words=tuple(words), **kwargs)
        pattern = "|".join(re.escape(word) for word in words)
        self.openapi = {
            "type": "string",
            "pattern": f"^({pattern})(,({pattern}))*$",
            "description": f"One or more of {', '.join(words)}, separated by commas.",
        }

    def in_body(self) -> serializers.Field[Any, Any, Any, Any]:
        words = self.extra["words"]
        return fields.Items(fields.Choice(words), max_items=len(words), required=False)


class _WordField(forms.Field):
    def __init__(self, *, words: Collection[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words = tuple(words)

    def to_python(self, value: str | None) -> str | None:
        if value and value not in self.words:
            raise ValidationError(
                f"{value[:_ECHOED_NAME_LENGTH]!r} is not one of {', '.join(self.words)}."
            )
        return value or None


class WordFilter(_Filter):
    """`view=queue`: one of a fixed list of words, never several."""

    field_class = _WordField

    def __init__(self, words: Collection[str], **kwargs: Any) -> None:
        super().__init__(words=tuple(words), **kwargs)
        self.openapi = {"type": "string", "enum": list(words)}

    def in_body(self) -> serializers.Field[Any, Any, Any, Any]:
        return fields.Choice(self.extra["words"], required=False)


class _TypeIDField(forms.Field):
    def __init__(self, *, prefix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix

    def to_python(self, value: str | None) -> Any:
        if not value:
            return None
        try:
            return ids.decode(self.prefix, value)
        except ValueError as error:
            raise ValidationError(f"This must be an id of the form {self.prefix}_….") from error


class TypeIDFilter(_Filter):
    """`profile_id=prof_…`."""

    field_class = _TypeIDField

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        super().__init__(prefix=prefix, **kwargs)
        self.openapi = {
            "type": "string",
            "pattern": f"^{prefix}_{SUFFIX_PATTERN}$",
        }

    def in_body(self) -> serializers.Field[Any, Any, Any, Any]:
        return fields.Id(self.extra["prefix"], required=False)


class _TypeIDsField(_TypeIDField):
    def to_python(self, value: str | None) -> Any:
        if not value:
            return None
        named = value.split(",")
        if len(named) > MAX_IDS:
            raise ValidationError(f"These are more than {MAX_IDS} ids.")
        return [super(_TypeIDsField, self).to_python(each or "-") for each in named]


class TypeIDsFilter(_Filter):
    """`session_id=sess_…,sess_…`: any of them, at most MAX_IDS."""

    field_class = _TypeIDsField

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        super().__init__(prefix=prefix, lookup_expr="in", **kwargs)
        each = f"{prefix}_{SUFFIX_PATTERN}"
        self.openapi = {
            "type": "string",
            "pattern": f"^{each}(,{each})*$",
            "description": f"At most {MAX_IDS} ids, separated by commas.",
        }

    def in_body(self) -> serializers.Field[Any, Any, Any, Any]:
        return fields.Items(fields.Id(self.extra["prefix"]), max_items=MAX_IDS, required=False)


class _InstantField(forms.Field):
    def to_python(self, value: str | None) -> Any:
        if not value:
            return None
        try:
            return parse_instant(value)
        except ValueError as error:
            raise ValidationError(
                "This must be an instant with a zone, such as 2026-05-01T09:30:00Z "
                "(a + in a query is written %2B)."
            ) from error


class InstantFilter(_Filter):
    """`created_after=2026-05-01T09:30:00Z`, with `lookup_expr="gt"`."""

    field_class = _InstantField
    openapi = {"type": "string", "format": "date-time"}

    def in_body(self) -> serializers.Field[Any, Any, Any, Any]:
        return fields.Instant(required=False)


class _IntegerField(forms.Field):
    def __init__(self, *, minimum: int, maximum: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.minimum, self.maximum = minimum, maximum

    def to_python(self, value: str | None) -> int | None:
        if not value:
            return None
        if not re.fullmatch(r"-?[0-9]{1,19}", value):
            raise ValidationError("This must be an integer.")
        if not self.minimum <= int(value) <= self.maximum:
            raise ValidationError(f"This must be from {self.minimum} to {self.maximum}.")
        return int(value)


class IntegerFilter(_Filter):
    """`after_seq=10`."""

    field_class = _IntegerField

    def __init__(self, *, minimum: int = 0, maximum: int = 2**53 - 1, **kwargs: Any) -> None:
        super().__init__(minimum=minimum, maximum=maximum, **kwargs)
        self.openapi = {
            "type": "integer",
            "minimum": minimum,
            "maximum": maximum,
        }

    def in_body(self) -> serializers.Field[Any, Any, Any, Any]:
        bounds = {"min_value": self.extra["minimum"], "max_value": self.extra["maximum"]}
        return fields.Integer(**bounds, required=False)


class TextFilter(_Filter):
    """An exact text."""

    field_class = forms.CharField

    def __init__(self, *, max_length: int = 200, **kwargs: Any) -> None:
        super().__init__(max_length=max_length, strip=False, **kwargs)
        self.openapi = {
            "type": "string",
            "minLength": 1,
            "maxLength": max_length,
        }

    def in_body(self) -> serializers.Field[Any, Any, Any, Any]:
        return fields.Text(max_length=self.extra["max_length"], required=False)


class _Repeated(forms.Widget):
    """Every value of a repeated parameter."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        return data.getlist(name) if isinstance(data, QueryDict) else list(data.get(name, []))


class _LabelsField(forms.Field):
    widget = _Repeated

    def to_python(self, value: list[str] | None) -> dict[str, str] | None:
        if not value:
            return None
        labels: dict[str, str] = {}
        for pair in value:
            key, colon, text = pair.partition(":")
            if not key or not colon:
                raise ValidationError("A label is written key:value.")
            if labels.setdefault(key, text) != text:
                raise ValidationError(f"No object has two values of {key[:_ECHOED_NAME_LENGTH]!r}.")
        return labels


class LabelFilter(_Filter):
    """`label=team:blue`, several times for several labels that all must be there."""

    field_class = _LabelsField
    openapi = {
        "type": "array",
        "items": {"type": "string", "pattern": "^[^:]+:.*$"},
    }

    def __init__(self, field_name: str = "labels", **kwargs: Any) -> None:
        super().__init__(field_name=field_name, lookup_expr="contains", **kwargs)

    def in_body(self) -> serializers.Field[Any, Any, Any, Any]:
        return fields.Labels(required=False)
