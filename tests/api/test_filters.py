"""Query parameters: what narrows a list, and what is refused by name."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.test import RequestFactory

from keeptrusts_runners import ids
from keeptrusts_runners.api.models import IdempotencyKey
from tests.api.conftest import Caller
from tests.api.routes import NoteFilter
from tests.api.test_views import problem

# Fixed: workers must name the same tests.
NOBODY = UUID("01908f3c-0000-7000-8000-000000000001")


@pytest.fixture
def two_notes(admin: Caller) -> Caller:
    admin("POST", "/v1/notes", {"name": "a", "labels": {"team": "blue", "tier": "1"}})
    admin("POST", "/v1/notes", {"name": "b", "labels": {"team": "red:ish"}})
    return admin


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["b", "a"]),
        ("status=200", ["b", "a"]),
        ("status=201,200", ["b", "a"]),
        ("status=201", []),
        ("name=a", ["a"]),
        ("name=%20a", []),
        ("name=%27%3B--", []),
        ("label=team:blue", ["a"]),
        ("label=team:blue&label=tier:1", ["a"]),
        ("label=team:blue&label=tier:2", []),
        ("label=team:red:ish", ["b"]),
        ("label=team:", []),
        ("created_after=2026-01-01T00:00:00%2B02:00", ["b", "a"]),
        ("created_after=2999-01-01T00:00:00Z", []),
        ("min_status=201", []),
        ("min_status=0&limit=1", ["b"]),
        (f"owner_id={ids.encode('user', NOBODY)}", []),
    ],
)
def test_parameters_narrow_the_list(two_notes: Caller, query: str, found: list[str]) -> None:
    answer = two_notes("GET", f"/v1/notes?{query}")
    assert answer.status_code == 200, answer.content
    assert [item["name"] for item in answer.json()["items"]] == found


@pytest.mark.parametrize(
    ("query", "code", "parameter"),
    [
        ("nonsense=1", "unknown_parameter", "nonsense"),
        ("Status=200", "unknown_parameter", "Status"),
        ("format=json", "unknown_parameter", "format"),
        ("status=200&status=201", "unknown_parameter", "status"),
        ("limit=1&limit=2", "unknown_parameter", "limit"),
        ("cursor=&cursor=", "unknown_parameter", "cursor"),
        ("%00=1", "unknown_parameter", "\x00"),
        ("status=", "invalid_parameter", "status"),
        ("status=blue", "invalid_parameter", "status"),
        ("status=200,", "invalid_parameter", "status"),
        ("status=200%00", "invalid_parameter", "status"),
        ("name=%00", "invalid_parameter", "name"),
        ("name=a%0d%0ab", "invalid_parameter", "name"),
        ("name=" + "n" * 21, "invalid_parameter", "name"),
        ("name=" + "n" * 3000, "invalid_parameter", "name"),
        ("owner_id=user_1", "invalid_parameter", "owner_id"),
        ("owner_id=" + ids.encode("sess", NOBODY), "invalid_parameter", "owner_id"),
        ("created_after=yesterday", "invalid_parameter", "created_after"),
        ("created_after=2026-01-01T00:00:00", "invalid_parameter", "created_after"),
        ("created_after=2026-01-01T00:00:00+02:00", "invalid_parameter", "created_after"),
        ("min_status=1000", "invalid_parameter", "min_status"),
        ("min_status=1" + "0" * 30, "invalid_parameter", "min_status"),
        ("min_status=0x10", "invalid_parameter", "min_status"),
        ("label=team", "invalid_parameter", "label"),
        ("label=:blue", "invalid_parameter", "label"),
        ("label=team:blue&label=team:red", "invalid_parameter", "label"),
        ("limit=1000000000000000000000000000000", "invalid_parameter", "limit"),
        ("cursor=nonsense", "invalid_cursor", None),
    ],
)
def test_what_no_parameter_can_be_is_refused(
    two_notes: Caller, query: str, code: str, parameter: str | None
) -> None:
    document = problem(two_notes("GET", f"/v1/notes?{query}"), 400, code)
    if code == "unknown_parameter":
        assert document["parameter"] == parameter
    elif parameter:
        assert [error["pointer"] for error in document["errors"]] == [parameter]


def test_writes_take_no_query(admin: Caller) -> None:
    answer = admin("POST", "/v1/notes?name=n", {"name": "n"})
    assert problem(answer, 400, "unknown_parameter")["parameter"] == "name"


def test_without_parameters_no_form_is_built() -> None:
    queryset = IdempotencyKey.objects.all()
    assert NoteFilter.apply(RequestFactory().get("/?limit=5"), queryset) is queryset
