"""OpenAPI 3.1 out of the declarations on the views: what is enforced is what is described."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import cleandoc
from typing import Any

import yaml
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.settings import patched_settings

from keeptrusts_runners.api import schema_fields, schema_problems
from keeptrusts_runners.api.answers import JSON
from keeptrusts_runners.api.pagination import DEFAULT_LIMIT, MAX_LIMIT
from keeptrusts_runners.api.permissions import any_of

Schema = dict[str, Any]

_PATH_PARAMETER = re.compile(r"<(\w+):(\w+)>")
_METHODS = ("get", "post", "put", "patch", "delete")
_WRITES = ("PUT", "PATCH", "DELETE")
_DEFAULT_STATUS = {"create": 201, "destroy": 204}
_DESCRIPTIONS = {201: "Created.", 204: "Done; there is nothing to say.", 206: "The range."}


class ScopedSchema(AutoSchema):
    """One operation from one action; DRF's own guesses are not asked."""

    view: Any

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any
    ) -> Schema | None:
        self.registry, self.path, self.path_regex = registry, path, path_regex
        self.path_prefix, self.method = path_prefix, method.upper()
        if not hasattr(self.view, "known_parameters"):
            # Somebody else's APIView: described as drf-spectacular sees it.
            return super().get_operation(path, path_regex, path_prefix, method, registry)
        operation = {
            "operationId": self.get_operation_id(),
            **self._texts(),
            "tags": self.get_tags(),
            "security": self._security(),
            "parameters": list(self._all_parameters()),
            "responses": self._responses(),
        }
        if body := self._body():
            operation["requestBody"] = body
        return {name: value for name, value in operation.items() if value or name == "security"}

    @property
    def action(self) -> str:
        return str(self.view.action)

    @property
    def handler(self) -> Any:
        return getattr(self.view, self.action)

    def get_operation_id(self) -> str:
        return f"{_snake(type(self.view).__name__.removesuffix('ViewSet'))}_{self.action}"

    def get_tags(self) -> list[str]:
        return [self.view.tag or type(self.view).__name__.removesuffix("ViewSet")]

    # --- texts and access --------------------------------------------------------------------

    def _texts(self) -> Schema:
        first, _, rest = cleandoc(self.handler.__doc__ or self.action).partition("\n\n")
        texts = [rest, self._access_text()]
        return {
            "summary": " ".join(first.split()).rstrip("."),
            "description": "\n\n".join(text for text in texts if text),
        }

    def _access_text(self) -> str:
        if not self._is_protected():
            return "Needs no token."
        scopes = " or ".join(f"`{scope}`" for scope in self._accepted_scopes())
        text = f"Scope: {scopes}." if scopes else "Needs a valid token of any scope."
        if self.action in self.view.session_token_actions:
            text += " A session token may call this for its own session."
        return text

    def _is_protected(self) -> bool:
        return hasattr(self.view, "scopes")

    def _accepted_scopes(self) -> tuple[Any, ...]:
        return any_of(self.view.scopes.get(self.action, ()))

    def _security(self) -> list[Schema]:
        if not self._is_protected():
            return []
        accepted = self._accepted_scopes()
        return [{"bearer": [str(scope)]} for scope in accepted] or [{"bearer": []}]

    # --- parameters --------------------------------------------------------------------------

    def _all_parameters(self) -> Iterator[Schema]:
        for converter, name in _PATH_PARAMETER.findall(self.path_regex):
            yield _parameter("path", name, _path_schema(converter))
        for name, schema in self.view.parameters.get(self.action, {}).items():
            plain = {key: value for key, value in schema.items() if key != "in"}
            yield _parameter(schema.get("in", "query"), name, plain)
        if filter_set := self.view.filters.get(self.action):
            for name, each in filter_set.base_filters.items():
                yield _parameter("query", name, dict(getattr(each, "openapi", {"type": "string"})))
        if self.action in self.view.paginated_actions:
            yield from _PAGINATION
        yield from self._conditional_headers()

    def _conditional_headers(self) -> Iterator[Schema]:
        if getattr(self.handler, "is_idempotent", False):
            yield _parameter("header", "Idempotency-Key", _IDEMPOTENCY_KEY)
        if self.action in self.view.tagged_actions:
            name = "If-Match" if self.method in _WRITES else "If-None-Match"
            yield _parameter("header", name, {"type": "string"})

    # --- body and answers --------------------------------------------------------------------

    def _body(self) -> Schema | None:
        content: Schema = {
            media_type: {"schema": dict(schema)}
            for media_type, schema in self.view.bodies.get(self.action, {}).items()
        }
        required = bool(content)
        if shape := self.view.inputs.get(self.action):
            component = self.resolve_serializer(shape(), "request")
            reference = component.ref if component else {"type": "object"}
            content[JSON] = {"schema": reference, **self._examples("request")}
            required = bool(component and component.schema.get("required"))
        return {"content": content, "required": required} if content else None

    def _examples(self, side: str) -> Schema:
        found = {
            f"example{number}": {"summary": example.summary, "value": getattr(example, side)}
            for number, example in enumerate(self.view.examples.get(self.action, ()), start=1)
            if getattr(example, side) is not None
        }
        return {"examples": found} if found else {}

    def _responses(self) -> Schema:
        responses: Schema = {str(status): self._success(status) for status in self._statuses()}
        if self.action in self.view.tagged_actions and self.method == "GET":
            responses["304"] = {"description": "Unchanged since the version in If-None-Match."}
        return responses | schema_problems.responses(self._refusals())

    def _statuses(self) -> tuple[int, ...]:
        declared = self.view.statuses.get(self.action, _DEFAULT_STATUS.get(self.action, 200))
        return declared if isinstance(declared, tuple) else (declared,)

    def _success(self, status: int) -> Schema:
        response: Schema = {"description": _DESCRIPTIONS.get(status, "Done.")}
        if headers := self._answer_headers():
            response["headers"] = headers
        if status != 204:
            media_types = self.view.media_types.get(self.action, (JSON,))
            response["content"] = {name: self._content(name, status) for name in media_types}
        return response

    def _answer_headers(self) -> Schema:
        text = {"schema": {"type": "string"}}
        headers: Schema = {"X-Request-Id": text}
        if self.action in self.view.tagged_actions and self.method != "DELETE":
            headers["ETag"] = text
        if getattr(self.handler, "is_idempotent", False):
            headers["Idempotent-Replayed"] = {
                "description": "`true` when the answer is that of an earlier request.",
                "schema": {"type": "string", "const": "true"},
            }
        return headers

    def _content(self, media_type: str, status: int) -> Schema:
        if media_type != JSON:
            return {"schema": {"type": "string"}}
        shape = self.view.outputs.get(self.action)
        if isinstance(shape, Mapping):
            shape = shape.get(status)
        component = self.resolve_serializer(shape(), "response") if shape else None
        schema = component.ref if component else {"type": "object"}
        if self.action in self.view.paginated_actions:
            schema = _page_of(schema, self.view.page_members.get(self.action, {}))
        return {"schema": schema, **self._examples("response")}

    def _refusals(self) -> schema_problems.Circumstances:
        return schema_problems.Circumstances(
            protected=self._is_protected(),
            has_path_id=bool(_PATH_PARAMETER.search(self.path_regex)),
            has_body=self.action in self.view.inputs or self.action in self.view.bodies,
            idempotent=getattr(self.handler, "is_idempotent", False),
            conditional=self.action in self.view.tagged_actions and self.method in _WRITES,
            paginated=self.action in self.view.paginated_actions,
            refuses=self.view.refuses.get(self.action, ()),
        )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _path_schema(converter: str) -> Schema:
    from keeptrusts_runners import ids

    if converter in ids.PREFIXES:
        return schema_fields.type_id(converter)
    return {"type": "integer", "minimum": 0} if converter == "int" else {"type": "string"}


