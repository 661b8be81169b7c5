"""Every column of every model, and more, sent to every write: only what is allowed changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.apps import apps
from django.db import models

from keeptrusts_runners.identity.models import User
from tests.contract.calls import PRODUCT_APPS, call, content, problem
from tests.contract.routes import TABLE, Route, by_name, routed
from tests.people import Org

WRITES = [
    route for route in TABLE if route.method in ("POST", "PUT", "PATCH") and route.raw is None
]
BESIDES = {
    "id", "organization", "organization_id", "state", "lease_epoch", "created_at", "hash", "seq",
    "is_staff", "is_superuser", "is_active", "role", "password", "scopes", "pk", "_state",
    "version", "status", "owner", "actor", "dispatched_by", "requested_by", "published_by",
    "session_token",
    "session_id", "grant_policy_version", "lease", "decisions", "approvals", "organization.id",
    "user__is_staff", "profile.status",
}  # fmt: skip
VALUE_OF = {
    models.BooleanField: True,
    models.IntegerField: 7,
    models.DateTimeField: "2030-01-01T00:00:00Z",
    models.JSONField: {"a": 1},
    models.UUIDField: "00000000-0000-0000-0000-000000000001",
    models.BinaryField: "AAAA",
}


# They name the first thing that is wrong.
ONE_AT_A_TIME = {
    "PUT /v1/runners/profiles/{profile_id}",
    "POST /v1/runners/sessions/{session_id}/events",
}


def _columns() -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(sorted(BESIDES), "x")
    for label in PRODUCT_APPS:
        for model in apps.get_app_config(label).get_models():
            for column in model._meta.concrete_fields:
                value = next((v for k, v in VALUE_OF.items() if isinstance(column, k)), "x")
                found[column.name] = found[column.attname] = value
    return found


COLUMNS = _columns()


@pytest.fixture(scope="module")
def org() -> Org:
    made = Org()
    assert all((made.admin, made.operator, made.approver, made.runner, made.viewer))
    return made


def _accepted(route: Route) -> set[str]:
    """The members that the route takes, by the shape it declares."""
    callback = routed()[route.template]
    shape = callback.cls.inputs.get(callback.actions[route.method.lower()])
    return set(shape().fields) if shape else set()


def _rows(org: Org) -> dict[str, list[Any]]:
    """Every row of the organization, whole."""
    with org.scope():
        rows = {
            model._meta.db_table: list(model._default_manager.order_by("pk").values())
            for label in PRODUCT_APPS
            for model in apps.get_app_config(label).get_models()
            if model is not User
        }
        members = User.objects.filter(memberships__isnull=False).order_by("pk")
        return rows | {User._meta.db_table: list(members.values())}


@pytest.mark.proves("access.mass-assignment")
@pytest.mark.parametrize("route", WRITES, ids=lambda route: route.name)
def test_a_column_that_is_no_member_is_refused_by_name(route: Route, org: Org) -> None:
    objects = route.prepare(org)
    before = _rows(org)
    meant = {"lease_epoch", "events"} if route.name.endswith("/events") else set()
    names = sorted(COLUMNS.keys() - _accepted(route) - meant)
    # A few together: each is named, and none is taken because another was refused.
    requests = len(names) if route.name in ONE_AT_A_TIME else len(names) // 8
    for some in (names[start::requests] for start in range(requests)):
        body = {**(objects.body or {}), **{name: COLUMNS[name] for name in some}}
        answer = org.admin.api.request(
            route.method, route.address(objects), raw=json.dumps(body).encode()
        )
        errors = problem(answer, 422, "invalid")["errors"]
        assert sorted(error["pointer"] for error in errors) == [f"/{name}" for name in some]
        assert {error["code"] for error in errors} <= {"unknown_field", "read_only"}
    assert _rows(org) == before


@pytest.mark.parametrize("route", WRITES, ids=lambda route: route.name)
def test_all_of_them_at_once_are_refused_and_nothing_changes(route: Route, org: Org) -> None:
    objects = route.prepare(org)
    before = _rows(org)
    answer = org.admin.api.request(
        route.method,
        route.address(objects),
        raw=json.dumps({**COLUMNS, **(objects.body or {})}).encode(),
    )
    problem(answer, 422, "invalid")
    assert _rows(org) == before


def test_columns_in_the_query_or_in_a_form_change_nothing(org: Org) -> None:
    route = by_name("PATCH /v1/runners/sessions/{session_id}")
    objects = route.prepare(org)
    before = _rows(org)
    for name in ("state", "organization_id", "lease_epoch", "is_staff"):
        answer = org.admin.api.patch(f"{route.address(objects)}?{name}=1", {})
        problem(answer, 400, "unknown_parameter")
    answer = org.admin.api.request(
        "PATCH",
        route.address(objects),
        raw=b"state=completed",
        **{"Content-Type": "application/x-www-form-urlencoded"},
    )
    problem(answer, 415)
    assert _rows(org) == before


# --- what a good write changes, and nothing else ---------------------------------------------

# The columns of rows that were there before, which a good call may change.
MAY_CHANGE = {
    "PUT /v1/runners/profiles/{profile_id}": {
        "runner_profile": {"name", "description", "execution_target", "labels", "version",
                           "updated_at"},
    },
    "DELETE /v1/runners/profiles/{profile_id}": {
        "runner_profile": {"status", "version", "updated_at"},
    },
    "PATCH /v1/runners/sessions/{session_id}": {"runner_session": {"progress", "progress_at"}},
    "POST /v1/runners/sessions/{session_id}/heartbeat": {
        "runner_session": {"heartbeat_at", "lease_expires_at"},
    },
    "PATCH /v1/members/{user_id}": {"identity_membership": {"role"}},
    "DELETE /v1/service-accounts/{service_account_id}": {
        "identity_service_account": {"revoked_at"},
    },
    "POST /v1/runners/profiles/{profile_id}/harnesses": {},
    "POST /v1/runners/sessions": {},
    "POST /v1/service-accounts/{service_account_id}/secrets": {
        "identity_service_account_secret": {"expires_at"},
    },
    "POST /v1/runners/sessions/{session_id}/events": {
        "runner_ledger_head": {"seq", "hash", "events", "buckets"},
    },
    "POST /v1/runners/sessions/{session_id}/permissions/{grant_id}/use": {
        "runner_grant": {"uses"},
        "runner_ledger_head": {"seq", "hash", "events", "buckets"},
    },
    "POST /v1/runners/sessions/{session_id}/permissions/{grant_id}/renew": {
        "runner_grant": {"expires_at", "version"},
        "runner_ledger_head": {"seq", "hash", "events", "buckets"},
    },
    "POST /v1/runners/sessions/{session_id}/permissions/{grant_id}/token": {
        "runner_ledger_head": {"seq", "hash", "events", "buckets"},
    },
    "POST /v1/runners/permissions/introspect": {},
    "DELETE /v1/runners/sessions/{session_id}/permissions/{grant_id}": {
        "runner_grant": {"state", "end_reason", "ended_at", "ended_by", "version"},
        "runner_ledger_head": {"seq", "hash", "events", "warnings", "buckets"},
    },
}  # fmt: skip


@pytest.mark.proves("access.mass-assignment")
@pytest.mark.parametrize("name", MAY_CHANGE)
def test_a_good_write_changes_its_columns_alone(name: str) -> None:
    org = Org()
    route = by_name(name)
    route.prepare(org)  # Somebody else's, which stays as it is.
    objects = route.prepare(org)
    assert all((org.admin, org.operator))
    before = _rows(org)
    answer = call(org.admin.api, route, objects)
    assert answer.status_code == route.succeeds, content(answer)
    after = _rows(org)
    changed: dict[str, set[str]] = {}
    for table, rows in before.items():
        there = {_primary(table, row): row for row in after[table]}
        for row in rows:
            now = there.get(_primary(table, row))
            assert now is not None or route.method == "DELETE", table
            columns = {c for c, value in row.items() if now is not None and now[c] != value}
            if columns:
                changed.setdefault(table, set()).update(columns)
    allowed = MAY_CHANGE[name]
    assert changed.keys() <= allowed.keys(), changed
    for table, columns in changed.items():
        assert columns <= allowed[table], (table, columns - allowed[table])


def _primary(table: str, row: dict[str, Any]) -> Any:
    return row.get("id") or row.get("session_id")


def test_nothing_of_one_organization_changes_through_another(org: Org) -> None:
    outsider = Org()
    prepared = [(route, route.prepare(org)) for route in TABLE]
    before = _rows(org)
    for route, objects in prepared:
        if route.outsider == 404:
            problem(call(outsider.admin.api, route, objects), 404)
    assert _rows(org) == before
