"""Approvals: the list, the forms, and who is kept from deciding and why."""

from __future__ import annotations

from typing import Any

import pytest

from grants import access, approvals, queries, renewals
from grants.models import PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity.scopes import Role
from sessions import lifecycle
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import at_most, browser, page_of, text_of
from tests.people import Org, Person

POLICY = [
    {"operation": "risky.*", "max_ttl_seconds": 3600, "approvals_required": 1, "risk": "critical"},
    {"operation": "double.*", "max_ttl_seconds": 3600, "approvals_required": 2},
    {
        "operation": "admins.*",
        "max_ttl_seconds": 3600,
        "approvals_required": 1,
        "approver_roles": ["admin"],
    },
]


@pytest.fixture
def org() -> Org:
    return Org()


def running(org: Org) -> RunnerSession:
    return factories.running(
        org, factories.pending(org, factories.profile(org, grant_policy=POLICY))
    )


def ask(org: Org, session: RunnerSession, by: Any = None, **fields: Any) -> PermissionGrant:
    given = {
        "operation": "double.eyes",
        "resource": "db",
        "constraints": {},
        "reason": "Because",
        "ttl_seconds": 1200,
    }
    with org.scope():
        return access.request(
            session.id, given | fields, by=by or org.runner.principal, lease_epoch=1
        )


def send(who: Person, grant: PermissionGrant, verb: str, **data: str) -> Any:
    session = RunnerSession(id=grant.session_id)
    address = page_of(session, "grants", ids.encode("grant", grant.id), verb)
    given = {"operation_digest": grant.operation_digest, "ttl_seconds": "0", "comment": ""}
    return browser(who).post(address, given | data)


def state(org: Org, grant: PermissionGrant) -> str:
    with org.scope():
        grant.refresh_from_db()
    return grant.state


def test_approving_makes_the_grant_active(org: Org) -> None:
    grant = ask(org, running(org), operation="other.thing")
    assert send(org.approver, grant, "approve", ttl_seconds="300").status_code == 303
    assert state(org, grant) == "active"
    assert grant.ttl_seconds == 300


def test_one_of_two_approvals_says_that_another_is_needed(org: Org) -> None:
    session = running(org)
    grant = ask(org, session)
    client = browser(org.approver)
    response = send(org.approver, grant, "approve")
    assert state(org, grant) == "requested"
    text = text_of(client.get(response["Location"]))
    assert "1 of 2" in text
    assert "You have approved this already" in text
    assert send(org.person(Role.APPROVER), grant, "approve").status_code == 303
    assert state(org, grant) == "active"


def test_denying_needs_a_reason_and_keeps_what_was_typed(org: Org) -> None:
    grant = ask(org, running(org))
    response = send(org.approver, grant, "deny", ttl_seconds="300")
    assert response.status_code == 422
    assert b"<title>Error: " in response.content
    assert b'value="300" selected' in response.content
    assert state(org, grant) == "requested"
    assert send(org.approver, grant, "deny", comment="Not today.").status_code == 303
    assert state(org, grant) == "denied"


def test_what_is_critical_needs_a_comment_to_approve(org: Org) -> None:
    grant = ask(org, running(org), operation="risky.thing")
    assert send(org.approver, grant, "approve").status_code == 422
    assert send(org.approver, grant, "approve", comment="Checked.").status_code == 303
    assert state(org, grant) == "active"


def test_what_was_not_shown_is_not_approved(org: Org) -> None:
    grant = ask(org, running(org))
    response = send(org.approver, grant, "approve", operation_digest="sha256:" + "0" * 64)
    assert response.status_code == 409
    assert send(org.approver, grant, "approve", operation_digest="nonsense").status_code == 422
    assert state(org, grant) == "requested"


def test_a_renewal_says_what_it_renews_and_until_when_at_most(org: Org) -> None:
    session = running(org)
    grant = ask(org, session)
    for who in (org.approver, org.person(Role.APPROVER)):
        send(who, grant, "approve")
    by = org.runner.principal
    with org.scope():
        waiting = renewals.renew(session.id, grant.id, ttl_seconds=1800, by=by, lease_epoch=1)
    shown = browser(org.approver).get("/runners/approvals").content.decode()
    assert page_of(session, "grants", ids.encode("grant", grant.id)) in shown
    assert "and takes its place" in shown
    for who in (org.approver, org.person(Role.APPROVER)):
        send(who, waiting, "approve")
    assert (state(org, grant), state(org, waiting)) == ("ended", "active")


