"""Approvals: the list, the forms, and who is kept from deciding and why."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from grants import access, approvals, events, queries, renewals
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


def test_the_first_to_lapse_comes_first_and_active_ones_elsewhere(org: Org) -> None:
    session = running(org)
    ask(org, session, operation="double.first")
    ask(org, session, operation="double.second")
    active = ask(org, session, operation="other.thing")
    send(org.approver, active, "approve")
    client = browser(org.approver)
    text = text_of(client.get("/runners/approvals"))
    assert text.index("double.first") < text.index("double.second")
    assert "other.thing" not in text
    text = text_of(client.get("/runners/approvals?view=active"))
    assert "other.thing" in text
    assert "Access ends" in text
    assert "double" not in text


def test_who_cannot_approve_is_not_offered_it(org: Org) -> None:
    grant = ask(org, running(org))
    client = browser(org.operator)
    for address in (
        "/runners/approvals",
        page_of(RunnerSession(id=grant.session_id), "grants", ids.encode("grant", grant.id)),
    ):
        text = text_of(client.get(address))
        assert "Approve grant" not in text
        assert "Deny" not in text
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
        client = browser(org.admin)
        assert "Nothing waits for you." in text_of(client.get("/runners/approvals"))
        response = client.get("/runners/approvals?view=waiting")
        assert b"You dispatched this session" in response.content
        response = client.get(page_of(session, "grants", ids.encode("grant", grant.id)))
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


class TestTabOfASession:
    def test_shows_what_waits_and_what_was_with_two_clocks_each(self, org: Org) -> None:
        session = running(org)
        ask(org, session, operation="double.waits")
        active = ask(org, session, operation="other.active")
        send(org.approver, active, "approve")
        denied = ask(org, session, operation="other.denied")
        send(org.approver, denied, "deny", comment="No.")
        text = text_of(browser(org.viewer).get(page_of(session, "grants")))
        assert re.search(
            r"Request lapses in 59m \d\ds, \S+ \S+Z Access 20m 00s from approval", text
        )
        assert re.search(r"Request approved \S+ \S+Z Access ends \S+ \S+Z \(in 19m \d\ds\)", text)
        assert re.search(r"Request denied \S+ \S+Z Access never began", text)
        assert "Add grant" not in text

    def test_an_end_that_is_not_written_down_yet_shows(self, org: Org) -> None:
        session = running(org)
        grant = ask(org, session, operation="other.thing")
        send(org.approver, grant, "approve")
        with org.scope():
            PermissionGrant.objects.filter(id=grant.id).update(
                expires_at=clock.now() - timedelta(seconds=1)
            )
        text = text_of(browser(org.operator).get(page_of(session, "grants")))
        assert "Expired" in text
        assert "Access ends" not in text

    def test_its_end_is_near_in_words(self, org: Org) -> None:
        session = running(org)
        grant = ask(org, session, operation="other.thing")
        send(org.approver, grant, "approve")
        assert "ending soon" not in text_of(browser(org.viewer).get(page_of(session, "grants")))
        with org.scope():
            now = clock.now()
            PermissionGrant.objects.filter(id=grant.id).update(
                activated_at=now - timedelta(seconds=1100), expires_at=now + timedelta(seconds=90)
            )
        assert "ending soon" in text_of(browser(org.viewer).get(page_of(session, "grants")))

    def test_its_cost_does_not_depend_on_the_grants(self, org: Org) -> None:
        session = running(org)
        for _ in range(8):
            ask(org, session)
        client = browser(org.viewer)
        with at_most(11):
            assert client.get(page_of(session, "grants")).status_code == 200

    def test_is_not_there_for_others(self, org: Org) -> None:
        session = running(org)
        for page in ("grants", "grants/new"):
            assert browser(Org().admin).get(page_of(session, page)).status_code == 404


class TestAdding:
    given: ClassVar = {"operation": "other.thing", "reason": "Because", "ttl_seconds": "900"}

    def test_a_person_has_it_at_once_where_no_rule_matches(self, org: Org) -> None:
        session = running(org)
        client = browser(org.operator)
        assert client.get(page_of(session, "grants", "new")).status_code == 200
        response = client.post(
            page_of(session, "grants", "new"), self.given | {"constraints": '{"rows": 5}'}
        )
        assert (response.status_code, response["Location"]) == (303, page_of(session, "grants"))
        assert "other.thing is granted." in text_of(client.get(response["Location"]))
        with org.scope():
            grant = PermissionGrant.objects.get(session_id=session.id)
        assert (grant.state, grant.constraints) == ("active", {"rows": 5})

    def test_a_rule_asks_for_its_approvals_and_never_the_requesters(self, org: Org) -> None:
        session = running(org)
        client = browser(org.admin)
        client.post(page_of(session, "grants", "new"), self.given | {"operation": "double.eyes"})
        with org.scope():
            grant = PermissionGrant.objects.get(session_id=session.id)
        assert grant.state == "requested"
        response = client.get(page_of(session, "grants", ids.encode("grant", grant.id)))
        assert "You requested this" in text_of(response)
        assert b'type="submit" disabled' in response.content

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"operation": "with space"}, "Operation"),
            ({"operation": ""}, "Operation"),
            ({"reason": ""}, "Reason"),
            ({"ttl_seconds": "86400"}, "At most 3600 seconds"),
            ({"constraints": "{"}, "Constraints"),
            ({"constraints": "[1]"}, "Constraints"),
        ],
    )
    def test_what_is_wrong_is_said_at_its_field_and_the_rest_is_kept(
        self, org: Org, wrong: dict[str, str], said: str
    ) -> None:
        session = running(org)
        sent = self.given | {"resource": "kept-text"} | wrong
        response = browser(org.operator).post(page_of(session, "grants", "new"), sent)
        assert response.status_code == 422
        assert b"kept-text" in response.content
        summary = text_of(response).partition("Nothing was sent")[2]
        assert said in summary
        with org.scope():
            assert not PermissionGrant.objects.filter(session_id=session.id).exists()

    def test_needs_write_and_a_session_that_goes_on(self, org: Org) -> None:
        session = running(org)
        for who in (org.viewer, org.approver):
            answer = browser(who).post(page_of(session, "grants", "new"), self.given)
            assert answer.status_code == 403
        with org.scope():
            lifecycle.cancel(session.id, by=org.operator.principal)
        client = browser(org.operator)
        assert "Add grant" not in text_of(client.get(page_of(session, "grants")))
        assert client.post(page_of(session, "grants", "new"), self.given).status_code == 409


class TestRenewing:
    def active(self, org: Org, **more: Any) -> PermissionGrant:
        session = running(org)
        by = org.operator.principal
        given = {
            "operation": "other.thing",
            "resource": "",
            "constraints": {},
            "reason": "Because",
            "ttl_seconds": 300,
        }
        with org.scope():
            return access.request(session.id, given | more, by=by)

    def test_lengthens_what_the_policy_gives_at_once(self, org: Org) -> None:
        grant = self.active(org)
        page = page_of(RunnerSession(id=grant.session_id), "grants", ids.encode("grant", grant.id))
        assert "Renew grant" in text_of(browser(org.operator).get(page))
        before = grant.expires_at
        answer = send(org.operator, grant, "renew", lease_epoch="1", ttl_seconds="900")
        assert answer.status_code == 303
        with org.scope():
            grant.refresh_from_db()
        assert before is not None
        assert grant.expires_at is not None
        assert grant.expires_at > before + timedelta(seconds=500)

    def test_asks_again_where_approvals_are_needed(self, org: Org) -> None:
        grant = ask(org, running(org), operation="risky.thing")
        send(org.approver, grant, "approve", comment="Checked.")
        answer = send(org.operator, grant, "renew", lease_epoch="1", ttl_seconds="900")
        assert answer.status_code == 303
        with org.scope():
            assert grant.renewals.get().state == "requested"

    def test_is_for_the_lease_that_was_shown(self, org: Org) -> None:
        grant = self.active(org)
        answer = send(org.operator, grant, "renew", lease_epoch="2", ttl_seconds="900")
        assert answer.status_code == 409

    @pytest.mark.parametrize("ttl", ["5", "x", "86400"])
    def test_takes_only_what_the_rule_allows(self, org: Org, ttl: str) -> None:
        grant = self.active(org)
        answer = send(org.operator, grant, "renew", lease_epoch="1", ttl_seconds=ttl)
        assert answer.status_code == 422

    def test_is_not_offered_to_who_may_not_and_not_for_what_is_over(self, org: Org) -> None:
        grant = self.active(org)
        page = page_of(RunnerSession(id=grant.session_id), "grants", ids.encode("grant", grant.id))
        assert "Renew grant" not in text_of(browser(org.viewer).get(page))
        for who, status in ((org.viewer, 403), (Org().operator, 404)):
            answer = send(who, grant, "renew", lease_epoch="1", ttl_seconds="900")
            assert answer.status_code == status
        send(org.operator, grant, "revoke")
        assert "Renew grant" not in text_of(browser(org.operator).get(page))
        answer = send(org.operator, grant, "renew", lease_epoch="1", ttl_seconds="900")
        assert answer.status_code == 409


def test_a_decision_that_came_too_late_says_who_was_first(org: Org) -> None:
    grant = ask(org, running(org), operation="other.thing")
    first, second = org.approver, org.person(Role.APPROVER)
    send(first, grant, "approve")
    for verb in ("approve", "deny"):
        response = send(second, grant, verb, comment="Late.")
        assert response.status_code == 409
        text = text_of(response)
        assert "Nothing was done" in text
        assert re.search(rf"Approved \d+ s ago by {first.user.email}", text)
    assert state(org, grant) == "active"


def test_the_page_of_a_request_shows_what_led_to_it_and_what_was_decided_before(org: Org) -> None:
    session = running(org)
    said = [{"kind": "log", "message": f"before {number}"} for number in range(8)]
    with org.scope():
        events.ingest(session.id, said, by=org.runner.principal, lease_epoch=1)
    denied = ask(org, session, operation="other.thing")
    send(org.approver, denied, "deny", comment="Too broad.")
    again = ask(org, session, operation="other.thing")
    narrower = ask(org, session, operation="other.thing", constraints={"rows": 1})
    page = page_of(session, "grants", ids.encode("grant", again.id))
    text = text_of(browser(org.approver).get(page))
    assert "may do other.thing on db, for 20m 00s and no longer than it holds its lease" in text
    assert "before 7" in text
    assert "before 1" not in text
    assert "the same request" in text
    assert "Too broad." in text
    page = page_of(session, "grants", ids.encode("grant", narrower.id))
    assert "the same operation, other terms" in text_of(browser(org.approver).get(page))
