"""Answers are what the published document says they are, for good calls and for refused ones."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema
import pytest

from keeptrusts_runners.api.schema import build_document
from tests.contract.calls import call, content
from tests.contract.routes import TABLE, Route
from tests.people import Api, Org


@cache
def document() -> dict[str, Any]:
    # Through JSON, so that it is what a reader of /v1/schema gets.
    found: dict[str, Any] = json.loads(json.dumps(build_document()))
    return found


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def _published(route: Route, status: int) -> dict[str, Any]:
    responses = document()["paths"][route.template][route.method.lower()]["responses"]
    assert str(status) in responses, f"{route.name} does not publish {status}"
    response: dict[str, Any] = responses[str(status)]
    if reference := response.get("$ref"):
        response = document()["components"]["responses"][reference.rpartition("/")[2]]
    return response


def _matches(route: Route, answer: Any) -> None:
    response, body = _published(route, answer.status_code), content(answer)
    if not body:
        assert not response.get("content"), route.name
        return
    media_type = answer["Content-Type"].partition(";")[0]
    assert media_type in response["content"], (route.name, media_type)
    if not media_type.endswith("json"):
        return
    schema = response["content"][media_type]["schema"] | {"components": document()["components"]}
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(json.loads(body)), key=str)
    assert not errors, (route.name, [f"{list(e.path)}: {e.message[:200]}" for e in errors])
    for name in response.get("headers", {}):
        if name not in ("Idempotent-Replayed", "ETag"):
            assert answer.has_header(name), (route.name, name)


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
def test_a_good_answer(route: Route, org: Org) -> None:
    answer = call(org.admin.api, route, route.prepare(org))
    assert answer.status_code == route.succeeds
    _matches(route, answer)


@pytest.mark.proves("api.problems")
@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
def test_refused_answers(route: Route, org: Org) -> None:
    objects = route.prepare(org)
    _matches(route, call(Api(), route, objects))
    _matches(route, call(Api("x"), route, objects))
    if route.scope:
        _matches(route, call(Org().machine().api, route, objects))
    _matches(route, call(org.admin.api, route, objects, Accept="image/png"))
    if route.method != "GET":
        for raw in (b"[1", b'{"no_such_member": 1}', b"x" * 6_000_000):
            answer = org.admin.api.request(route.method, route.address(objects), raw=raw)
            if answer.status_code >= 400:
                _matches(route, answer)


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
def test_examples_are_accepted_as_they_stand(route: Route, org: Org) -> None:
    operation = document()["paths"][route.template][route.method.lower()]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    for example in body.get("examples", {}).values():
        objects = route.prepare(org)
        value = dict(example["value"])
        # An id of somebody else's stands for one of one's own.
        value |= {n: v for n, v in (objects.body or {}).items() if n.endswith("_id")}
        answer = org.admin.api.request(
            route.method, route.address(objects), raw=json.dumps(value).encode()
        )
        assert answer.status_code in (200, 201, route.succeeds), (
            example["summary"],
            answer.content,
        )
        schema = body["schema"] | {"components": document()["components"]}
        if "events" not in value:
            jsonschema.Draft202012Validator(schema).validate(value)
