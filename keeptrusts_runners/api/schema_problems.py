"""The refusals of an operation, as OpenAPI responses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from keeptrusts_runners import errors
from keeptrusts_runners.api.problems import MEDIA_TYPE
from keeptrusts_runners.errors import DomainError

Schema = dict[str, Any]
ErrorClass = type[DomainError]

COMPONENT_SCHEMAS: Schema = {
    "FieldError": {
        "type": "object",
        "required": ["pointer", "code", "detail"],
        "properties": {
            "pointer": {"type": "string", "description": "JSON pointer, or query parameter."},
            "code": {"type": "string"},
            "detail": {"type": "string"},
        },
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `code` is stable; `type` is the address of its page.",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "code": {"type": "string"},
            "request_id": {"type": "string"},
            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
            "current_state": {"type": "string"},
            "allowed_verbs": {"type": "array", "items": {"type": "string"}},
        },
        "additionalProperties": True,
    },
}


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What decides which refusals an operation can give."""

    protected: bool
    has_path_id: bool
    has_body: bool
    idempotent: bool
    conditional: bool
    paginated: bool
    refuses: tuple[ErrorClass, ...]


def _usual(given: Circumstances) -> Iterator[ErrorClass]:
    """The refusals that follow from what kind of operation it is."""
    yield from (errors.Malformed, errors.UnknownParameter, errors.InvalidParameter)
    yield from (errors.NotAcceptable, errors.DatabaseUnavailable)
    if given.paginated:
        yield errors.InvalidCursor
    if given.protected:
        yield from (errors.NotAuthenticated, errors.InvalidToken)
        yield from (errors.MissingScope, errors.OutsideSession, errors.TooManyRequests)
    if given.has_path_id:
        yield errors.NotFound
    if given.has_body:
        yield from (errors.PayloadTooLarge, errors.UnsupportedMediaType, errors.Invalid)
    if given.idempotent:
        yield from (errors.RequestInFlight, errors.IdempotencyKeyReused)
    if given.conditional:
        yield errors.PreconditionFailed


def responses(given: Circumstances) -> Schema:
    """Status to response: a shared component where only the usual applies."""
    usual = _by_status(_usual(given))
    every = _by_status([*_usual(given), *given.refuses])
    return {
        str(status): _response(found) if found != usual.get(status) else _reference(found)
        for status, found in sorted(every.items())
    }


def _by_status(found: Any) -> dict[int, list[ErrorClass]]:
    grouped: dict[int, list[ErrorClass]] = defaultdict(list)
    for error in found:
        if error not in grouped[error.status]:
            grouped[error.status].append(error)
    return dict(grouped)


def _response(found: list[ErrorClass]) -> Schema:
    codes = "\n".join(f"- `{error.code}`: {error.default_detail()}" for error in found)
    response: Schema = {
        "description": codes,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if headers := _headers(found[0].status):
        response["headers"] = headers
    return response


def _headers(status: int) -> Schema:
    if status in (401, 403):
        return {"WWW-Authenticate": {"schema": {"type": "string"}}}
    if status in (429, 503):
        return {"Retry-After": {"schema": {"type": "integer"}}}
    return {}


def _name(found: list[ErrorClass]) -> str:
    return "Or".join(error.__name__ for error in found)


def _reference(found: list[ErrorClass]) -> Schema:
    return {"$ref": f"#/components/responses/{_name(found)}"}


def component_responses() -> Schema:
    """Every response that `responses` may refer to."""
    components: Schema = {}
    for flags in product((False, True), repeat=6):
        protected, has_path_id, has_body, idempotent, conditional, paginated = flags
        given = Circumstances(
            protected, has_path_id, has_body, idempotent, conditional, paginated, refuses=()
        )
        for found in _by_status(_usual(given)).values():
            components[_name(found)] = _response(found)
    return components
