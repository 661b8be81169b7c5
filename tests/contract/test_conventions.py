"""The habits of contract §2: what curl sends, what methods there are, how refusals look."""

from __future__ import annotations

from typing import Any

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.api.body import FORM
from keeptrusts_runners.api.schema import build_document
from tests import factories
from tests.contract.calls import call, content, problem
from tests.contract.routes import PUBLIC_OPERATIONS, TABLE, Objects, Route, dispatch, routed
from tests.people import Api, Org, client

every_route = pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
WRITES = [route for route in TABLE if route.method in ("POST", "PUT", "PATCH")]
JSON_WRITES = [route for route in WRITES if route.raw is None]
ACTIONS = [route for route in WRITES if route.name.startswith("POST") and not route.creates]


# What these act on, or why, has to be said.
NEED_A_BODY = {
    "denial", "event", "eviction", "introspection", "large", "lost", "recall", "renewal",
    "revocation", "signing",
}  # fmt: skip
# RFC 7662 has a form.
TAKES_A_FORM = "POST /v1/runners/permissions/introspect"


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


# --- bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "route",
    [r for r in ACTIONS if r.prepare.__name__ not in NEED_A_BODY],
    ids=lambda route: route.name,
)
def test_an_empty_body_on_an_action_is_an_empty_object(route: Route, org: Org) -> None:
    if "approve" in route.name:
        return
    for raw, headers in (
        (b"", {"Content-Type": "application/json"}),
        (b"", {"Content-Type": ""}),
        # What curl -X POST -d '' sends.
        (b"", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"{}", {"Content-Type": "application/json"}),
        (b"{}", {"Content-Type": "application/json; charset=utf-8"}),
        (b"{}", {"Content-Type": "Application/JSON;charset=UTF-8"}),
    ):
        objects = route.prepare(org)
        answer = org.admin.api.request("POST", route.address(objects), raw=raw, **headers)
        assert answer.status_code == route.succeeds, content(answer)


@pytest.mark.parametrize("route", JSON_WRITES, ids=lambda route: route.name)
@pytest.mark.parametrize(
    "media_type",
    [
        FORM,
        "text/plain",
        "text/json",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin-1",
        "application/problem+json",
        "",
        "json",
    ],
)
def test_any_other_media_type_is_told_which_one_to_send(
    route: Route, media_type: str, org: Org
) -> None:
    if route.name == TAKES_A_FORM and media_type == FORM:
        return
    objects = _prepared(route, org)
    answer = org.admin.api.request(
        route.method, route.address(objects), raw=b'{"name": "x"}', **{"Content-Type": media_type}
    )
    document = problem(answer, 415, "unsupported_media_type")
    assert "application/json" in document["detail"]


_cache: dict[tuple[str, Any], Objects] = {}


def _prepared(route: Route, org: Org) -> Objects:
    """Objects for calls that are refused, and so change nothing."""
    key = (route.name, org.id)
    if key not in _cache:
        _cache[key] = route.prepare(org)
    return _cache[key]


# --- methods and addresses -------------------------------------------------------------------

METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"}
_PLACES = sorted(
    {name.partition(" ")[2] for name in PUBLIC_OPERATIONS} | {r.template for r in TABLE}
)


def _methods_of(template: str) -> set[str]:
    names = {route.name for route in TABLE} | PUBLIC_OPERATIONS
    found = {name.partition(" ")[0] for name in names if name.endswith(f" {template}")}
    return found | {"OPTIONS"} | ({"HEAD"} if "GET" in found else set())


def _concrete(template: str, org: Org) -> str:
    route = next((r for r in TABLE if r.template == template), None)
    return template if route is None else template.format(**_prepared(route, org).path)


@pytest.mark.parametrize("template", _PLACES)
def test_methods(template: str, org: Org) -> None:
    path, allowed = _concrete(template, org), _methods_of(template)
    for method in METHODS - allowed:
        for api in (Api(), org.admin.api):
            answer = _send(api, method, path)
            if method == "HEAD":
                assert (answer.status_code, answer.content) == (405, b"")
            else:
                problem(answer, 405, "method_not_allowed")
            assert set(answer["Allow"].split(", ")) == allowed
    # Another origin gets no leave: the browser's question is answered without an answer.
    asked = client().generic(
        "OPTIONS",
        path,
        headers={"Origin": "https://elsewhere.test", "Access-Control-Request-Method": "POST"},
    )
    assert asked.status_code == 204
    assert set(asked["Allow"].split(", ")) == allowed
    assert not [name for name in asked.headers if name.startswith("Access-Control")]


def _send(api: Api, method: str, path: str, **headers: str) -> Any:
    sent = {"Authorization": f"Bearer {api.token}"} if api.token else {}
    return client().generic(method, path, headers=sent | headers)


@every_route
def test_head_is_get_without_the_body(route: Route, org: Org) -> None:
    if route.method != "GET":
        return
    objects = _prepared(route, org)
    got = call(org.admin.api, route, objects)
    head = org.admin.api.request("HEAD", route.address(objects))
    assert head.status_code == got.status_code
    moving = {"X-Request-Id", "Content-Length", "ETag"}
    assert {n: v for n, v in head.items() if n not in moving} == {
        n: v for n, v in got.items() if n not in moving
    }
    content(got), content(head)


