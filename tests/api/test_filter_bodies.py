"""The filters of a list as an object in a body: the same members, the same rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.api import filter_bodies, filters
from keeptrusts_runners.api.models import IdempotencyKey
from keeptrusts_runners.errors import Invalid
from keeptrusts_runners.identity.models import ServiceAccountSecret
from keeptrusts_runners.identity.scopes import Role
from keeptrusts_runners.identity.tenancy import organization_scope
from tests.api.conftest import Caller
from tests.api.routes import NoteFilter
from tests.people import Org

NOBODY = UUID("01908f3c-0000-7000-8000-000000000001")
NOW = datetime(2026, 5, 1, tzinfo=UTC)


class SecretFilter(filters.StrictFilterSet):
    """One that refers to another object of the organization."""

    service_account_id = filters.TypeIDFilter("sa")
    until = filters.InstantFilter(field_name="expires_at", lookup_expr="lt")
    hint = filters.WordFilter(["aaaa", "bbbb"])
    anything = filters.TextFilter(method="any")

    class Meta:
        model = ServiceAccountSecret
        fields: ClassVar[list[str]] = []


def read(shape: type[filter_bodies.FilterIn], document: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as refused:
        shape.read(document)
    return [(error.pointer, error.code) for error in refused.value.errors]


def test_the_members_are_the_parameters() -> None:
    for filter_set in (NoteFilter, SecretFilter):
        shape = filter_bodies.shape_of(filter_set)
        assert shape().fields.keys() == filter_set.base_filters.keys()


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"status": ["200"]}, ["a", "b"]),
        ({"status": ["201", "200"]}, ["a", "b"]),
        ({"status": ["201"]}, []),
        ({"name": "a"}, ["a"]),
        ({"label": {"team": "blue"}}, ["a"]),
        ({"label": {"team": "blue", "tier": "2"}}, []),
        ({"created_after": "2999-01-01T00:00:00Z"}, []),
        ({"min_status": 200}, ["a", "b"]),
        ({"min_status": 201}, []),
        ({"owner_id": ids.encode("user", NOBODY)}, []),
        ({"status": ["200"], "name": "b"}, ["b"]),
    ],
)
def test_they_find_what_the_list_finds(admin: Caller, document: Any, found: list[str]) -> None:
    admin("POST", "/v1/notes", {"name": "a", "labels": {"team": "blue", "tier": "1"}})
    admin("POST", "/v1/notes", {"name": "b", "labels": {"team": "red"}})
    values = filter_bodies.shape_of(NoteFilter).read(document)
    with organization_scope(admin.organization_id):
        notes = IdempotencyKey.objects.filter(principal="test").order_by("key")
        rows = filter_bodies.narrow(NoteFilter, values, notes)
        assert [row.key for row in rows] == found


def test_what_says_nothing_is_refused() -> None:
    shape = filter_bodies.shape_of(NoteFilter)
    assert read(shape, {}) == [("", "empty")]
    assert read(shape, {"status": [], "label": {}}) == [("/status", "empty"), ("/label", "empty")]
    assert read(shape, {"name": ""}) == [("/name", "blank")]
    assert read(shape, {"nonsense": 1}) == [("/nonsense", "unknown_field")]
    # Nought is a number like any other.
    assert shape.read({"min_status": 0}) == {"min_status": 0}


def test_what_is_not_there_or_yet_to_come_is_named() -> None:
    org, other = Org(), Org()
    own, theirs = (each.machine(Role.VIEWER).account.id for each in (org, other))
    later = datetime(2026, 5, 2, tzinfo=UTC)

    def refused(**values: Any) -> list[tuple[str, str]]:
        with org.scope():
            try:
                filter_bodies.require_sense(SecretFilter, values, organization_id=org.id, now=NOW)
            except Invalid as error:
                return [(each.pointer, each.code) for each in error.errors]
        return []

    assert refused(service_account_id=own, until=NOW, hint="aaaa", anything="x") == []
    unknown = [("/filter/service_account_id", "unknown_reference")]
    assert refused(service_account_id=theirs) == refused(service_account_id=NOBODY) == unknown
    assert refused(until=later) == [("/filter/until", "in_the_future")]


def test_a_filter_without_a_form_in_bodies_is_noticed_at_once() -> None:
    class Odd(filters.StrictFilterSet):
        odd = filters._Filter()

        class Meta:
            model = IdempotencyKey
            fields: ClassVar[list[str]] = []

    with pytest.raises(NotImplementedError, match="_Filter"):
        filter_bodies.shape_of(Odd)
