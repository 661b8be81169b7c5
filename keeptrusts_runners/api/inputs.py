"""What a body must look like. One shape per action; unknown members are refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Self, cast

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from keeptrusts_runners.api.fields import (
    Boolean,
    Choice,
    Id,
    Instant,
    Integer,
    Items,
    JsonObject,
    JsonValue,
    Labels,
    Number,
    Text,
)
from keeptrusts_runners.api.pointers import field_errors
from keeptrusts_runners.errors import Invalid, field_error

__all__ = [
    "Boolean",
    "Choice",
    "Id",
    "InputShape",
    "Instant",
    "Integer",
    "Items",
    "JsonObject",
    "JsonValue",
    "Labels",
    "Number",
    "Text",
]

_UNKNOWN = ErrorDetail("This route knows no such field.", code="unknown_field")
_READ_ONLY = ErrorDetail("This field is read-only; send it unchanged or not at all.", "read_only")
_NOT_AN_OBJECT = ErrorDetail("This must be an object.", code="not_an_object")
# Enough to see what is wrong, not so many that the answer is larger than the question.
MAX_UNKNOWN_FIELDS = 20


class InputShape(serializers.Serializer[Any]):
    """Base of all input shapes, also of nested ones. Optional members that are left out are left
    out of the result too; those with `allow_null` come as None when they were null."""

    @classmethod
    def read(
        cls, document: Any, *, current: Mapping[str, Any] | None = None, **context: Any
    ) -> dict[str, Any]:
        """The validated members. Raises Invalid, whose `errors` name each field by pointer."""
        if not isinstance(document, Mapping):
            raise field_error("", "not_an_object", "The body must be a JSON object.")
        # Fields keep nothing of what they validate, so one instance serves every request.
        shape = cls(context=context) if context else _shared(cls)
        try:
            values = shape.run_validation(shape.without_unchanged(document, current or {}))
        except ValidationError as error:
            raise Invalid(errors=field_errors(error.detail)) from None
        return cast(dict[str, Any], values)

    def without_unchanged(
        self, document: Mapping[str, Any], current: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Drop the read-only members that were sent back as GET gave them."""
        readonly = [name for name in document if name not in self.fields and name in current]
        if changed := [name for name in readonly if document[name] != current[name]]:
            raise ValidationError({name: [_READ_ONLY] for name in changed})
        return {name: value for name, value in document.items() if name not in readonly}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            raise ValidationError([_NOT_AN_OBJECT])
        unknown = [name for name in data if name not in self.fields][:MAX_UNKNOWN_FIELDS]
        errors: dict[str, Any] = {name: [_UNKNOWN] for name in unknown}
        try:
            values: dict[str, Any] = super().to_internal_value(data)
        except ValidationError as error:
            errors |= error.detail  # type: ignore[arg-type]  # a mapping, since data is one
        if errors:
            raise ValidationError(errors)
        return values

    def to_representation(self, instance: Any) -> Any:
        raise TypeError(f"{type(self).__name__} describes input only")

    @classmethod
    def shared(cls) -> Self:
        return cast(Self, _shared(cls))


@cache
def _shared(shape: type[Any]) -> Any:
    instance = shape()
    # Built now: two threads must not both fill the cached property.
    _ = instance.fields
    return instance
