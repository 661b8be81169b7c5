"""Four eyes, twice: who may approve by the application, and what the database refuses by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections

from grants.models import Decision, PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity.scopes import Role
from sessions.models import RunnerSession
from tests import factories
from tests.factories import session_api
from tests.grants.asking import approve, asked, requested, row, shown, under
from tests.people import Machine, Org, Person, client


@pytest.fixture(scope="module")
def org() -> Org:
    org = Org()
    assert all((org.operator.principal, org.approver.principal, org.runner.principal))
    return org


# --- the matrix ------------------------------------------------------------------------------


@dataclass
class Cast:
    """Those who have a part in one request. `one` may stand anywhere in it."""

    org: Org
    one: Person
    owned: Machine
    foreign: Machine


PARTS = ("person", "their machine", "somebody", "another machine")


def cast(org: Org, role: Role, superuser: bool) -> Cast:
    one = org.person(role)
    one.user.is_staff = one.user.is_superuser = superuser
    one.user.save()
    return Cast(org, one, org.machine(Role.ADMIN, one), org.machine(Role.ADMIN, org.viewer))


def actor(found: Cast, part: str) -> Person | Machine:
    return {
        "person": found.one,
        "their machine": found.owned,
        "somebody": found.org.admin,
        "another machine": found.foreign,
    }[part]


def may(found: Cast, requester: str, dispatcher: str, role: Role, roles: list[str]) -> bool:
    """The contract, said once more: approvers, of the rule's roles, without a part in it."""
    own = {"person", "their machine"}
    if role not in (Role.APPROVER, Role.ADMIN) or requester in own or dispatcher in own:
        return False
    return not roles or role.value in roles


@pytest.mark.proves("grant.four-eyes")
@pytest.mark.parametrize("superuser", [False, True], ids=["user", "superuser"])
@pytest.mark.parametrize("role", [Role.ADMIN, Role.APPROVER, Role.OPERATOR])
def test_of_every_combination_exactly_those_without_a_part_in_it_approve(
    org: Org, role: Role, superuser: bool
) -> None:
    found = cast(org, role, superuser)
    for requester, dispatcher, roles, required in product(PARTS, PARTS, ([], ["approver"]), (1, 2)):
        if "person" in (requester, dispatcher) and role is Role.APPROVER:
            continue  # An approver can neither ask nor dispatch.
        rule = {"operation": "*", "approvals_required": required, "approver_roles": roles}
        session = dispatched(org, actor(found, dispatcher), rule)
        grant = asked(actor(found, requester).api, session)
        answer = approve(found.one.api, grant)
        allowed = may(found, requester, dispatcher, role, roles)
        case = (requester, dispatcher, roles, required)
        assert answer.status_code == (200 if allowed else 403), (case, answer.content)
        state = "requested" if not allowed or required == 2 else "active"
        assert shown(org, grant)["state"] == state, case
        told = direct_approval(org, grant, found.one)
        part_in_it = {requester, dispatcher} & {"person", "their machine"}
        if part_in_it:
            assert "of their own" in told, (case, told)


def dispatched(org: Org, by: Person | Machine, *rules: dict[str, Any]) -> RunnerSession:
    profile = factories.profile(org, grant_policy=list(rules))
    body = {"profile_id": ids.encode("prof", profile.id), "task_id": "t"}
    answer = by.api.post("/runners/sessions", body)
    assert answer.status_code == 201, answer.content
    with org.scope():
        session = RunnerSession.objects.get(id=ids.decode("sess", answer.json()["id"]))
    return factories.running(org, session)


# --- the database ----------------------------------------------------------------------------


def refusal(org: Org, write: Callable[[], Any]) -> str:
    """Why the application's own role was refused, at the latest when it commits."""
    try:
        with org.scope():
            write()
    except DatabaseError as error:
        return str(error)
    return "not refused"


def decide(grant: PermissionGrant, person: Person, word: str = "approve") -> Decision:
    return Decision.objects.create(
        organization_id=grant.organization_id,
        grant_id=grant.id,
        by_id=person.user.id,
        decision=word,
        operation_digest=grant.operation_digest,
        at=clock.now(),
    )


def direct_approval(org: Org, grant: dict[str, Any], person: Person) -> str:
    held = row(org, grant)
    return refusal(org, lambda: decide(held, person))


