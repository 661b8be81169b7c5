"""PUT takes an object as GET gave it; conditions guard every single object."""

from __future__ import annotations

from typing import Any

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.identity.scopes import Role
from tests import factories
from tests.contract.calls import call, content, problem
from tests.contract.routes import TABLE, Route
from tests.people import Org

FULL = {
    "description": "first\nsecond\tline",
    "execution_target": "runner",
    "labels": {"team": "blue"},
    "limits": {
        "max_concurrent_sessions": 3, "queue_target_seconds": 60, "max_artifact_bytes": 1000,
        "max_artifacts": 2, "max_stored_bytes": 2000,
    },
    "lease": {"ttl_seconds": 30, "heartbeat_interval_seconds": 7},
    "retry": {"max_attempts": 4, "backoff_seconds": 9},
    "grant_policy": [{"operation": "network.*", "approvals_required": 2, "single_use": True}],
    "retention_days": 30,
    "artifact_retention_days": 7,
}  # fmt: skip
DEFAULTS = {
    "limits": {
        "max_concurrent_sessions": None, "queue_target_seconds": 600,
        "max_artifact_bytes": 1 << 30, "max_artifacts": 500, "max_stored_bytes": None,
    },
    "lease": {"ttl_seconds": 60, "heartbeat_interval_seconds": 15},
    "retry": {"max_attempts": 1, "backoff_seconds": 5},
    "grant_policy": [],
    "retention_days": None,
    "artifact_retention_days": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture
def full(org: Org) -> dict[str, Any]:
    answer = org.admin.api.post("/runners/profiles", {"name": ids.new().hex, **FULL})
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def path_of(profile: dict[str, Any]) -> str:
    return f"/runners/profiles/{profile['id']}"


def test_everything_that_was_given_is_answered(full: dict[str, Any]) -> None:
    assert {name: full[name] for name in FULL} == FULL


def test_what_get_gave_is_accepted_and_changes_nothing(org: Org, full: dict[str, Any]) -> None:
    got = org.admin.api.get(path_of(full)).json()
    answer = org.admin.api.put(path_of(full), got)
    assert answer.status_code == 200, answer.content
    moving = ("version", "updated_at")
    assert {n: v for n, v in answer.json().items() if n not in moving} == {
        n: v for n, v in got.items() if n not in moving
    }
    # An operator may send an unchanged policy back, though only an admin may change it.
    assert org.operator.api.put(path_of(full), answer.json()).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "prof_00000000000000000000000000"),
        ("status", "archived"),
        ("status", None),
        ("version", 2),
        ("version", "1"),
        ("grant_policy_version", 7),
        ("created_at", "2020-01-01T00:00:00.000000Z"),
        ("updated_at", None),
    ],
)
def test_a_changed_read_only_member_is_refused(
    org: Org, full: dict[str, Any], name: str, value: Any
) -> None:
    refused = org.admin.api.put(path_of(full), {**full, "description": "other", name: value})
    (error,) = problem(refused, 422, "invalid")["errors"]
    assert (error["pointer"], error["code"]) == (f"/{name}", "read_only")
    assert org.admin.api.get(path_of(full)).json() == full


def test_left_out_groups_keep_their_value_and_the_rest_is_replaced(
    org: Org, full: dict[str, Any]
) -> None:
    answer = org.admin.api.put(
        path_of(full), {"name": full["name"], "execution_target": "other"}
    ).json()
    assert {name: answer[name] for name in DEFAULTS} == {name: full[name] for name in DEFAULTS}
    assert (answer["description"], answer["labels"]) == ("", {})
    assert answer["execution_target"] == "other"


@pytest.mark.parametrize("name", DEFAULTS)
def test_null_resets(org: Org, full: dict[str, Any], name: str) -> None:
    answer = org.admin.api.put(path_of(full), {**_writable(full), name: None})
    assert answer.status_code == 200, answer.content
    expected = {group: full[group] for group in DEFAULTS} | {name: DEFAULTS[name]}
    assert {group: answer.json()[group] for group in DEFAULTS} == expected


