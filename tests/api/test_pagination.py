"""Pages: nothing twice, nothing left out, whatever the order and however equal the rows are."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from keeptrusts_runners.api.models import IdempotencyKey
from keeptrusts_runners.api.pagination import page
from keeptrusts_runners.errors import InvalidCursor, InvalidParameter
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.tenancy import organization_scope
from tests.api.conftest import Caller
from tests.api.test_views import problem

START = datetime(2026, 5, 1, tzinfo=UTC)
ORDERS = [
    ("-id",),
    ("id",),
    ("-created_at", "-id"),
    ("-status", "created_at", "id"),
    ("status", "-key", "-id"),
    ("key", "-status", "created_at", "-id"),
]


def request(**query: Any) -> Any:
    return RequestFactory().get("/v1/notes", query)


def fill(organization_id: UUID, rows: list[tuple[int, int, int]], principal: str = "early") -> None:
    IdempotencyKey.objects.bulk_create(
        IdempotencyKey(
            organization_id=organization_id,
            principal=f"{principal}{number}",
            route="note",
            key=f"k{key}",
            body_digest=b"",
            body=b"",
            status=200 + status,
            created_at=START + timedelta(microseconds=age),
        )
        for number, (status, age, key) in enumerate(rows)
    )


def walk(queryset: Any, order: tuple[str, ...], limit: int) -> list[int]:
    found: list[int] = []
    cursor: dict[str, Any] = {}
    while True:
        rows, following = page(queryset, request(limit=limit, **cursor), order=order)
        assert len(rows) <= limit
        found += [row.id for row in rows]
        if following is None:
            return found
        assert len(rows) == limit
        cursor = {"cursor": following}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 2)), max_size=25),
    st.sampled_from(ORDERS),
    st.integers(1, 7),
)
def test_the_pages_are_the_whole_list_in_order(
    rows: list[tuple[int, int, int]], order: tuple[str, ...], limit: int
) -> None:
    organization = accounts.create_organization("Pages")
    with organization_scope(organization.id):
        fill(organization.id, rows)
        queryset = IdempotencyKey.objects.filter(route="note")
        expected = list(queryset.order_by(*order).values_list("id", flat=True))
        assert walk(queryset, order, limit) == expected


def test_rows_that_come_and_go_between_pages_disturb_no_others(organization_id: UUID) -> None:
    with organization_scope(organization_id):
        fill(organization_id, [(0, 0, 0)] * 30)
        queryset = IdempotencyKey.objects.filter(route="note")
        before = list(queryset.order_by("-id").values_list("id", flat=True))
        _, cursor = page(queryset, request(limit=10))
        queryset.filter(id__in=before[5:15]).delete()
        fill(organization_id, [(1, 1, 1)] * 5, principal="late")
        rest, _ = page(queryset, request(limit=200, cursor=cursor))
        assert [row.id for row in rest] == before[15:]


@pytest.mark.proves("api.pages")
def test_no_page_counts_or_skips(organization_id: UUID) -> None:
    with organization_scope(organization_id):
        fill(organization_id, [(n % 2, n // 7, n) for n in range(40)])
        queryset = IdempotencyKey.objects.filter(route="note")
        order = ("-status", "created_at", "id")
        _, cursor = page(queryset, request(limit=5), order=order)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page(queryset, request(limit=5, cursor=cursor), order=order)
    for query in queries.captured_queries:
        assert "OFFSET" not in query["sql"]
        assert "COUNT" not in query["sql"]
        assert "LIMIT" in query["sql"]


@pytest.mark.parametrize(
    "limit",
    ["0", "201", "-1", "1.5", "1e1", "ten", "", " 1", "+1", "１", "10" * 15, "0" * 5000 + "1"],
)
def test_a_bad_limit_is_refused(limit: str) -> None:
    with pytest.raises(InvalidParameter):
        page(IdempotencyKey.objects.none(), request(limit=limit))


def test_a_cursor_leads_nowhere_else(admin: Caller, outsider: Caller) -> None:
    for name in "abc":
        admin("POST", "/v1/notes", {"name": name})
    cursor = admin("GET", "/v1/notes?limit=1").json()["next_cursor"]
    assert [n["name"] for n in admin("GET", f"/v1/notes?cursor={cursor}").json()["items"]] == [
        "b",
        "a",
    ]
    problem(admin("GET", f"/v1/notes?cursor={cursor}&order=id"), 400, "invalid_cursor")
    problem(outsider("GET", f"/v1/notes?cursor={cursor}"), 400, "invalid_cursor")


def test_a_forged_cursor_is_refused(organization_id: UUID) -> None:
    with organization_scope(organization_id):
        fill(organization_id, [(0, 0, 0)] * 3)
        queryset = IdempotencyKey.objects.filter(route="note")
        _, cursor = page(queryset, request(limit=1))
        assert cursor
        chance = random.Random(1)
        forged = ["", "x", "=", "é", "a" * 2000, cursor[:-1], cursor + "A", cursor + "="]
        for position in range(len(cursor)):
            others = [c for c in "AZaz09-_" if c != cursor[position]]
            forged.append(cursor[:position] + chance.choice(others) + cursor[position + 1 :])
        for each in forged:
            with pytest.raises(InvalidCursor):
                page(queryset, request(cursor=each))
