"""Bad input: refused with a problem document that names the field; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from keeptrusts_runners.api.inputs import InputShape
from tests import factories
from tests.contract import hostile
from tests.contract.calls import call, content, problem, stored
from tests.contract.routes import TABLE, Objects, Route, by_name, routed
from tests.people import Org

# One route for each reader of JSON; the others get every seventh of the fixed bodies each.
REPRESENTATIVE = ("POST /v1/runners/profiles", "POST /v1/runners/sessions/{session_id}/events")
JSON_WRITES = [
    route for route in TABLE if route.method in ("POST", "PUT", "PATCH") and route.raw is None
]


@pytest.fixture(scope="module")
def org() -> Org:
    made = Org()
    assert all((made.admin, made.operator, made.approver, made.runner, made.viewer))
    return made


_prepared: dict[str, Objects] = {}


def objects_of(route: Route, org: Org) -> Objects:
    key = f"{org.id} {route.name}"
    if key not in _prepared:
        _prepared[key] = route.prepare(org)
    return _prepared[key]


def _bodies_for(number: int, route: Route) -> Iterator[hostile.Body]:
    for index, body in enumerate(hostile.BODIES):
        if route.name in REPRESENTATIVE or index % 7 == number % 7:
            yield body


@pytest.mark.proves("api.bad-input", "api.no-500")
@pytest.mark.parametrize("route", JSON_WRITES, ids=lambda route: route.name)
def test_no_reader_takes_a_hostile_body(route: Route, org: Org) -> None:
    objects = objects_of(route, org)
    before, number = stored(org), JSON_WRITES.index(route)
    for body in _bodies_for(number, route):
        answer = org.admin.api.request(
            route.method, route.address(objects), raw=body.data, **body.headers
        )
        # Events come in larger batches than any other document; 10 MB are too much for both.
        try:
            problem(answer, body.status)
        except AssertionError as failure:
            raise AssertionError(f"{body.name}: {failure}") from None
    assert stored(org) == before


@pytest.mark.parametrize("route", JSON_WRITES, ids=lambda route: route.name)
def test_a_document_of_another_shape_names_what_is_wrong(route: Route, org: Org) -> None:
    objects = objects_of(route, org)
    before = stored(org)
    for name, document in hostile.DOCUMENTS.items():
        answer = org.admin.api.request(
            route.method, route.address(objects), raw=_json(document), **hostile.JSON
        )
        found = problem(answer, 422, "invalid")
        assert found["errors"], name
        if isinstance(document, dict):
            pointers = {item["pointer"] for item in found["errors"]}
            expected = next(iter(document)).replace("~", "~0").replace("/", "~1")
            assert f"/{expected}" in pointers, (name, pointers)
        assert len(found["errors"]) <= 40
    assert stored(org) == before


def _json(document: Any) -> bytes:
    import json

    return json.dumps(document).encode()


# --- wrong values for every field, out of the declared shapes --------------------------------


def _shape(route: Route) -> type[InputShape] | None:
    callback = routed()[route.template]
    action = callback.actions[route.method.lower()]
    found: type[InputShape] | None = callback.cls.inputs.get(action)
    return found


@pytest.mark.proves("api.bad-input")
@pytest.mark.parametrize("route", JSON_WRITES, ids=lambda route: route.name)
def test_a_wrong_value_of_any_field_is_named(route: Route, org: Org) -> None:
    shape = _shape(route)
    if shape is None:
        return
    objects = objects_of(route, org)
    before, sent = stored(org), 0
    for path, value, pointer in hostile.cases(shape):
        if value is None and route.name.endswith("/events"):
            continue  # Null is how many a logger says that it has none.
        if _is_free(route, path, value):
            continue
        body = hostile.with_value(objects.body, path, value)
        answer = org.admin.api.request(
            route.method, route.address(objects), raw=_json(body), **hostile.JSON
        )
        try:
            found = problem(answer, 422, "invalid")
            pointers = [item["pointer"] for item in found["errors"]]
            assert any(each == pointer or each.startswith(f"{pointer}/") for each in pointers), (
                pointers
            )
        except AssertionError as failure:
            shown = repr(value)[:80]
            raise AssertionError(f"{'/'.join(path)} = {shown}: {failure}") from None
        sent += 1
    assert sent or not shape().fields
    assert stored(org) == before


def _is_free(route: Route, path: tuple[str, ...], value: Any) -> bool:
    """Members of an event that are checked in one pass, and take what a log line may hold."""
    if not route.name.endswith("/events"):
        return False
    if path in (("step",), ("client_id",)):
        return bool(value == "   ")
    return path == ("message",) and isinstance(value, str) and len(value) <= 16 * 1024


# --- text that is only text ------------------------------------------------------------------

TEXTS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} ${7*7} #{7*7} <%= 7*7 %>",
    "'; DROP TABLE runner_session; --",
    "Robert\u202e\u2066 \u202cgro.live\u2069",
    "%s %d %n {0} {name} $(id) `id`",
    "../../../../etc/passwd",
    "\u00e9\u0301 \u212a \ufb01 \U0001f9d1\u200d\U0001f680 \ufeff \u2028 \ud7ff\ue000\uffff",
    "=cmd|' /C calc'!A0",
    "x" * 100,
)


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_kept_as_it_was_sent_and_never_as_anything_else(text: str, org: Org) -> None:
    body = {"name": text[:100] + "!", "description": text, "execution_target": "x"}
    body["labels"] = {"a": text}  # type: ignore[assignment]
    made = org.operator.api.post("/runners/profiles", body)
    assert made.status_code == 201, made.content
    assert made["Content-Type"] == "application/json"
    path = f"/runners/profiles/{made.json()['id']}"
    got = org.viewer.api.get(path).json()
    assert {name: got[name] for name in body} == body
    # Its name is free for the next run of this module's organization.
    assert org.operator.api.delete(path).status_code == 204
    session = factories.running(org)
    runner = factories.session_api(org, session)
    event = {"kind": "log", "message": text, "data": {text[:64]: [text]}, "step": text[:100]}
    recorded = runner.post(factories.path(session, "events"), event)
    assert recorded.status_code == 201, recorded.content
    (last,) = org.viewer.api.get(
        f"{factories.path(session, 'events')}?before_seq=1000&limit=1"
    ).json()["items"]
    assert {name: last[name] for name in event} == event


@pytest.mark.parametrize(
    "number", [0, -1, 2**31 - 1, 2**31, -(2**31), 2**53 - 1, 2**53, 2**63 - 1, -(2**63), 0.1, -0.5]
)
def test_numbers_in_free_objects_come_back_as_they_were(number: float, org: Org) -> None:
    body = {**by_name("POST /v1/runners/sessions").prepare(org).body, "input": {"n": [number]}}
    made = org.operator.api.post("/runners/sessions", body)
    assert made.status_code == 201, made.content
    got = org.viewer.api.get(f"/runners/sessions/{made.json()['id']}").json()
    assert got["input"] == {"n": [number]}
    assert type(got["input"]["n"][0]) is type(number)


# --- batches and lines of events -------------------------------------------------------------


@pytest.fixture(scope="module")
def events(org: Org) -> str:
    return factories.path(factories.running(org), "events")


LINES = {
    "not JSON": (b'{"kind": "log"}\nx\n', 400, "Line 2"),
    "cut": (b'{"kind": "log"}\n{"kind": "lo', 400, "Line 2"),
    "duplicate key": (b'{"kind": "log", "kind": "log"}\n', 400, "Line 1"),
    "NUL": (b'{"kind": "log", "message": "\\u0000"}\n', 400, "Line 1"),
    "NaN": (b'{"kind": "log", "data": {"a": NaN}}\n', 400, "Line 1"),
    "deep": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400, "Line 1"),
    "a list": (b'{"kind": "log"}\n[]\n', 422, "/1"),
    "an unknown member": (b'{"kind": "log"}\n{"kind": "log", "seq": 1}\n', 422, "/1/seq"),
    "the server's own kind": (b'{"kind": "state.completed"}\n', 422, "/0/kind"),
    "too many": (b'{"kind": "log"}\n' * 1001, 413, "1000"),
    "too large": (b'{"kind": "log", "message": "' + b"x" * 6_000_000 + b'"}\n', 413, ""),
}


@pytest.mark.parametrize("name", LINES)
def test_hostile_lines_are_refused_whole(name: str, org: Org, events: str) -> None:
    data, status, place = LINES[name]
    before = stored(org)
    answer = org.runner.api.request(
        "POST", events, raw=data, **{"Content-Type": "application/x-ndjson"}
    )
    document = problem(answer, status)
    pointers = [item["pointer"] for item in document.get("errors", ())]
    assert place in document["detail"] or place in pointers, document
    assert stored(org) == before


BATCHES: dict[str, tuple[Any, int, str]] = {
    "no list": ({"events": {}}, 422, "/events"),
    "null": ({"events": None}, 422, "/events"),
    "a word in it": ({"events": [{"kind": "log"}, "x"]}, 422, "/events/1"),
    "nested": ({"events": [{"events": []}]}, 422, "/events/0/events"),
    "another member": ({"events": [], "seq": 1}, 422, "/seq"),
    "a member with a path": ({"events": [], "a/b": 1}, 422, "/a~1b"),
    "an event's member with a path": ({"events": [{"kind": "log", "a/b": 1}]}, 422,
                                      "/events/0/a~1b"),
    "no kind": ({"events": [{"message": "x"}]}, 422, "/events/0/kind"),
    "server's kind": ({"events": [{"kind": "grant.approved"}]}, 422, "/events/0/kind"),
    "a note": ({"events": [{"kind": "note"}]}, 422, "/events/0/kind"),
    "a kind like a pattern": ({"events": [{"kind": "x." + "a" * 100}]}, 422, "/events/0/kind"),
    "future": ({"events": [{"kind": "log", "occurred_at": "2999-01-01T00:00:00Z"}]}, 422,
               "/events/0/occurred_at"),
    "epoch as text": ({"events": [], "lease_epoch": "1"}, 422, "/lease_epoch"),
    "epoch 2^53": ({"events": [], "lease_epoch": 2**53}, 422, "/lease_epoch"),
    "too many": ({"events": [{"kind": "log"}] * 1001}, 413, ""),
    "data too large": ({"events": [{"kind": "log", "data": {"a": "x" * 70_000}}]}, 422,
                       "/events/0/data"),
}  # fmt: skip


@pytest.mark.parametrize("name", BATCHES)
def test_hostile_batches_are_refused_whole(name: str, org: Org, events: str) -> None:
    document, status, pointer = BATCHES[name]
    before = stored(org)
    found = problem(org.runner.api.post(events, document), status)
    if pointer:
        assert pointer in [item["pointer"] for item in found["errors"]], found
    assert stored(org) == before


# --- headers ---------------------------------------------------------------------------------

HEADERS = {
    "Lease-Epoch": ("0", "-1", "x", "1.5", "9" * 400, "1e3", "", " ", "\u0661", "1, 1"),
    "If-None-Match": ("x", '"', "\x01"),
    "Idempotency-Key": ("", "\x01", "x" * 5000, "a b"),
}


@pytest.mark.proves("api.bad-input")
@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers_are_refused(name: str, org: Org) -> None:
    route = by_name(
        "GET /v1/runners/sessions/{session_id}" if name == "If-None-Match"
        else "POST /v1/runners/sessions/{session_id}/checkpoint"
    )  # fmt: skip
    objects = objects_of(route, org)
    before = stored(org)
    for value in HEADERS[name]:
        answer = call(org.admin.api, route, objects, **{name: value})
        problem(answer, 400)
    assert stored(org) == before


def test_an_epoch_in_the_body_and_another_in_the_header_contradict(org: Org) -> None:
    route = by_name("POST /v1/runners/sessions/{session_id}/heartbeat")
    objects = objects_of(route, org)
    answer = org.runner.api.post(route.address(objects), {"lease_epoch": 1}, Lease_Epoch="2")
    (error,) = problem(answer, 422)["errors"]
    assert error["pointer"] == "/lease_epoch"


@pytest.mark.proves("api.bad-input")
@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
def test_unknown_parameters_are_refused_on_every_route(route: Route, org: Org) -> None:
    objects = objects_of(route, org)
    before = stored(org)
    joint = "&" if route.query else "?"
    for query in ("no_such=1", "%00=1", "limit%5B%5D=1", "_method=DELETE", "x=%ff"):
        answer = org.admin.api.request(
            route.method, f"{route.address(objects)}{joint}{query}", raw=route.raw or b""
        )
        problem(answer, 400, "unknown_parameter")
        content(answer)
    assert stored(org) == before