def test_null_resets_one_member_of_a_group_and_a_part_keeps_the_rest(
    org: Org, full: dict[str, Any]
) -> None:
    change = {"lease": {"ttl_seconds": None}, "retry": {"max_attempts": 2}, "limits": {}}
    answer = org.admin.api.put(path_of(full), {**_writable(full), **change}).json()
    assert answer["lease"] == {"ttl_seconds": 60, "heartbeat_interval_seconds": 7}
    assert answer["retry"] == {"max_attempts": 2, "backoff_seconds": 9}
    assert answer["limits"] == full["limits"]


def _writable(full: dict[str, Any]) -> dict[str, Any]:
    return {name: full[name] for name in ("name", *FULL)}


@pytest.mark.parametrize("missing", ["name", "execution_target"])
def test_required_members_stay_required(org: Org, full: dict[str, Any], missing: str) -> None:
    body = {name: value for name, value in full.items() if name != missing}
    (error,) = problem(org.admin.api.put(path_of(full), body), 422)["errors"]
    assert (error["pointer"], error["code"]) == (f"/{missing}", "required")


def test_only_admins_change_a_policy(org: Org, full: dict[str, Any]) -> None:
    rule = {"operation": "*", "auto": True}
    for value in ([], None, [rule], [*FULL["grant_policy"], rule]):  # type: ignore[misc]
        refused = org.operator.api.put(path_of(full), {**full, "grant_policy": value})
        assert problem(refused, 403, "missing_scope")["scope"] == "members:admin"
    refused = org.operator.api.post(
        "/runners/profiles", {"name": "x", "execution_target": "x", "grant_policy": [rule]}
    )
    problem(refused, 403, "missing_scope")
    changed = org.admin.api.put(path_of(full), {**_writable(full), "grant_policy": [rule]})
    assert changed.json()["grant_policy_version"] == full["grant_policy_version"] + 1


def test_a_lease_shorter_than_its_heartbeat_is_refused(org: Org, full: dict[str, Any]) -> None:
    for lease in (
        {"ttl_seconds": 7}, {"ttl_seconds": 10, "heartbeat_interval_seconds": 10},
        {"ttl_seconds": 5, "heartbeat_interval_seconds": None},
    ):  # fmt: skip
        refused = org.admin.api.put(path_of(full), {**_writable(full), "lease": lease})
        (error,) = problem(refused, 422, "invalid")["errors"]
        assert error["pointer"].startswith("/lease/")


def test_a_name_is_used_once_among_those_in_use(org: Org, full: dict[str, Any]) -> None:
    other = org.operator.api.post(
        "/runners/profiles", {"name": ids.new().hex, "execution_target": "x"}
    ).json()
    body = {"name": full["name"], "execution_target": "x"}
    problem(org.operator.api.post("/runners/profiles", body), 409, "already_exists")
    problem(org.operator.api.put(path_of(other), body), 409, "already_exists")
    assert org.operator.api.delete(path_of(full)).status_code == 204
    assert org.operator.api.put(path_of(other), body).status_code == 200
    problem(org.admin.api.put(path_of(full), full | {"name": "x"}), 422)
    archived = org.admin.api.get(path_of(full)).json()
    problem(org.admin.api.put(path_of(full), archived), 409, "profile_archived")
    assert org.operator.api.delete(path_of(full)).status_code == 204


# --- conditions ------------------------------------------------------------------------------

TAGGED = [route for route in TABLE if route.tagged]
READS = [route for route in TAGGED if route.method == "GET"]
WRITES = [route for route in TAGGED if route.method != "GET"]


def test_every_single_object_has_a_tag() -> None:
    """What is read by an id of its own, but for what grows while it is read."""
    single = {r.name for r in TABLE if r.method == "GET" and r.template.endswith("}")}
    assert single <= {route.name for route in READS}