@pytest.mark.proves("grant.four-eyes")
def test_the_database_refuses_the_owner_of_the_machine_that_executes(org: Org) -> None:
    owner = org.person(Role.ADMIN)
    machine = org.machine(owner=owner)
    session = factories.running(org, by=machine)
    grant = asked(session_api(org, session, machine), session)
    assert "of their own" in direct_approval(org, grant, owner)
    assert direct_approval(org, grant, org.approver) == "not refused"


def test_the_database_lets_people_withdraw_what_is_their_own(org: Org) -> None:
    person = org.person(Role.ADMIN)
    grant = asked(person.api, under(org, {"operation": "*"}))
    held = row(org, grant)
    assert refusal(org, lambda: decide(held, person, "deny")) == "not refused"


def activate(grant: PermissionGrant, **more: Any) -> None:
    now = clock.now()
    PermissionGrant.objects.filter(id=grant.id).update(
        state="active", lease_epoch=1, activated_at=now, expires_at=now, renewable_until=now, **more
    )


@pytest.mark.proves("grant.four-eyes")
@pytest.mark.parametrize("state", ["active", "approved"])
def test_the_database_refuses_access_with_too_few_approvals(org: Org, state: str) -> None:
    session = under(org, {"operation": "*", "approvals_required": 2})
    grant = row(org, requested(org, session))

    def force(*people: Person) -> None:
        for person in people:
            decide(grant, person)
        if state == "active":
            activate(grant)
        else:
            PermissionGrant.objects.filter(id=grant.id).update(state=state)

    assert "takes 2 approvals and has 0" in refusal(org, force)
    assert "takes 2 approvals and has 1" in refusal(org, lambda: force(org.approver))
    two = [org.person(Role.APPROVER), org.person(Role.APPROVER)]
    assert refusal(org, lambda: force(*two)) == "not refused"


def test_the_database_refuses_a_grant_that_begins_as_active(org: Org) -> None:
    grant = row(org, requested(org, under(org)))

    def insert() -> None:
        now = clock.now()
        grant.id, grant._state.adding = ids.new(), True
        grant.state, grant.activated_at, grant.lease_epoch = "active", now, 1
        grant.expires_at = grant.renewable_until = now
        grant.save(force_insert=True)

    assert "takes 1 approvals and has 0" in refusal(org, insert)


@pytest.mark.parametrize(
    "changed",
    [
        {"approvals_required": 0}, {"operation": "b"}, {"resource": "b"}, {"single_use": True},
        {"requested_by": "system"}, {"requested_owner": ids.new()}, {"rule": {"auto": True}},
        {"ttl_seconds": 601}, {"operation_digest": "x"}, {"policy_version": 9},
    ],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_the_terms_of_a_request_do_not_change(org: Org, changed: dict[str, Any]) -> None:
    grant = row(org, requested(org, under(org, {"operation": "*"})))

    def change() -> None:
        PermissionGrant.objects.filter(id=grant.id).update(**changed)

    assert "the terms of a grant do not change" in refusal(org, change)


def test_the_owner_of_the_tables_is_refused_too(org: Org) -> None:
    grant = row(org, requested(org, under(org)))
    statement = "UPDATE runner_grant SET approvals_required = 0 WHERE id = %s"
    with (
        pytest.raises(DatabaseError, match="the terms of a grant"),
        connections["migrate"].cursor() as cursor,
    ):
        cursor.execute(statement, [grant.id])


def test_the_database_writes_ids_as_the_application_does(org: Org) -> None:
    for value in (ids.new(), ids.at(0, b"\0" * 10), ids.at(2**48 - 1, b"\xff" * 10)):
        with org.scope(), connection.cursor() as cursor:
            cursor.execute("SELECT kt_type_id('user', %s)", [value])
            assert cursor.fetchone()[0] == ids.encode("user", value)


def test_the_admin_changes_no_grant_and_no_decision(org: Org) -> None:
    superuser = org.person(Role.ADMIN)
    superuser.user.is_staff = superuser.user.is_superuser = True
    superuser.user.save()
    waiting = requested(org, under(org, {"operation": "*", "approvals_required": 2}))
    assert approve(org.approver.api, waiting).status_code == 200
    grant = row(org, waiting)
    with org.scope():
        decision = grant.decisions.get()
    browser = client()
    browser.force_login(superuser.user)
    for model, key in (("permissiongrant", grant.id), ("decision", decision.id)):
        assert browser.get(f"/admin/grants/{model}/{key}/change/").status_code == 200
        for path in (f"{key}/change/", f"{key}/delete/", "add/"):
            answer = browser.post(f"/admin/grants/{model}/{path}", {"state": "active"})
            assert answer.status_code == 403, (model, path)
    assert row(org, waiting).state == "requested"