def _parameter(location: str, name: str, schema: Mapping[str, Any]) -> Schema:
    rest = {key: value for key, value in schema.items() if key not in ("description", "required")}
    parameter: Schema = {"in": location, "name": name, "schema": rest}
    if text := schema.get("description"):
        parameter["description"] = text
    if location == "path" or schema.get("required"):
        parameter["required"] = True
    return parameter


def _page_of(item: Schema, more: Mapping[str, Any]) -> Schema:
    return {
        "type": "object",
        "required": ["items", "next_cursor", *more],
        "properties": {
            "items": {"type": "array", "items": item},
            "next_cursor": {"type": ["string", "null"]},
            **more,
        },
    }


_IDEMPOTENCY_KEY: Schema = {
    "type": "string",
    "pattern": "^[\\x21-\\x7e]{1,255}$",
    "description": "Makes a retry harmless: the same key and body get the same answer for 24 h.",
}
_PAGINATION = (
    _parameter(
        "query",
        "limit",
        {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    ),
    _parameter(
        "query",
        "cursor",
        {"type": "string", "description": "`next_cursor` of the page before."},
    ),
)

# --- the document ----------------------------------------------------------------------------


def build_document(urlconf: str | None = None) -> Schema:
    """The OpenAPI document of a URL configuration (by default the project's)."""
    with patched_settings({"POSTPROCESSING_HOOKS": [], "SORT_OPERATIONS": False}):
        generator: Any = SchemaGenerator(urlconf=urlconf)  # type: ignore[no-untyped-call]
        document: Schema = generator.get_schema(request=None, public=True)
    document["paths"] = {path: _ordered(item) for path, item in document["paths"].items()}
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(schema_problems.COMPONENT_SCHEMAS)
    components["responses"] = schema_problems.component_responses()
    components["securitySchemes"] = {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "An access token from `POST /v1/auth/token`, or a session token.",
        }
    }
    return document


def _ordered(operations: Schema) -> Schema:
    """Django REST framework keeps methods in a set, whose order differs between processes; the
    document and its ETag must not."""
    return {method: operations[method] for method in _METHODS if method in operations}


@cache
def document_bytes(form: str) -> bytes:
    """The project's document as `json` or `yaml`; it cannot change while the process lives."""
    document = build_document()
    if form == "yaml":
        plain = json.loads(json.dumps(document))
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100).encode()
    return json.dumps(document, ensure_ascii=False).encode()