@pytest.mark.parametrize("route", READS, ids=lambda route: route.name)
def test_an_unchanged_object_is_not_sent_again(org: Org, route: Route) -> None:
    objects = route.prepare(org)
    first = call(org.admin.api, route, objects)
    content(first)
    tag = first["ETag"]
    assert tag.startswith('"')
    assert tag.endswith('"')
    for sent in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        again = call(org.admin.api, route, objects, If_None_Match=sent)
        assert (again.status_code, content(again)) == (304, b""), sent
        assert again["ETag"] == tag
    for sent in ('"x"', 'W/"x"', f'"{tag[1:-1]}x"'):
        again = call(org.admin.api, route, objects, If_None_Match=sent)
        assert (again.status_code, again["ETag"]) == (200, tag), sent
        content(again)
    for sent in ("x", tag[1:-1], '"', "", '"a" "b"'):
        problem(call(org.admin.api, route, objects, If_None_Match=sent), 400, "malformed")


_READ_OF = {route.template: route for route in READS}


@pytest.mark.proves("api.etag")
@pytest.mark.parametrize("route", WRITES, ids=lambda route: route.name)
def test_a_write_against_another_version_changes_nothing(org: Org, route: Route) -> None:
    objects = route.prepare(org)
    read = _READ_OF[route.template]
    before = call(org.admin.api, read, objects)
    tag = before["ETag"]
    for sent in ('"x"', f"W/{tag}", f'"x", W/{tag}'):
        problem(call(org.admin.api, route, objects, If_Match=sent), 412, "precondition_failed")
    for sent in ("x", '"', ""):
        problem(call(org.admin.api, route, objects, If_Match=sent), 400, "malformed")
    after = call(org.admin.api, read, objects)
    assert (after.content, after["ETag"]) == (before.content, tag)
    assert call(org.admin.api, route, objects, If_Match=f'"x", {tag}').status_code == route.succeeds
    again = route.prepare(org)
    assert call(org.admin.api, route, again, If_Match="*").status_code == route.succeeds


def test_a_change_gives_another_tag_and_the_old_one_is_refused(org: Org) -> None:
    path = path_of(org.operator.api.post(
        "/runners/profiles", {"name": ids.new().hex, "execution_target": "x"}
    ).json())  # fmt: skip
    first = org.operator.api.get(path)["ETag"]
    body = {"name": ids.new().hex, "execution_target": "y"}
    changed = org.operator.api.put(path, body, If_Match=first)
    assert changed["ETag"] == org.operator.api.get(path)["ETag"] != first
    problem(org.operator.api.put(path, body, If_Match=first), 412)
    problem(org.operator.api.delete(path, If_Match=first), 412)


def test_heartbeats_and_progress_leave_the_tag_of_a_session(org: Org) -> None:
    session = factories.running(org)
    path = factories.path(session)
    runner = factories.session_api(org, session)
    tag = org.viewer.api.get(path)["ETag"]
    assert runner.post(f"{path}/heartbeat", {"progress": {"current": 1}}).status_code == 200
    assert runner.patch(path, {"progress": {"current": 2}}).status_code == 200
    assert runner.post(f"{path}/events", {"kind": "log"}).status_code == 201
    assert org.viewer.api.get(path)["ETag"] == tag
    assert org.operator.api.patch(path, {"metadata": {"a": 1}}, If_Match=tag).status_code == 200
    assert org.viewer.api.get(path)["ETag"] != tag


def test_two_organizations_never_share_a_tag(org: Org) -> None:
    tags = set()
    for each in (org, Org()):
        for role in (Role.VIEWER, Role.VIEWER):
            person = each.person(role)
            path = f"/members/{ids.encode('user', person.user.id)}"
            tags.add(each.admin.api.get(path)["ETag"])
    assert len(tags) == 4
