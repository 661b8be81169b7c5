"""One request through everything: access, the transaction, bodies, and what refusals look like."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from keeptrusts_runners import ids
from keeptrusts_runners.api import refusals
from keeptrusts_runners.api.models import IdempotencyKey
from keeptrusts_runners.identity.scopes import Role
from keeptrusts_runners.identity.tenancy import organization_scope
from tests.api.conftest import Caller, call

pytestmark = pytest.mark.usefixtures("routes")


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The response's problem document, once it is seen to be a whole one."""
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(response.content)
    assert document["type"] == f"/v1/docs/errors/{code}"
    assert document["status"] == status
    assert document["code"] == code
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == response["X-Request-Id"]
    return document


def notes(who: Caller) -> int:
    with organization_scope(who.organization_id):
        return IdempotencyKey.objects.filter(route="note").count()


# --- access ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorization", "code", "challenge"),
    [
        (None, "not_authenticated", 'Bearer realm="keeptrusts-runners"'),
        ("Basic YTpi", "not_authenticated", 'Bearer realm="keeptrusts-runners"'),
        ("Bearer", "invalid_token", 'error="invalid_token"'),
        ("Bearer ", "invalid_token", 'error="invalid_token"'),
        ("Bearer a b", "invalid_token", 'error="invalid_token"'),
        ("Bearer garbage", "invalid_token", 'error="invalid_token"'),
        ("Bearer a.b.c", "invalid_token", 'error="invalid_token"'),
        ("Bearer e30.e30.e30", "invalid_token", 'error="invalid_token"'),
        ("Bearer \xe9", "invalid_token", 'error="invalid_token"'),
        ("Bearer " + "a" * 9000, "invalid_token", 'error="invalid_token"'),
    ],
)
def test_without_a_token_of_ours_nothing_is_read(
    authorization: str | None, code: str, challenge: str
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = call("POST", "/v1/notes", b"not even JSON", **headers)
    problem(answer, 401, code)
    assert challenge in answer["WWW-Authenticate"]


def test_a_cookie_gives_nothing() -> None:
    client = Client(raise_request_exception=False)
    client.cookies["sessionid"] = "x"
    problem(client.get("/v1/notes"), 401, "not_authenticated")
    assert client.get("/v1/plain").json()["cookies"] == 0
    assert client.get("/page").json()["cookies"] == 1


def test_a_missing_scope_is_named(as_role: Callable[[Role], Caller]) -> None:
    answer = as_role(Role.VIEWER)("POST", "/v1/notes", {"name": "n"})
    assert problem(answer, 403, "missing_scope")["scope"] == "runners:dispatch"
    assert 'error="insufficient_scope", scope="runners:dispatch"' in answer["WWW-Authenticate"]


def test_an_undeclared_action_is_denied_even_to_admins(admin: Caller) -> None:
    problem(admin("GET", "/v1/notes/undeclared"), 403, "permission_denied")


def test_one_of_several_scopes_is_enough(as_role: Callable[[Role], Caller]) -> None:
    assert as_role(Role.VIEWER)("GET", "/v1/either").status_code == 200
    assert as_role(Role.ENFORCER)("GET", "/v1/either").status_code == 200
    assert as_role(Role.ENFORCER)("POST", "/v1/notes/anybody", {"name": "n"}).status_code == 200
    problem(as_role(Role.ENFORCER)("GET", "/v1/notes"), 403, "missing_scope")


def test_a_session_token_reaches_the_declared_actions_of_its_session(
    session_caller: tuple[Caller, str],
) -> None:
    holder, session_id = session_caller
    answer = holder("GET", f"/v1/sessions/{session_id}/either")
    assert answer.json() == {"actor": f"{session_id}#1"}
    other = ids.encode("sess", ids.new())
    problem(holder("GET", f"/v1/sessions/{other}/either"), 403, "outside_session")
    problem(holder("GET", "/v1/either"), 403, "outside_session")
    problem(holder("GET", "/v1/notes"), 403, "outside_session")


def test_another_organizations_object_answers_like_none(admin: Caller, outsider: Caller) -> None:
    made = outsider("POST", "/v1/notes", {"name": "theirs"}).json()
    same = {"X-Request-Id": "r"}
    answers = [
        admin("GET", f"/v1/notes/{made['id']}", **same),
        admin("GET", "/v1/notes/987654321", **same),
        admin("GET", "/v1/notes/sess_nonsense", **same),
    ]
    assert {problem(answer, 404, "not_found")["detail"] for answer in answers}
    assert len({answer.content for answer in answers}) == 1
    assert dict(answers[0].headers) == dict(answers[1].headers) == dict(answers[2].headers)
    assert outsider("GET", f"/v1/notes/{made['id']}").status_code == 200


def test_refusals_are_told_to_who_records_them(
    as_role: Callable[[Role], Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str | None, str]] = []

    def recorder(principal: Any, request: Any, error: Any) -> None:
        told.append((principal and principal.account, error.code))
        raise RuntimeError("must not reach the client")

    monkeypatch.setattr(refusals, "_recorders", [recorder])
    viewer = as_role(Role.VIEWER)
    problem(viewer("POST", "/v1/notes", {}), 403, "missing_scope")
    problem(call("GET", "/v1/notes"), 401, "not_authenticated")
    assert viewer("GET", "/v1/notes").status_code == 200
    assert told == [
        (ids.encode("sa", viewer.account_id), "missing_scope"),
        (None, "not_authenticated"),
    ]


# --- methods ---------------------------------------------------------------------------------


def test_other_methods_are_named_without_a_token() -> None:
    for method in ("PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"):
        answer = call(method, "/v1/notes")
        problem(answer, 405, "method_not_allowed")
        assert {"GET", "POST", "OPTIONS"} <= set(answer["Allow"].split(", "))
        assert "allow" not in answer.json()


def test_a_method_cannot_be_overridden(admin: Caller) -> None:
    made = admin("POST", "/v1/notes", {"name": "n"}).json()
    admin("GET", f"/v1/notes/{made['id']}", X_HTTP_Method_Override="DELETE")
    assert admin("GET", f"/v1/notes/{made['id']}").status_code == 200


def test_options_and_head(admin: Caller) -> None:
    options = call("OPTIONS", "/v1/notes", Origin="https://elsewhere.example")
    assert options.status_code == 204
    assert "POST" in options["Allow"]
    assert not [name for name in options.headers if name.startswith("Access-Control")]
    head = admin("HEAD", "/v1/notes")
    assert (head.status_code, head.content) == (200, b"")


# --- one transaction -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("domain", 409, "state_conflict"),
        ("http404", 404, "not_found"),
        ("missing", 404, "not_found"),
        ("operational", 503, "database_unavailable"),
        ("data", 400, "malformed"),
        ("division", 400, "malformed"),
        ("nul", 400, "malformed"),
        ("integrity", 500, "internal_error"),
        ("bug", 500, "internal_error"),
        ("validation", 422, "invalid"),
    ],
)
def test_every_failure_is_a_problem_and_leaves_nothing(
    admin: Caller, how: str, status: int, code: str
) -> None:
    answer = admin("POST", f"/v1/notes/fail?how={how}")
    document = problem(answer, status, code)
    for secret in ("secret", "10.0.0.5", "Traceback", "SELECT"):
        assert secret not in answer.content.decode()
    assert answer.has_header("Retry-After") == (status == 503)
    assert notes(admin) == 0
    if how == "domain":
        assert document["current_state"] == "running"
        assert document["allowed_verbs"] == ["cancel"]
    if how == "validation":
        assert document["errors"] == [{"pointer": "/a/1/b", "code": "invalid", "detail": "no"}]