@pytest.mark.parametrize("template", [place for place in _PLACES if place.startswith("/v1")])
def test_a_slash_at_the_end_is_redirected_once(template: str, org: Org) -> None:
    path = _concrete(template, org)
    for method in sorted(_methods_of(template)):
        answer = _send(org.admin.api, method, f"{path}/?limit=1&x=%20y")
        assert answer.status_code == 308, (method, answer.content)
        assert answer["Location"] == f"{path}?limit=1&x=%20y"
    assert _send(org.admin.api, "GET", f"{path}//").status_code == 308
    assert _send(org.admin.api, "GET", f"{path}/x/").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1", "/v1/", "/v1/nothing", "/v1/runners", "/v1/runners/sessions/x/y/z", "/v1/%00",
        "/v1/%ff", "/v1/../v1/runners/sessions", "/v1/runners//sessions",
        "/v1/runners/sessions;x=1", "/v1/runners/sessions.json", "/v1/RUNNERS/SESSIONS",
        "/v1/runners/profiles/prof_x%0d%0aSet-Cookie:x=1",
    ],
)  # fmt: skip
def test_addresses_that_are_none(path: str, org: Org) -> None:
    answer = _send(org.admin.api, "GET", path)
    assert answer.status_code == 404
    assert not answer.cookies
    if path.startswith("/v1"):
        problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-HTTP-Method": "DELETE"},
        {"X-Method-Override": "DELETE"},
        {"X-Original-URL": "/v1/members"},
        {"X-Rewrite-URL": "/v1/members"},
        {"X-Forwarded-Host": "elsewhere.test"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Proto": "https"},
        {"X-Forwarded-Prefix": "/x"},
        {"Forwarded": "for=127.0.0.1;host=elsewhere.test;proto=https"},
        {"X-Real-IP": "127.0.0.1"},
        {"X-User": "admin"},
        {"Remote-User": "admin"},
        {"X-Forwarded-User": "admin"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_headers_that_others_believe_change_nothing(headers: dict[str, str], org: Org) -> None:
    path = f"/v1/runners/profiles/{ids.encode('prof', factories.profile(org).id)}"
    plain = _send(org.viewer.api, "GET", path, **{"X-Request-Id": "the-same"})
    spoofed = _send(org.viewer.api, "GET", path, **{"X-Request-Id": "the-same", **headers})
    assert (spoofed.status_code, spoofed.content) == (plain.status_code, plain.content)
    assert dict(spoofed.items()) == dict(plain.items())
    assert _send(Api(), "GET", path, **headers).status_code == 401
    problem(_send(org.operator.api, "POST", f"{path}?_method=DELETE"), 405)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.proves("api.problems")
def test_the_type_of_every_refusal_is_a_page(org: Org) -> None:
    answer = org.viewer.api.get("/runners/sessions/sess_x")
    page = client().get(problem(answer, 404)["type"])
    assert page.status_code == 200
    assert "not_found" in page.content.decode()
    assert page["Content-Type"].startswith("text/html")


def test_a_request_id_is_taken_and_given_back(org: Org) -> None:
    for sent in ("abc-1.2_3", "x" * 128):
        answer = org.viewer.api.get("/runners/sessions", X_Request_Id=sent)
        assert answer["X-Request-Id"] == sent
    for sent in ("", " ", "a b", "x" * 129, "é", "<script>", "a\tb", "a;b"):
        answer = org.viewer.api.get("/runners/sessions", X_Request_Id=sent)
        assert answer["X-Request-Id"] != sent
        assert len(answer["X-Request-Id"]) == 32


def test_a_trace_context_is_kept_for_the_runner(org: Org) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    made = org.operator.api.post("/runners/sessions", dispatch(org).body, traceparent=trace)
    assert made.json()["traceparent"] == trace
    claimed = org.runner.api.post(f"/runners/sessions/{made.json()['id']}/claim")
    assert claimed.json()["traceparent"] == trace
    for wrong in ("x", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", trace + "\u00e9", "f" * 4000):
        made = org.operator.api.post("/runners/sessions", dispatch(org).body, traceparent=wrong)
        assert (made.status_code, made.json()["traceparent"]) == (201, "")


def test_what_is_not_acceptable_is_said(org: Org) -> None:
    path = "/runners/sessions"
    for accept in ("text/html", "application/xml", "application/json;q=0", "image/*"):
        problem(org.viewer.api.get(path, Accept=accept), 406, "not_acceptable")
    for accept in ("*/*", "application/*", "text/html, */*;q=0.1", "", "application/json; q=0.5"):
        assert org.viewer.api.get(path, Accept=accept).status_code == 200


def test_answers_are_not_cached_and_not_guessed(org: Org) -> None:
    for path in ("/runners/sessions", "/runners/sessions/sess_x"):
        answer = org.viewer.api.get(path)
        assert answer["Cache-Control"] == "no-store"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert not answer.cookies
        assert "Access-Control-Allow-Origin" not in answer


def test_every_status_that_is_answered_is_published(org: Org) -> None:
    """For each route: what a good call, an empty one and a nobody get."""
    paths = build_document()["paths"]
    for route in TABLE:
        published = paths[route.template][route.method.lower()]["responses"]
        objects = route.prepare(org)
        answers = [
            call(Api(), route, objects),
            call(Org().viewer.api, route, objects),
            org.admin.api.request(route.method, route.address(objects), raw=b"[1"),
            call(org.admin.api, route, objects),
            org.admin.api.request(route.method, f"{route.address(objects).partition('?')[0]}?x=1"),
        ]
        for answer in answers:
            content(answer)
            assert str(answer.status_code) in published, (route.name, answer.status_code)


def test_every_page_of_the_documentation_is_there() -> None:
    for path in routed():
        if path.startswith("/v1/docs") and "{" not in path:
            assert client().get(path).status_code == 200
