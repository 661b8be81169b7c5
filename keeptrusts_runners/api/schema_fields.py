"""How our own fields read in JSON Schema: the same limits that they enforce."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension

from keeptrusts_runners.api import fields, shapes
from keeptrusts_runners.api.converters import SUFFIX_PATTERN

Schema = dict[str, Any]


def type_id(prefix: str) -> Schema:
    return {"type": "string", "pattern": f"^{prefix}_{SUFFIX_PATTERN}$"}


def _text(field: fields.Text) -> Schema:
    schema: Schema = {"type": "string", "maxLength": field.max_length}
    if not field.allow_blank:
        schema["minLength"] = 1
    if field.pattern is not None:
        schema["pattern"] = f"^(?:{field.pattern})$"
    return schema


def _integer(field: fields.Integer) -> Schema:
    return {"type": "integer", "minimum": field.min_value, "maximum": field.max_value}


def _number(field: fields.Number) -> Schema:
    return {"type": "number", "minimum": field.min_value, "maximum": field.max_value}


def _labels(_: fields.Labels) -> Schema:
    return {
        "type": "object",
        "maxProperties": fields.MAX_LABELS,
        "propertyNames": {"pattern": f"^{fields.LABEL_KEY}$"},
        "additionalProperties": {"type": "string", "maxLength": fields.MAX_LABEL_VALUE},
    }


def _object(field: fields.JsonObject) -> Schema:
    return {
        "type": "object",
        "additionalProperties": True,
        "description": f"At most {field.max_bytes} bytes as compact JSON.",
    }


_Describe = Callable[[Any], Schema]
_DESCRIPTIONS: dict[type, _Describe] = {
    fields.Text: _text,
    fields.Integer: _integer,
    fields.Number: _number,
    fields.Boolean: lambda _: {"type": "boolean"},
    fields.Choice: lambda field: {"type": "string", "enum": list(field.choices)},
    fields.Id: lambda field: type_id(field.prefix),
    fields.Instant: lambda _: {"type": "string", "format": "date-time"},
    fields.Labels: _labels,
    fields.JsonValue: lambda field: {
        "description": f"Any JSON value; at most {field.max_bytes} bytes as compact JSON.",
    },
    fields.JsonObject: _object,
    shapes.IdOut: lambda field: type_id(field.prefix),
    shapes.InstantOut: lambda _: {"type": "string", "format": "date-time"},
}


def _extension(target: type, describe: _Describe) -> None:
    """Defining the class is registering it."""

    def map_serializer_field(self: Any, auto_schema: Any, direction: str) -> Schema:
        return describe(self.target)

    attributes = {"target_class": target, "map_serializer_field": map_serializer_field}
    type(f"{target.__name__}Extension", (OpenApiSerializerFieldExtension,), attributes)


for _target, _description in _DESCRIPTIONS.items():
    _extension(_target, _description)