def test_an_answered_refusal_leaves_nothing_either(admin: Caller) -> None:
    assert admin("POST", "/v1/notes/fail?how=answered").status_code == 409
    assert notes(admin) == 0


def test_a_non_atomic_action_opens_its_own_scope(session_caller: tuple[Caller, str]) -> None:
    holder, session_id = session_caller
    answer = holder("POST", f"/v1/sessions/{session_id}/stream")
    assert answer.json() == {"visible": 0}, "outside the scope there is nothing to see"
    assert notes(holder) == 1


def test_an_unreachable_database_is_503(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError, connection

    def refuse(*_: Any) -> None:
        raise OperationalError("could not connect to server")

    monkeypatch.setattr(connection, "ensure_connection", refuse)
    connection.close()
    answer = admin("GET", "/v1/notes")
    problem(answer, 503, "database_unavailable")
    assert answer["Retry-After"] == "2"


# --- bodies ----------------------------------------------------------------------------------


def test_an_absent_or_empty_body_is_an_empty_object(admin: Caller) -> None:
    for content_type in ("application/json", "application/x-www-form-urlencoded", ""):
        answer = admin("POST", "/v1/notes", b"", **{"Content-Type": content_type})
        assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == "/name"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "text/plain",
        "text/json",
        "application/jsonp",
        "application/json; charset=utf-16",
        "multipart/form-data; boundary=x",
        "",
        "nonsense",
    ],
)
def test_other_content_types_are_told_which_one(admin: Caller, content_type: str) -> None:
    answer = admin("POST", "/v1/notes", b'{"name": "n"}', **{"Content-Type": content_type})
    assert "application/json" in problem(answer, 415, "unsupported_media_type")["detail"]


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=UTF-8", 'Application/JSON;charset="utf-8"']
)
def test_json_is_json_however_it_is_spelt(admin: Caller, content_type: str) -> None:
    answer = admin("POST", "/v1/notes", b'{"name": "n"}', **{"Content-Type": content_type})
    assert answer.status_code == 201


