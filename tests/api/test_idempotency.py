"""Idempotency-Key: one effect, one answer, and who may not share them."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection

from keeptrusts_runners.api import idempotency
from keeptrusts_runners.api.models import IdempotencyKey
from keeptrusts_runners.identity.scopes import Role
from keeptrusts_runners.identity.tenancy import organization_scope
from tests.api.conftest import Caller, caller
from tests.api.test_views import notes, problem


def test_a_repeat_has_the_same_answer_and_no_second_effect(admin: Caller) -> None:
    first = admin("POST", "/v1/notes", {"name": "n", "labels": {"a": "b"}}, Idempotency_Key="k1")
    assert first.status_code == 201
    assert "Idempotent-Replayed" not in first
    repeat = admin("POST", "/v1/notes", b' {"labels":{"a":"b"},"name":"n"}', Idempotency_Key="k1")
    assert repeat.status_code == 201
    assert repeat.content == first.content
    assert repeat["Location"] == first["Location"]
    assert repeat["Content-Type"] == "application/json"
    assert repeat["Idempotent-Replayed"] == "true"
    assert repeat["X-Request-Id"] != first["X-Request-Id"]
    assert notes(admin) == 1


def test_another_body_under_the_same_key_is_refused(admin: Caller) -> None:
    admin("POST", "/v1/notes", {"name": "n"}, Idempotency_Key="k1")
    answer = admin("POST", "/v1/notes", {"name": "m"}, Idempotency_Key="k1")
    problem(answer, 422, "idempotency_key_reused")
    assert notes(admin) == 1


def test_keys_belong_to_one_principal_and_one_route(admin: Caller, outsider: Caller) -> None:
    colleague = caller(admin.organization_id, Role.OPERATOR)
    assert admin("POST", "/v1/notes", {"name": "a"}, Idempotency_Key="k").status_code == 201
    for other, name in ((colleague, "b"), (outsider, "c")):
        answer = other("POST", "/v1/notes", {"name": name}, Idempotency_Key="k")
        assert answer.status_code == 201
        assert "Idempotent-Replayed" not in answer
    answer = admin("POST", "/v1/notes/credentials", {"name": "d"}, Idempotency_Key="k")
    assert answer.status_code == 201


def test_a_refusal_is_not_kept(admin: Caller) -> None:
    problem(admin("POST", "/v1/notes", {"name": ""}, Idempotency_Key="k"), 422, "invalid")
    assert admin("POST", "/v1/notes", {"name": "n"}, Idempotency_Key="k").status_code == 201


def test_credentials_are_never_kept(admin: Caller) -> None:
    first = admin("POST", "/v1/notes/credentials", {"name": "n"}, Idempotency_Key="k")
    assert first.json()["secret"]
    repeat = admin("POST", "/v1/notes/credentials", {"name": "n"}, Idempotency_Key="k")
    assert problem(repeat, 409, "already_created")["id"] == first.json()["id"]
    answer = admin("POST", "/v1/notes/credentials", {"name": "m"}, Idempotency_Key="k")
    problem(answer, 422, "idempotency_key_reused")
    with organization_scope(admin.organization_id):
        bodies = [bytes(row.body) for row in IdempotencyKey.objects.exclude(route="note")]
    assert b"s3cret" not in b"".join(bodies)


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "é", "\t"])
def test_a_key_is_a_printable_word(admin: Caller, key: str) -> None:
    problem(
        admin("POST", "/v1/notes", {"name": "n"}, Idempotency_Key=key), 400, "invalid_parameter"
    )
    assert notes(admin) == 0


def test_a_key_still_at_work_is_a_conflict_that_passes(admin: Caller) -> None:
    """The key's lock is held by another transaction for as long as its effect is undecided."""
    attempt = idempotency.Attempt(_principal(admin), "POST v1/notes", "k")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with organization_scope(admin.organization_id):
            attempt.begin()
            held.set()
            done.wait(10)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(10)
        answer = admin("POST", "/v1/notes", {"name": "n"}, Idempotency_Key="k")
        problem(answer, 409, "request_in_flight")
        assert answer["Retry-After"] == "1"
        assert notes(admin) == 0
    finally:
        done.set()
        holder.join()
    assert admin("POST", "/v1/notes", {"name": "n"}, Idempotency_Key="k").status_code == 201


@pytest.mark.proves("api.idempotency-key")
def test_sixteen_at_once_have_one_effect(admin: Caller) -> None:
    def send(_: int) -> tuple[int, str]:
        answer = admin("POST", "/v1/notes", {"name": "n"}, Idempotency_Key="k")
        connection.close()
        return answer.status_code, json.loads(answer.content).get("code", "")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))
    assert (201, "") in answers
    assert set(answers) <= {(201, ""), (409, "request_in_flight")}
    assert notes(admin) == 1


def test_a_day_later_the_key_is_free(admin: Caller) -> None:
    admin("POST", "/v1/notes", {"name": "n"}, Idempotency_Key="k")
    _age(admin, timedelta(hours=23, minutes=59))
    repeat = admin("POST", "/v1/notes", {"name": "n"}, Idempotency_Key="k")
    assert repeat["Idempotent-Replayed"] == "true"
    _age(admin, timedelta(minutes=2))
    again = admin("POST", "/v1/notes", {"name": "m"}, Idempotency_Key="k")
    assert again.status_code == 201
    assert "Idempotent-Replayed" not in again


def test_old_keys_are_cleaned_up_and_others_stay(admin: Caller) -> None:
    admin("POST", "/v1/notes/credentials", {"name": "n"}, Idempotency_Key="old")
    _age(admin, timedelta(hours=25))
    admin("POST", "/v1/notes/credentials", {"name": "m"}, Idempotency_Key="new")
    assert idempotency.clean_up() >= 1
    with organization_scope(admin.organization_id):
        left = set(IdempotencyKey.objects.exclude(route="note").values_list("key", flat=True))
    assert left == {"new"}


def test_nobody_sees_another_organizations_keys(admin: Caller, outsider: Caller) -> None:
    admin("POST", "/v1/notes", {"name": "n"}, Idempotency_Key="k")
    with organization_scope(outsider.organization_id):
        assert IdempotencyKey.objects.count() == 0
    assert IdempotencyKey.objects.count() == 0


def _principal(who: Caller):  # type: ignore[no-untyped-def]
    from keeptrusts_runners.identity import tokens

    return tokens.authenticate(who.token)


def _age(who: Caller, by: timedelta) -> None:
    """Only the owner may change a row that is kept."""
    from django.db import connections

    with connections["migrate"].cursor() as cursor:
        cursor.execute(
            "UPDATE api_idempotency_key SET created_at = created_at - %s"
            " WHERE organization_id = %s",
            [by, who.organization_id],
        )
