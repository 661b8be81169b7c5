"""Input fields that take a value as it is or refuse it: no coercion, no trimming, no surprises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from rest_framework import serializers

from keeptrusts_runners import ids
from keeptrusts_runners.api.strict_json import canonical

SAFE_INTEGER = 2**53 - 1
MAX_LABELS = 32
MAX_LABEL_VALUE = 256

_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
LABEL_KEY = "[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?"
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0d\x0e-\x1f\x7f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def parse_instant(text: str) -> datetime:
    """An RFC 3339 instant with its zone, in UTC. Raises ValueError for everything else."""
    if not _INSTANT.fullmatch(text):
        raise ValueError("not an RFC 3339 instant")
    try:
        instant = datetime.fromisoformat(_microseconds(text.upper())).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error
    if instant.year < 1970:
        raise ValueError("before 1970")
    return instant


def _microseconds(text: str) -> str:
    """Nanoseconds cut to what Python and PostgreSQL hold."""
    return re.sub(r"\.(\d{6})\d+", r".\1", text)


class Text(serializers.CharField):
    """A string, kept as sent. `lines=True` also takes tabs and line feeds."""

    default_error_messages = {
        "invalid": "This must be a string.",
        "blank": "This must not be empty.",
        "max_length": "This must have at most {max_length} characters.",
        "control_character": "This contains a control character.",
    }

    def __init__(
        self, *, max_length: int, lines: bool = False, pattern: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(max_length=max_length, trim_whitespace=False, **kwargs)
        self.lines = lines
        self.pattern = pattern
        if pattern is not None:
            # Messages are formatted once more when they are used.
            shown = pattern.replace("{", "{{").replace("}", "}}")
            self.error_messages.setdefault("pattern", f"This must match {shown}.")

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if (_CONTROL_BUT_LINES if self.lines else _CONTROL).search(data):
            self.fail("control_character")
        if not self.allow_blank and not data.strip():
            self.fail("blank")
        if self.pattern is not None and not re.fullmatch(self.pattern, data):
            self.fail("pattern")
        return data


class Integer(serializers.IntegerField):
    """A JSON integer: not a string, not true, not 1.0."""

    default_error_messages = {
        "invalid": "This must be an integer.",
        "min_value": "This must be at least {min_value}.",
        "max_value": "This must be at most {max_value}.",
    }

    def __init__(
        self, *, min_value: int = -SAFE_INTEGER, max_value: int = SAFE_INTEGER, **kwargs: Any
    ) -> None:
        super().__init__(min_value=min_value, max_value=max_value, **kwargs)

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return data


class Number(serializers.FloatField):
    """A JSON number, whole or not, kept as it came."""

    default_error_messages = {"invalid": "This must be a number."}

    def __init__(
        self,
        *,
        min_value: float = -SAFE_INTEGER,
        max_value: float = SAFE_INTEGER,
        **kwargs: Any,
    ) -> None:
        super().__init__(min_value=min_value, max_value=max_value, **kwargs)

    def to_internal_value(self, data: Any) -> float:
        if not isinstance(data, (int, float)) or isinstance(data, bool):
            self.fail("invalid")
        return data


class Boolean(serializers.BooleanField):
    """true or false, never "yes" or 1."""

    default_error_messages = {"invalid": "This must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class Choice(serializers.ChoiceField):
    """One of a list of words."""

    default_error_messages = {
        "invalid": "This must be a string.",
        "invalid_choice": "This must be one of: {names}.",
    }

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str):
            self.fail("invalid")
        if data not in self.choices:
            self.fail("invalid_choice", names=", ".join(map(str, self.choices)))
        return self.choice_strings_to_values[data]


class Id(serializers.Field):
    """The TypeID of one kind of object, as a UUID. Whether it exists is the verb's question."""

    default_error_messages = {
        "invalid": "This must be a string.",
        "unknown_reference": "No such object: an id has the form {prefix}_….",
    }

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid")
        try:
            return ids.decode(self.prefix, data)
        except ValueError:
            self.fail("unknown_reference", prefix=self.prefix)

    def to_representation(self, value: UUID) -> str:
        return ids.encode(self.prefix, value)


class Instant(serializers.DateTimeField):
    """An instant with its zone (RFC 3339), as UTC."""

    default_error_messages = {
        "invalid": "This must be an instant with a zone, such as 2026-05-01T09:30:00Z.",
    }

    def to_internal_value(self, value: Any) -> datetime:
        if not isinstance(value, str):
            self.fail("invalid")
        try:
            return parse_instant(value)
        except ValueError:
            self.fail("invalid")


class Labels(serializers.DictField):
    """At most 32 short pairs of text, for finding things again."""

    default_error_messages = {
        "not_a_dict": "This must be an object of strings.",
        "too_many": "There may be at most {limit} labels.",
        "label_key": "The key {label} must be 1 to 63 of A-Z a-z 0-9 . _ / -, "
        "beginning and ending with a letter or digit.",
        "label_value": "The value of {label} must be a string of at most {limit} characters.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=Text(max_length=MAX_LABEL_VALUE, allow_blank=True), **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, Mapping):
            self.fail("not_a_dict")
        if len(data) > MAX_LABELS:
            self.fail("too_many", limit=MAX_LABELS)
        for key, value in data.items():
            self._check(key, value)
        return dict(data)

    def _check(self, key: str, value: Any) -> None:
        if not re.fullmatch(LABEL_KEY, key):
            self.fail("label_key", label=repr(key[:64]))
        if not isinstance(value, str) or len(value) > MAX_LABEL_VALUE or _CONTROL.search(value):
            self.fail("label_value", label=key, limit=MAX_LABEL_VALUE)


class JsonObject(serializers.DictField):
    """Any JSON object, limited by its size when written compactly."""

    default_error_messages = {
        "not_a_dict": "This must be an object.",
        "too_large": "This must be at most {limit} bytes.",
    }

    def __init__(self, *, max_bytes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max_bytes = max_bytes

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            self.fail("not_a_dict")
        if len(canonical(data)) > self.max_bytes:
            self.fail("too_large", limit=self.max_bytes)
        return dict(data)


class JsonValue(JsonObject):
    """Any JSON value at all, limited like JsonObject."""

    def to_internal_value(self, data: Any) -> Any:
        if len(canonical(data)) > self.max_bytes:
            self.fail("too_large", limit=self.max_bytes)
        return data


class Items(serializers.ListField):
    """A list of at most `max_items` values of one kind."""

    default_error_messages = {
        "not_a_list": "This must be a list.",
        "max_length": "This must have at most {max_length} items.",
        "empty": "This must not be empty.",
    }

    def __init__(
        self, child: serializers.Field[Any, Any, Any, Any], *, max_items: int, **kwargs: Any
    ) -> None:
        super().__init__(child=child, max_length=max_items, **kwargs)

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            self.fail("not_a_list")
        # The length first: a million wrong items are one error.
        if self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().to_internal_value(data)
