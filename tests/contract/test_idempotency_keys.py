"""The same key and the same request: one effect, one answer. On every route that creates."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction

from keeptrusts_runners import ids
from keeptrusts_runners.api import idempotency
from tests.contract.calls import call, problem, stored
from tests.contract.routes import TABLE, Objects, Route, by_name
from tests.people import Org

CREATES = [route for route in TABLE if route.creates]
# Their answers hold a credential, which is never stored: a repeat says what was made.
CREDENTIALS = {
    "POST /v1/service-accounts",
    "POST /v1/service-accounts/{service_account_id}/secrets",
}
each_creation = pytest.mark.parametrize("route", CREATES, ids=lambda route: route.name)


@pytest.fixture(scope="module")
def org() -> Org:
    made = Org()
    # Here before anything is counted.
    assert all((made.admin, made.operator, made.viewer, made.runner))
    return made


def key() -> str:
    return f"key-{ids.new().hex}"


@pytest.mark.proves("api.idempotency-key", "crash.retry-once")
@each_creation
def test_a_repeat_has_the_same_answer_and_no_second_effect(org: Org, route: Route) -> None:
    objects, name = route.prepare(org), key()
    first = call(org.admin.api, route, objects, Idempotency_Key=name)
    assert first.status_code == route.succeeds, first.content
    assert "Idempotent-Replayed" not in first
    before = stored(org)
    again = call(org.admin.api, route, objects, Idempotency_Key=name)
    if route.name in CREDENTIALS:
        assert problem(again, 409, "already_created")["id"] == first.json()["id"]
        assert first.json()["client_secret"] not in again.content.decode()
    else:
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again["Idempotent-Replayed"] == "true"
        assert again["Content-Type"] == first["Content-Type"]
        assert again.get("ETag") == first.get("ETag")
        assert again["X-Request-Id"] != first["X-Request-Id"]
    assert stored(org) == before


@each_creation
def test_without_a_key_or_with_another_it_is_another_request(org: Org, route: Route) -> None:
    if route.name.endswith(("/profiles", "/members", "/service-accounts", "/harnesses")):
        return  # Their names are unique: a second effect is refused anyway.
    objects = route.prepare(org)
    made = [
        call(org.admin.api, route, objects, **headers)
        for headers in ({}, {}, {"Idempotency_Key": key()}, {"Idempotency_Key": key()})
    ]
    assert [answer.status_code for answer in made] == [route.succeeds] * 4
    assert len({answer.content for answer in made}) == 4


@pytest.mark.proves("api.idempotency-key")
@each_creation
def test_the_same_key_for_another_request_is_refused(org: Org, route: Route) -> None:
    objects, name = route.prepare(org), key()
    assert call(org.admin.api, route, objects, Idempotency_Key=name).status_code == route.succeeds
    before = stored(org)
    elsewhere = route.prepare(org) if objects.path else None
    after = stored(org) if elsewhere else before
    changed = _changed(route, objects)
    refused = call(org.admin.api, *changed, Idempotency_Key=name)
    problem(refused, 422, "idempotency_key_reused")
    if elsewhere:
        elsewhere.body = objects.body
        problem(
            call(org.admin.api, route, elsewhere, Idempotency_Key=name),
            422, "idempotency_key_reused",
        )  # fmt: skip
    assert stored(org) == after


def _changed(route: Route, objects: Objects) -> tuple[Route, Objects]:
    """The same call with another content."""
    if route.raw is not None:
        from dataclasses import replace

        return replace(route, raw=b"other"), objects
    body: dict[str, Any] = dict(objects.body or {})
    more = {
        "harnesses": {"notes": "other"},
        "sessions": {"task_id": "other"},
        "profiles": {"description": "other"},
        "checkpoint": {"label": "other"},
        "events": {"message": "other"},
        "notes": {"message": "other"},
        "permissions": {"reason": "other"},
        "members": {"role": "auditor"},
        "service-accounts": {"role": "auditor"},
        "secrets": {"keep_old_seconds": 5},
        "retry": {"same_harness": True},
        "cancel": {"force": True},
    }
    return route, Objects(objects.org, objects.path, body | more[route.template.rpartition("/")[2]])


@each_creation
def test_while_one_is_in_flight_another_waits(org: Org, route: Route) -> None:
    objects, name = route.prepare(org), key()
    held, done = threading.Event(), threading.Event()
    path = route.template.removeprefix("/")
    for parameter, value in objects.path.items():
        path = path.replace(f"{{{parameter}}}", f"<{value.partition('_')[0]}:{parameter}>")
    attempt = idempotency.Attempt(org.admin.principal, f"{route.method} {path}"[:200], name)

    def hold() -> None:
        with transaction.atomic():
            attempt.begin()
            held.set()
            done.wait(10)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(10)
        before = stored(org)
        answer = call(org.admin.api, route, objects, Idempotency_Key=name)
        problem(answer, 409, "request_in_flight")
        assert int(answer["Retry-After"]) >= 1
        assert stored(org) == before
    finally:
        done.set()
        thread.join()
    assert call(org.admin.api, route, objects, Idempotency_Key=name).status_code == route.succeeds


@each_creation
def test_a_refused_request_leaves_its_key_free(org: Org, route: Route) -> None:
    objects, name = route.prepare(org), key()
    before = stored(org)
    for wrong in (b"[1", b'{"no_such_member": 1}'):
        if route.raw is None:
            answer = org.admin.api.request(
                "POST", route.address(objects), raw=wrong, Idempotency_Key=name
            )
            assert answer.status_code in (400, 422), answer.content
    problem(call(org.viewer.api, route, objects, Idempotency_Key=name), 403)
    assert stored(org) == before
    assert call(org.admin.api, route, objects, Idempotency_Key=name).status_code == route.succeeds


def test_keys_of_two_principals_and_of_two_routes_are_two_keys(org: Org) -> None:
    route, name = by_name("POST /v1/runners/sessions"), key()
    objects = route.prepare(org)
    first = call(org.admin.api, route, objects, Idempotency_Key=name)
    second = call(org.operator.api, route, objects, Idempotency_Key=name)
    assert first.json()["id"] != second.json()["id"]
    profile = org.admin.api.post(
        "/runners/profiles", {"name": name, "execution_target": "x"}, Idempotency_Key=name
    )
    assert profile.status_code == 201


@pytest.mark.parametrize("value", ["", " ", "a b", "x" * 256, "é", "a\tb"])
def test_a_key_that_cannot_be_is_refused(org: Org, value: str) -> None:
    route = by_name("POST /v1/runners/profiles")
    objects = route.prepare(org)
    before = stored(org)
    answer = call(org.admin.api, route, objects, Idempotency_Key=value)
    problem(answer, 400, "invalid_parameter")
    assert stored(org) == before


def test_a_document_is_the_same_however_it_is_spelt(org: Org) -> None:
    name = key()
    first = '{"name": NAME, "execution_target": "x", "labels": {"a": "1", "b": "2"}}'
    second = '{"labels":{"b":"2","a":"1"},\n"execution_target":"\\u0078","name":NAME}'
    answers = [
        org.admin.api.request("POST", "/runners/profiles", raw=raw, Idempotency_Key=name)
        for raw in (text.replace("NAME", f'"{name}"').encode() for text in (first, second))
    ]
    assert answers[0].status_code == 201, answers[0].content
    assert answers[0].content == answers[1].content


def test_lines_of_events_are_keyed_too(org: Org) -> None:
    route = by_name("POST /v1/runners/sessions/{session_id}/events")
    objects, name = route.prepare(org), key()
    headers = {"Content-Type": "application/x-ndjson", "Idempotency_Key": name}
    lines = b'{"kind": "log", "message": "a"}\n{"kind": "log", "message": "b"}\n'
    answers = [
        org.admin.api.request("POST", route.address(objects), raw=lines, **headers)
        for _ in range(2)
    ]
    assert answers[0].status_code == 200, answers[0].content
    assert answers[0].json()["accepted"] == 2
    assert answers[1].content == answers[0].content
    assert answers[1]["Idempotent-Replayed"] == "true"
    other = org.admin.api.request("POST", route.address(objects), raw=lines * 2, **headers)
    problem(other, 422, "idempotency_key_reused")
