"""Revoking many grants at once: exactly those that are meant, on record of each session."""

from __future__ import annotations

from typing import Any

import pytest

from grants import revocations
from keeptrusts_runners import ids
from keeptrusts_runners.identity.scopes import Role
from tests import factories
from tests.grants.asking import asked, renew, requested, shown, under, use
from tests.people import Api, Org
from tests.races.threads import at_once
from tests.sessions import records

PATH = "/runners/permissions/revoke"


@pytest.fixture
def org() -> Org:
    org = Org()
    assert all((org.operator.principal, org.approver.principal, org.runner.principal))
    return org


def revoke(api: Api, **which: Any) -> Any:
    return api.post(PATH, {"reason": "it leaks"} | which)


def revoked(org: Org, **which: Any) -> list[str]:
    answer = revoke(org.operator.api, **which)
    assert answer.status_code == 200, answer.content
    assert all(item["state"] == "revoked" for item in answer.json()["items"])
    return sorted(item["id"] for item in answer.json()["items"])


@pytest.mark.proves("grant.mass-revocation")
@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", ["a.b", "a.b:c", "a.bc", "b"]),
        ("a.*", ["a.b", "a.b:c", "a.bc"]),
        ("a.b*", ["a.b", "a.b:c", "a.bc"]),
        ("a.b", ["a.b"]),
        ("a.b:*", ["a.b:c"]),
        ("A.*", []),
        ("a", []),
        ("%", []),
        ("_.b", []),
    ],
)
def test_an_operation_is_a_name_or_a_prefix(org: Org, pattern: str, found: list[str]) -> None:
    session = under(org)
    made = {
        operation: asked(org.operator.api, session, operation=operation)["id"]
        for operation in ("a.b", "a.b:c", "a.bc", "b")
    }
    assert revoked(org, operation=pattern) == sorted(made[operation] for operation in found)


@pytest.mark.proves("grant.mass-revocation")
def test_open_grants_and_requests_end_and_nothing_else_does(org: Org) -> None:
    session, waiting = under(org), factories.pending(org)
    active, request = asked(org.operator.api, session), requested(org, session)
    approved = asked(org.operator.api, waiting)
    over = asked(org.operator.api, session)
    org.operator.api.delete(f"/runners/sessions/{over['session_id']}/permissions/{over['id']}")
    before = shown(org, over)
    ended = revoked(org, operation="*")
    assert ended == sorted(grant["id"] for grant in (active, request, approved))
    assert shown(org, over) == before
    assert use(factories.session_api(org, session), active)["allowed"] is False
    told = records.last(org, waiting, "grant.revoked")
    assert (told.actor, told.data["reason"]) == (org.operator.principal.actor, "it leaks")
    assert records.kinds(org, session).count("grant.revoked") == 3
    for each in (session, waiting):
        records.assert_sound(org, each)
    assert revoked(org, operation="*") == []


def test_by_profile_by_executor_and_by_all_that_is_named(org: Org) -> None:
    one, other = under(org), under(org)
    grants = [asked(org.operator.api, session) for session in (one, one, other)]
    executor = records.fresh(org, other).executor_id
    assert executor is not None
    profile = ids.encode("prof", other.profile_id)
    both = {"profile_id": profile, "operation": "database.*"}
    assert revoked(org, **both) == []
    assert revoked(org, profile_id=profile) == [grants[2]["id"]]
    assert len(revoked(org, executor_id=ids.encode("exec", executor))) == 2


def test_a_renewal_that_waits_ends_with_the_rest(org: Org) -> None:
    session = under(org)
    grant = asked(org.operator.api, session)
    waiting = renew(factories.session_api(org, session), grant, 1200).json()
    assert revoked(org, operation="*") == sorted([grant["id"], waiting["id"]])


@pytest.mark.proves("grant.mass-revocation")
def test_more_than_fit_are_ended_by_asking_again(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "MAX_REVOKED", 2)
    for session in (under(org), under(org)):
        for _ in range(2):
            asked(org.operator.api, session)
    extra = asked(org.operator.api, under(org))["id"]
    answers = [revoke(org.operator.api, operation="*").json() for _ in range(3)]
    assert [(len(answer["items"]), answer["more"]) for answer in answers] == [
        (2, True), (2, True), (1, False),
    ]  # fmt: skip
    ended = [item["id"] for answer in answers for item in answer["items"]]
    assert len(set(ended)) == 5
    assert extra in ended


def test_what_another_organization_has_is_not_touched(org: Org) -> None:
    theirs = Org()
    grant = asked(theirs.operator.api, under(theirs))
    assert revoked(org, operation="*") == []
    assert shown(theirs, grant)["state"] == "active"


@pytest.mark.parametrize("member", ["profile_id", "executor_id"])
def test_an_id_that_leads_nowhere_is_refused(org: Org, member: str) -> None:
    prefix = {"profile_id": "prof", "executor_id": "exec"}[member]
    theirs = Org()
    session = records.fresh(theirs, under(theirs))
    foreign = session.profile_id if member == "profile_id" else session.executor_id
    assert foreign is not None
    for unknown in (ids.new(), foreign):
        answer = revoke(org.operator.api, **{member: ids.encode(prefix, unknown)})
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"]) == (422, "unknown_reference")


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "r"},
        {"operation": "*"},
        {"operation": "*", "reason": ""},
        {"operation": "a*b", "reason": "r"},
        {"operation": "", "reason": "r"},
    ],
    ids=str,
)
def test_nobody_ends_everything_by_leaving_something_out(org: Org, body: dict[str, Any]) -> None:
    asked(org.operator.api, under(org))
    assert org.operator.api.post(PATH, body).status_code == 422


def test_people_decide_and_machines_do_not(org: Org) -> None:
    for machine in (org.machine(), org.machine(Role.ADMIN), org.machine(Role.OPERATOR)):
        answer = revoke(machine.api, operation="*")
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    answer = revoke(org.viewer.api, operation="*")
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def test_several_at_once_end_each_grant_once(org: Org) -> None:
    sessions = [under(org) for _ in range(3)]
    grants = [asked(org.operator.api, session)["id"] for session in sessions for _ in range(3)]
    answers = at_once([lambda: revoked(org, operation="*")] * 4)
    assert sorted(each for answer in answers for each in answer) == sorted(grants)
    for session in sessions:
        records.assert_sound(org, session)