def test_a_compressed_body_is_refused(admin: Caller) -> None:
    answer = admin("POST", "/v1/notes", b"\x1f\x8b\x08", Content_Encoding="gzip")
    assert "gzip" in problem(answer, 415, "unsupported_media_type")["detail"]


def test_a_large_body_is_refused_by_its_length(admin: Caller) -> None:
    answer = admin("POST", "/v1/notes", b'{"name": "' + b"n" * 2**20 + b'"}')
    assert problem(answer, 413, "payload_too_large")["limit_bytes"] == 2**20
    made = admin("POST", "/v1/notes", {"name": "n"}).json()
    answer = admin("PUT", f"/v1/notes/{made['id']}", {"name": "n" * 100})
    assert problem(answer, 413, "payload_too_large")["limit_bytes"] == 100


@pytest.mark.parametrize(("body", "length"), [(b"", 20), (b"{}", 20), (b"{}", "two"), (b"{}", -1)])
def test_a_body_that_is_cut_is_not_taken_for_a_whole_one(
    admin: Caller, body: bytes, length: object
) -> None:
    problem(_raw(admin, body, CONTENT_LENGTH=str(length)), 400, "malformed")
    assert notes(admin) == 0


def test_a_chunked_body_is_read_to_its_end(admin: Caller) -> None:
    chunked = {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"}
    answer = _raw(admin, b'{"name": "chunked"}', **chunked)
    assert answer.status_code == 201, answer.content
    assert answer.json()["name"] == "chunked"
    problem(_raw(admin, b" " * (2**20 + 1), **chunked), 413, "payload_too_large")


def _raw(who: Caller, body: bytes, **environ: str) -> Any:
    """A POST whose length and body need not agree."""
    known = {"HTTP_AUTHORIZATION": f"Bearer {who.token}", "CONTENT_TYPE": "application/json"}
    sent: dict[str, Any] = {**known, "wsgi.input": io.BytesIO(body), **environ}
    return Client(raise_request_exception=False).generic("POST", "/v1/notes", **sent)


def test_a_wrong_field_is_named_by_pointer(admin: Caller) -> None:
    answer = admin("POST", "/v1/notes", {"name": 5, "id": 1})
    found = {(e["pointer"], e["code"]) for e in problem(answer, 422, "invalid")["errors"]}
    assert found == {("/name", "invalid"), ("/id", "unknown_field")}


# --- versions --------------------------------------------------------------------------------


def test_versions_travel_as_tags(admin: Caller) -> None:
    made = admin("POST", "/v1/notes", {"name": "n"}).json()
    address = f"/v1/notes/{made['id']}"
    answer = admin("GET", address)
    tag = answer["ETag"]
    unchanged = admin("GET", address, If_None_Match=tag)
    assert (unchanged.status_code, unchanged.content, unchanged["ETag"]) == (304, b"", tag)
    assert admin("PUT", address, answer.json(), If_Match=tag).status_code == 200
    problem(admin("PUT", address, {"name": "n"}, If_Match='"x"'), 412, "precondition_failed")
    answer = admin("PUT", address, {"name": "n", "id": 1})
    assert problem(answer, 422, "invalid")["errors"][0]["code"] == "read_only"


def test_only_what_is_accepted_is_sent(admin: Caller) -> None:
    answer = admin("GET", "/v1/notes", Accept="text/html")
    assert problem(answer, 406, "not_acceptable")["available"] == ["application/json"]
    assert admin("GET", "/v1/notes", Accept="text/html, */*;q=0.1").status_code == 200
