"""Request ids, slashes, and problem documents from below the views."""

from __future__ import annotations

import pytest
import structlog
from django.test import Client, override_settings

from keeptrusts_runners.api.middleware import accept_traceparent
from tests.api.conftest import Caller, call
from tests.api.test_views import problem

pytestmark = pytest.mark.usefixtures("routes")


@pytest.mark.parametrize("sent", ["abc", "A-1.b_2", "x" * 128])
def test_a_request_id_is_kept(sent: str) -> None:
    assert call("GET", "/v1/plain", **{"X-Request-Id": sent})["X-Request-Id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a,b", "é", "<script>", "a;b"])
def test_any_other_is_replaced(sent: str) -> None:
    given = call("GET", "/v1/plain", **{"X-Request-Id": sent})["X-Request-Id"]
    assert given != sent
    assert len(given) == 32


def test_the_request_id_does_not_leak_into_the_next_log_line() -> None:
    call("GET", "/v1/plain", **{"X-Request-Id": "mine"})
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", False),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", False),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", False),
        ("nonsense", False),
        (None, False),
    ],
)
def test_only_a_valid_trace_is_carried_on(sent: str | None, kept: bool) -> None:
    assert accept_traceparent(sent) == (sent if kept else None)


def test_an_answer_without_content_has_no_type_and_no_length() -> None:
    answer = call("OPTIONS", "/v1/notes")
    assert answer.status_code == 204
    assert not {"Content-Type", "Content-Length"} & {*answer.headers}


def test_one_slash_too_many_leads_back() -> None:
    answer = call("POST", "/v1/notes/?limit=5&cursor=%C3%A9")
    assert answer.status_code == 308
    assert answer["Location"] == "/v1/notes?limit=5&cursor=%C3%A9"
    assert call("GET", "/v1/notes///")["Location"] == "/v1/notes"


@pytest.mark.parametrize(
    "path", ["/v1/nowhere/", "/v1/", "/v1//", "/v1/nowhere", "/v1//notes", "/v1/notes%0d%0a/x"]
)
def test_an_unknown_address_is_a_problem(path: str) -> None:
    problem(call("GET", path), 404, "not_found")


def test_a_slash_redirect_never_leaves_the_server() -> None:
    for path in ("//evil.example/", "/v1/..//evil.example/", "/v1/%2F%2Fevil.example/"):
        assert "Location" not in call("GET", path)


def test_plain_views_raise_the_same_problems() -> None:
    assert problem(call("GET", "/v1/plain?domain"), 429, "too_many_requests")
    assert call("GET", "/v1/plain?domain")["Retry-After"] == "7"
    answer = call("GET", "/v1/plain?bug")
    problem(answer, 500, "internal_error")
    assert "secret" not in answer.content.decode()


@pytest.mark.parametrize("debug", [True, False])
def test_debug_pages_stay_out_of_the_api(debug: bool) -> None:
    with override_settings(DEBUG=debug):
        problem(call("GET", "/v1/nowhere"), 404, "not_found")
        problem(call("GET", "/v1/plain?bug"), 500, "internal_error")


def test_another_host_is_refused_with_a_problem() -> None:
    client = Client(raise_request_exception=False, headers={"Host": "evil.example"})
    assert "name" in problem(client.get("/v1/plain"), 400, "malformed")["detail"]


def test_answers_are_inert_and_not_cached(admin: Caller) -> None:
    for answer in (admin("GET", "/v1/notes"), call("GET", "/v1/notes"), call("GET", "/v1/no")):
        assert answer["Cache-Control"] == "no-store"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "Set-Cookie" not in answer
