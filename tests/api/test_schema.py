"""The published schema says what is enforced, and every page it refers to exists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from keeptrusts_runners import errors
from keeptrusts_runners.api import checks
from keeptrusts_runners.api.docs import render_errors_markdown
from keeptrusts_runners.api.schema import build_document, document_bytes
from tests.api.conftest import call
from tests.api.test_views import problem

pytestmark = pytest.mark.usefixtures("routes")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return build_document("tests.api.routes")


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert json.loads(json.dumps(document)) == document
    ids = [operation["operationId"] for operation in _operations(document)]
    assert len(ids) == len(set(ids))


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document)))
    assert references
    for reference in references:
        target: Any = document
        for part in reference.split("/"):
            target = target[part]


def test_every_schema_is_valid_json_schema(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_an_operation_says_everything_that_is_declared(document: dict[str, Any]) -> None:
    create = document["paths"]["/v1/notes"]["post"]
    assert create["summary"] == "Make a note"
    assert "Scope: `runners:dispatch`" in create["description"]
    assert create["security"] == [{"bearer": ["runners:dispatch"]}]
    assert create["tags"] == ["Notes"]
    assert [p["name"] for p in create["parameters"]] == ["Idempotency-Key"]
    body = create["requestBody"]["content"]["application/json"]
    assert body["examples"]["example1"]["value"] == {"name": "first"}
    assert create["requestBody"]["required"] is True
    assert {"201", "400", "401", "403", "409", "413", "415", "422", "429", "503"} <= set(
        create["responses"]
    )
    assert "already_exists" in create["responses"]["409"]["description"]
    shape = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
    assert shape["properties"]["name"] == {"type": "string", "minLength": 1, "maxLength": 100}
    assert shape["required"] == ["name"]


def test_a_list_says_its_parameters_and_its_page(document: dict[str, Any]) -> None:
    operation = document["paths"]["/v1/notes"]["get"]
    names = {p["name"] for p in operation["parameters"]}
    assert names == {
        *("status", "owner_id", "created_after", "min_status", "name", "label"),
        *("limit", "cursor", "order"),
    }
    page = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert page["required"] == ["items", "next_cursor"]


def test_conditions_and_headers_are_told(document: dict[str, Any]) -> None:
    put = document["paths"]["/v1/notes/{number}"]["put"]
    assert {"If-Match", "number"} == {p["name"] for p in put["parameters"]}
    assert "412" in put["responses"]
    get = document["paths"]["/v1/notes/{number}"]["get"]
    assert "304" in get["responses"]
    assert "ETag" in get["responses"]["200"]["headers"]
    stream = document["paths"]["/v1/sessions/{session_id}/stream"]["post"]
    assert {("header", "Lease-Epoch"), ("path", "session_id")} == {
        (p["in"], p["name"]) for p in stream["parameters"]
    }
    either = document["paths"]["/v1/either"]["get"]
    assert len(either["security"]) == 2
    assert document["paths"]["/v1/open"]["get"]["security"] == []


def test_several_statuses_of_success_have_their_own_shapes(document: dict[str, Any]) -> None:
    answers = document["paths"]["/v1/sessions/{session_id}/stream"]["post"]["responses"]
    json_of = {
        status: answer.get("content", {}).get("application/json", {}).get("schema")
        for status, answer in answers.items()
        if status.startswith("2")
    }
    assert json_of == {
        "200": {"$ref": "#/components/schemas/NoteOut"},
        "202": {"type": "object"},
        "204": None,
    }


def test_the_document_is_served_as_json_and_yaml() -> None:
    answer = call("GET", "/v1/schema")
    assert answer["Content-Type"] == "application/json"
    assert "/healthz" in answer.json()["paths"]
    assert yaml.safe_load(call("GET", "/v1/schema?format=yaml").content) == answer.json()
    assert call("GET", "/v1/schema", **{"If-None-Match": answer["ETag"]}).status_code == 304
    problem(call("GET", "/v1/schema?format=xml"), 400, "invalid_parameter")
    problem(call("POST", "/v1/schema"), 405, "method_not_allowed")
    document_bytes.cache_clear()


@pytest.mark.parametrize("path", ["/v1/docs", "/v1/docs/redoc", "/v1/docs/errors"])
def test_the_pages_have_no_inline_script(path: str) -> None:
    answer = call("GET", path)
    assert answer.status_code == 200
    assert "script-src 'self';" in answer["Content-Security-Policy"]
    html = answer.content.decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)|\son\w+=|style=|https?://", html)
    for source in re.findall(r'(?:src|href)="(/static/[^"]+)"', html):
        assert call("GET", source).status_code == 200, source


def test_every_error_has_its_page() -> None:
    for error in errors.catalogue():
        answer = call("GET", f"/v1/docs/errors/{error.code}")
        assert answer.status_code == 200
        assert error.title in answer.content.decode().replace("&#x27;", "'")
    problem(call("GET", "/v1/docs/errors/no_such_code"), 404, "not_found")


def test_the_error_table_has_every_error_once() -> None:
    text = render_errors_markdown()
    for error in errors.catalogue():
        assert text.count(f"| `{error.code}` |") == 1


def test_an_undeclared_action_does_not_start() -> None:
    found = [(message.obj.__name__, message.id, message.msg) for message in _check_routes()]
    assert found == [("NoteViewSet", "api.E003", "declares no scope for undeclared")]


def _check_routes() -> list[Any]:
    return checks.every_action_is_declared()


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()
