"""The approvals inbox: what waits for whom, what is in force, and ending much of it at once."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from grants import access, approvals
from grants.models import PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity.scopes import Role
from sessions import lifecycle
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import at_most, browser, text_of
from tests.pages.test_grants import POLICY, ask, running, state
from tests.people import Org

INBOX = "/runners/approvals"


@pytest.fixture
def org() -> Org:
    """With the people who act within its scope; they cannot come into being there."""
    made = Org()
    assert made.approver
    assert made.operator
    return made


def granted(org: Org, session: RunnerSession, operation: str) -> PermissionGrant:
    by = org.operator.principal
    given = {
        "operation": operation,
        "resource": "",
        "constraints": {},
        "reason": "Because",
        "ttl_seconds": 600,
    }
    with org.scope():
        return access.request(session.id, given, by=by)


def code(grant: PermissionGrant) -> str:
    return ids.encode("grant", grant.id)


class TestWaitingForMe:
    def shown(self, org: Org, who: Any) -> str:
        return text_of(browser(who).get(f"{INBOX}?view=mine"))

    def test_is_what_this_person_may_approve(self, org: Org) -> None:
        session = running(org)
        ask(org, session, operation="double.eyes")
        ask(org, session, operation="admins.only")
        assert "double.eyes" in self.shown(org, org.approver)
        assert "admins.only" not in self.shown(org, org.approver)
        assert "admins.only" in self.shown(org, org.admin)

    def test_is_not_their_own_nor_what_they_have_decided_on(self, org: Org) -> None:
        session = running(org)
        mine = ask(org, session, by=org.admin.principal, operation="double.mine")
        with org.scope():
            approvals.approve(
                session.id,
                mine.id,
                operation_digest=mine.operation_digest,
                by=org.approver.principal,
            )
        assert "double.mine" not in self.shown(org, org.admin)
        assert "double.mine" not in self.shown(org, org.approver)
        assert "double.mine" in self.shown(org, org.person(Role.APPROVER))

    def test_is_nothing_that_their_machine_asked_for_or_dispatched(self, org: Org) -> None:
        machine = org.machine(Role.ADMIN, owner=org.admin)
        on = factories.profile(org, grant_policy=POLICY)
        with org.scope():
            session = lifecycle.dispatch(
                {"profile_id": on.id, "task_id": "t"}, by=machine.principal
            )
        ask(org, factories.running(org, session), operation="double.dispatched")
        runner = org.machine(owner=org.admin)
        other = factories.running(org, factories.pending(org, on), by=runner)
        ask(org, other, by=runner.principal, operation="double.asked")
        assert "double." not in self.shown(org, org.admin)
        assert self.shown(org, org.approver).count("double.") == 2

    def test_agrees_with_what_keeps_people_from_approving(self, org: Org) -> None:
        session = running(org)
        for operation in ("double.eyes", "admins.only", "risky.thing", "other.thing"):
            ask(org, session, operation=operation)
        text = text_of(browser(org.approver).get(f"{INBOX}?view=waiting"))
        assert "Only admin may approve this" in text
        assert len(re.findall("Only|You ", text.partition("Lapses Access")[2])) == 1

    def test_comes_first_for_approvers_only(self, org: Org) -> None:
        assert "Nothing waits for you." in text_of(browser(org.approver).get(INBOX))
        text = text_of(browser(org.operator).get(INBOX))
        assert "Waiting for me" not in text
        assert "Nothing waits for a decision." in text


def test_approving_takes_three_clicks_from_the_fleet_without_a_script(org: Org) -> None:
    grant = ask(org, running(org), operation="other.thing")
    client = browser(org.approver)
    assert f'href="{INBOX}"' in client.get("/runners").content.decode()
    listed = client.get(INBOX).content.decode()
    (address,) = re.findall(rf'href="([^"]*{code(grant)}\?[^"]*)"', listed)
    page = client.get(address).content.decode()
    page = page[page.index("Decide on") - 500 :]
    action = re.search(r'action="([^"]*/approve)"', page)
    back = re.search(r'name="next" value="([^"]*)"', page)
    assert action is not None
    assert back is not None
    given = {
        "operation_digest": grant.operation_digest,
        "ttl_seconds": "0",
        "comment": "",
        "next": back[1],
    }
    response = client.post(action[1], given)
    assert response["Location"] == f"{INBOX}?view=mine"
    assert state(org, grant) == "active"


class TestDecidedAndLapsed:
    def test_decisions_stand_with_who_and_why(self, org: Org) -> None:
        session = running(org)
        grant = ask(org, session, operation="other.thing")
        with org.scope():
            approvals.deny(session.id, grant.id, by=org.approver.principal, comment="Too broad.")
        text = text_of(browser(org.viewer).get(f"{INBOX}?view=decided"))
        for words in ("Denied", "other.thing", org.approver.user.email, "Too broad."):
            assert words in text

    def test_what_lapsed_is_there_before_it_is_written_down(self, org: Org) -> None:
        grant = ask(org, running(org), operation="other.thing")
        with org.scope():
            PermissionGrant.objects.filter(id=grant.id).update(
                request_lapses_at=clock.now() - timedelta(seconds=1)
            )
        client = browser(org.viewer)
        assert "other.thing" in text_of(client.get(f"{INBOX}?view=lapsed"))
        assert "other.thing" not in text_of(client.get(f"{INBOX}?view=waiting"))

    def test_pages_go_on_by_key(self, org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("keeptrusts_runners.api.pagination.DEFAULT_LIMIT", 2)
        session = running(org)
        grants = [ask(org, session, operation=f"other.n{number}") for number in range(5)]
        with org.scope():
            for grant in grants:
                approvals.deny(session.id, grant.id, by=org.approver.principal, comment="No.")
        client, address, seen = browser(org.viewer), f"{INBOX}?view=decided", []
        while address:
            html = client.get(address).content.decode()
            seen += re.findall(r"<code>other\.(n\d)</code>", html)
            older = re.search(r'href="(\?[^"]*)" rel="next"', html)
            address = f"{INBOX}{older[1].replace('&amp;', '&')}" if older else ""
        assert seen == ["n4", "n3", "n2", "n1", "n0"]

    @pytest.mark.parametrize("query", ["view=none", "unknown=1", "cursor=x"])
    def test_what_is_no_list_is_refused(self, org: Org, query: str) -> None:
        assert browser(org.viewer).get(f"{INBOX}?{query}").status_code == 400


class TestDenyingSeveral:
    def test_denies_what_is_ticked_for_one_reason(self, org: Org) -> None:
        grants = [ask(org, running(org), operation="other.thing") for _ in range(3)]
        with org.scope():
            access.revoke(grants[2].session_id, grants[2].id, by=org.operator.principal)
        client = browser(org.approver)
        given = {"grant": [code(each) for each in grants], "comment": "Not on a Friday."}
        response = client.post(f"{INBOX}/deny", given)
        assert response.status_code == 303
        text = text_of(client.get(response["Location"]))
        assert "2 denied. 1 had been decided or had ended meanwhile" in text
        assert [state(org, each) for each in grants] == ["denied", "denied", "revoked"]

    @pytest.mark.parametrize("given", [{"comment": "No."}, {"grant": ["x"], "comment": "No."}])
    def test_needs_a_tick(self, org: Org, given: dict[str, Any]) -> None:
        response = browser(org.approver).post(f"{INBOX}/deny", given)
        assert response.status_code == 422
        assert "Tick the requests" in text_of(response)

    def test_needs_a_reason(self, org: Org) -> None:
        grant = ask(org, running(org))
        response = browser(org.approver).post(f"{INBOX}/deny", {"grant": [code(grant)]})
        assert response.status_code == 422
        assert state(org, grant) == "requested"

    def test_is_for_approvers_of_this_organization(self, org: Org) -> None:
        grant = ask(org, running(org))
        given = {"grant": [code(grant)], "comment": "No."}
        assert browser(org.operator).post(f"{INBOX}/deny", given).status_code == 403
        assert browser(Org().approver).post(f"{INBOX}/deny", given).status_code == 422
        assert state(org, grant) == "requested"


class TestRevokingMany:
    def test_shows_what_would_end_then_ends_it_and_says_what_did(self, org: Org) -> None:
        one, two = running(org), running(org)
        ending = [granted(org, one, "other.thing"), granted(org, two, "other.thing")]
        left = granted(org, one, "other.else")
        client = browser(org.operator)
        listed = client.get(f"{INBOX}?view=active").content.decode()
        address = f"{INBOX}/revoke?operation=other.thing"
        assert f'href="{address}"' in listed
        text = text_of(client.get(address))
        assert "Revoke 2 grants and requests?" in text
        assert "other.else" not in text
        response = client.post(address, {"reason": "Incident 42"})
        assert response.status_code == 303
        text = text_of(client.get(response["Location"]))
        assert "2 grants and requests revoked" in text
        assert "Incident 42" in text
        assert [state(org, each) for each in (*ending, left)] == ["revoked", "revoked", "active"]
        again = client.post(address, {"reason": "Incident 42"}, follow=True)
        assert "Nothing was left to revoke." in text_of(again)

    def test_of_a_profile_or_an_executor(self, org: Org) -> None:
        one, two = running(org), running(org)
        ended, left = granted(org, one, "other.a"), granted(org, two, "other.b")
        client = browser(org.operator)
        address = f"{INBOX}/revoke?profile={ids.encode('prof', one.profile_id)}"
        assert "profile profile-" in text_of(client.get(address))
        client.post(address, {"reason": "Incident"})
        assert (state(org, ended), state(org, left)) == ("revoked", "active")
        assert two.executor_id is not None
        address = f"{INBOX}/revoke?executor={ids.encode('exec', two.executor_id)}"
        client.post(address, {"reason": "Incident"})
        assert state(org, left) == "revoked"

    def test_goes_on_with_the_rest(self, org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("grants.revocations", "grants.pages.revocations"):
            monkeypatch.setattr(f"{module}.MAX_REVOKED", 2)
        session = running(org)
        grants = [granted(org, session, f"other.n{number}") for number in range(3)]
        client = browser(org.operator)
        address = f"{INBOX}/revoke?operation={quote('other.*')}"
        assert "Revoke 2+ grants" in text_of(client.get(address))
        done = client.get(client.post(address, {"reason": "Incident"})["Location"])
        (rest,) = re.findall(r'href="([^"]*)">Revoke the rest', done.content.decode())
        client.post(rest.replace("&amp;", "&"), {"reason": "Incident"})
        assert {state(org, each) for each in grants} == {"revoked"}

    @pytest.mark.parametrize("query", ["", "?operation=", "?operation=a*b", "?profile=prof_x"])
    def test_needs_a_target(self, org: Org, query: str) -> None:
        grant = granted(org, running(org), "other.thing")
        client = browser(org.operator)
        assert "Show what would end" in text_of(client.get(f"{INBOX}/revoke{query}"))
        client.post(f"{INBOX}/revoke{query}", {"reason": "Incident"})
        assert state(org, grant) == "active"

    def test_needs_a_reason(self, org: Org) -> None:
        grant = granted(org, running(org), "other.thing")
        answer = browser(org.operator).post(f"{INBOX}/revoke?operation=*", {"reason": ""})
        assert answer.status_code == 422
        assert state(org, grant) == "active"

    def test_is_for_operators_of_this_organization(self, org: Org) -> None:
        grant = granted(org, running(org), "other.thing")
        address, given = f"{INBOX}/revoke?operation=*", {"reason": "Incident"}
        assert "Revoke" not in text_of(browser(org.viewer).get(f"{INBOX}?view=active"))
        assert browser(org.approver).post(address, given).status_code == 403
        browser(Org().operator).post(address, given)
        assert state(org, grant) == "active"


class TestAuthority:
    def test_says_who_could_do_what_and_on_whose_decision(self, org: Org) -> None:
        session = running(org)
        grant = ask(org, session, operation="other.thing")
        with org.scope():
            approvals.approve(
                session.id,
                grant.id,
                operation_digest=grant.operation_digest,
                by=org.approver.principal,
            )
            during = clock.rfc3339(clock.now())
            access.revoke(session.id, grant.id, by=org.operator.principal)
        client = browser(org.auditor)
        text = text_of(client.get(f"/runners/authority?at={during}"))
        for words in ("other.thing", org.runner.account.name, org.approver.user.email):
            assert words in text
        assert "Nobody held a grant" in text_of(client.get("/runners/authority"))

    @pytest.mark.parametrize("at", ["x", "2999-01-01T00:00:00Z"])
    def test_of_no_instant_or_one_to_come_is_refused(self, org: Org, at: str) -> None:
        assert browser(org.auditor).get(f"/runners/authority?at={at}").status_code == 400

    def test_is_for_auditors(self, org: Org) -> None:
        assert browser(org.operator).get("/runners/authority").status_code == 403


@pytest.mark.parametrize("view", ["mine", "waiting", "active", "decided", "lapsed"])
def test_the_cost_of_each_list_does_not_depend_on_its_length(org: Org, view: str) -> None:
    for _ in range(4):
        session = running(org)
        ask(org, session)
        granted(org, session, "other.thing")
        denied = ask(org, session, operation="other.no")
        with org.scope():
            approvals.deny(session.id, denied.id, by=org.approver.principal, comment="No.")
    client = browser(org.approver)
    with at_most(12):
        assert client.get(f"{INBOX}?view={view}").status_code == 200


def header(org: Org, page: str) -> str:
    """The entry of the approvals, as it is read."""
    response = browser(org.viewer).get(page)
    (entry,) = re.findall(r'<a href="/runners/approvals".*?</a>', response.content.decode(), re.S)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", entry)).strip()


def test_every_page_says_how_many_approvals_wait(org: Org) -> None:
    session, other = running(org), Org()
    ask(other, running(other))
    pages = ("/runners/me", f"/runners/sessions/{session}", "/runners/sessions", INBOX)
    assert {header(org, page) for page in pages} == {"Approvals"}
    lapsed, _ = ask(org, session), ask(org, session, operation="admins.only")
    assert {header(org, page) for page in pages} == {"Approvals 2 waiting"}
    with org.scope():
        PermissionGrant.objects.filter(id=lapsed.id).update(request_lapses_at=clock.now())
    assert {header(org, page) for page in pages} == {"Approvals 1 waiting"}
    alone = text_of(browser(org.viewer).get(f"{INBOX}/count"))
    assert alone.strip() == "1 waiting"


def test_the_figure_of_the_header_takes_no_query_of_its_own(org: Org) -> None:
    client = browser(org.viewer)
    with CaptureQueriesContext(connection) as made:
        assert client.get("/runners/me").status_code == 200
    (counting,) = [query["sql"] for query in made if "runner_grant" in query["sql"]]
    assert counting.startswith("SELECT clock_timestamp()")


def test_the_figure_of_the_header_is_fresh_where_a_page_has_a_stream(org: Org) -> None:
    client, session = browser(org.viewer), running(org)
    refreshed = b'data-refresh="/runners/approvals/count" data-topic="approvals"'
    assert refreshed in client.get(INBOX).content
    assert refreshed in client.get(f"{INBOX}/count").content
    assert refreshed not in client.get(f"/runners/sessions/{session}/input").content