def test_revoking_ends_it(org: Org) -> None:
    grant = ask(org, running(org))
    assert send(org.operator, grant, "revoke", reason="No longer needed").status_code == 303
    assert state(org, grant) == "revoked"


def test_a_decision_leads_back_to_where_it_was_made(org: Org) -> None:
    grant = ask(org, running(org), operation="other.thing")
    response = send(org.approver, grant, "approve", next="/runners/approvals")
    assert response["Location"] == "/runners/approvals"
    other = ask(org, running(org), operation="other.thing")
    response = send(org.approver, other, "approve", next="https://elsewhere.example/")
    assert response["Location"].startswith("/runners/sessions/sess_")


def test_the_first_to_lapse_comes_first_and_active_ones_below(org: Org) -> None:
    session = running(org)
    ask(org, session, operation="double.first")
    ask(org, session, operation="double.second")
    active = ask(org, session, operation="other.thing")
    send(org.approver, active, "approve")
    text = text_of(browser(org.approver).get("/runners/approvals"))
    assert text.index("double.first") < text.index("double.second") < text.index("other.thing")
    assert "Access ends" in text


def test_who_cannot_approve_is_not_offered_it(org: Org) -> None:
    ask(org, running(org))
    text = text_of(browser(org.operator).get("/runners/approvals"))
    assert "Approve grant" not in text
    assert "runners:approve" in text


class TestFourEyes:
    """What the page says agrees with what the verb would do."""

    def why_not(self, org: Org, grant: PermissionGrant, who: Person) -> str:
        with org.scope():
            found = queries.grant(grant.session_id, grant.id, by=who.principal)
            (standing,) = queries.standings([found], by=who.principal, now=clock.now())
            excluded = approvals.excluded(found, found.session, who.user.id)
        assert excluded == standing.why_not.startswith(("You requested", "You disp", "You answer"))
        return standing.why_not

    def test_somebody_else_may(self, org: Org) -> None:
        assert self.why_not(org, ask(org, running(org)), org.approver) == ""

    def test_the_requester(self, org: Org) -> None:
        grant = ask(org, running(org), by=org.admin.principal)
        assert self.why_not(org, grant, org.admin) == "You requested this"

    def test_the_dispatcher(self, org: Org) -> None:
        on = factories.profile(org, grant_policy=POLICY)
        with org.scope():
            given = {"profile_id": on.id, "task_id": "t"}
            session = lifecycle.dispatch(given, by=org.admin.principal)
        grant = ask(org, factories.running(org, session))
        assert self.why_not(org, grant, org.admin) == "You dispatched this session"
        response = browser(org.admin).get("/runners/approvals")
        assert b"You dispatched this session" in response.content
        assert b'type="submit" disabled' in response.content
        assert send(org.admin, grant, "approve").status_code == 403

    def test_who_answers_for_the_dispatching_machine(self, org: Org) -> None:
        machine = org.machine(Role.ADMIN, owner=org.admin)
        on = factories.profile(org, grant_policy=POLICY)
        with org.scope():
            session = lifecycle.dispatch(
                {"profile_id": on.id, "task_id": "t"}, by=machine.principal
            )
        grant = ask(org, factories.running(org, session))
        assert "account that dispatched" in self.why_not(org, grant, org.admin)

    def test_who_answers_for_the_requesting_machine(self, org: Org) -> None:
        machine = org.machine(owner=org.admin)
        session = factories.running(
            org, factories.pending(org, factories.profile(org, grant_policy=POLICY)), by=machine
        )
        grant = ask(org, session, by=machine.principal)
        assert "account that requested" in self.why_not(org, grant, org.admin)

    def test_a_role_that_the_rule_does_not_name(self, org: Org) -> None:
        grant = ask(org, running(org), operation="admins.only")
        assert self.why_not(org, grant, org.approver) == "Only admin may approve this"


def test_the_cost_does_not_depend_on_the_requests(org: Org) -> None:
    session = running(org)
    for _ in range(6):
        ask(org, session)
        ask(org, running(org), operation="other.thing")
    client = browser(org.approver)
    with at_most(10):
        assert client.get("/runners/approvals").status_code == 200
