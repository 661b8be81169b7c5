"""What an answer looks like. Declared as serializer fields, for the schema; rendered by getters
compiled once per class, since DRF's own machinery costs more than the query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import cache
from operator import attrgetter, itemgetter
from typing import Any
from uuid import UUID

from rest_framework import serializers

from keeptrusts_runners import ids
from keeptrusts_runners.clock import rfc3339

Getter = Callable[[Any], Any]


class IdOut(serializers.Field):
    """A UUID written as the TypeID of its kind."""

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)
        self.prefix = prefix

    def to_representation(self, value: UUID) -> str:
        return ids.encode(self.prefix, value)


class InstantOut(serializers.DateTimeField):
    """UTC, with microseconds and `Z`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(read_only=True, **kwargs)

    def to_representation(self, value: datetime) -> str:
        return rfc3339(value) or ""


# Their values are JSON already: copied as they are.
_PLAIN = (
    serializers.CharField,
    serializers.IntegerField,
    serializers.FloatField,
    serializers.BooleanField,
    serializers.ChoiceField,
    serializers.JSONField,
    serializers.DictField,
    serializers.ListField,
)


class OutputShape(serializers.Serializer[Any]):
    """Base of all output shapes. Renders objects by attribute and mappings by key.

    A field whose `source` differs, or is dotted, says so; `SerializerMethodField` calls
    `get_<name>(obj)` on one shared instance, which must keep nothing.
    """

    @classmethod
    def render(cls, obj: Any) -> dict[str, Any]:
        getters = _getters(cls, isinstance(obj, Mapping))
        return {name: get(obj) for name, get in getters}

    @classmethod
    def render_many(cls, objs: Iterable[Any]) -> list[dict[str, Any]]:
        return [cls.render(obj) for obj in objs]

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return self.render(instance)


@cache
def _getters(shape: type[OutputShape], of_mapping: bool) -> tuple[tuple[str, Getter], ...]:
    instance = shape()
    return tuple(
        (name, _getter(instance, field, of_mapping)) for name, field in instance.fields.items()
    )


def _getter(shape: OutputShape, field: Any, of_mapping: bool) -> Getter:
    if isinstance(field, serializers.SerializerMethodField):
        method: Getter = getattr(shape, field.method_name or f"get_{field.field_name}")
        return method
    value = _source(field.source, of_mapping)
    if isinstance(field, IdOut):
        return _id(field.prefix, value)
    if isinstance(field, InstantOut):
        return lambda obj: rfc3339(value(obj))
    if isinstance(field, OutputShape):
        return _optional(type(field).render, value)
    if isinstance(field, serializers.ListSerializer) and isinstance(field.child, OutputShape):
        return _optional(type(field.child).render_many, value)
    if isinstance(field, serializers.ListField) and not _is_plain(field.child):
        each = field.child.to_representation
        return _optional(lambda items: [each(item) for item in items], value)
    return value if _is_plain(field) else _optional(field.to_representation, value)


def _is_plain(field: Any) -> bool:
    # A child that DRF added by itself, where none was named.
    return isinstance(field, _PLAIN) or type(field) is type(serializers.ListField().child)


def _source(source: str, of_mapping: bool) -> Getter:
    if not of_mapping:
        return attrgetter(source)
    first, *rest = (itemgetter(key) for key in source.split("."))
    if not rest:
        return first

    def follow(obj: Any) -> Any:
        obj = first(obj)
        for step in rest:
            obj = step(obj)
        return obj

    return follow


def _id(prefix: str, value: Getter) -> Getter:
    def get(obj: Any) -> str | None:
        found = value(obj)
        return None if found is None else ids.encode(prefix, found)

    return get


def _optional(render: Getter, value: Getter) -> Getter:
    def get(obj: Any) -> Any:
        found = value(obj)
        return None if found is None else render(found)

    return get
