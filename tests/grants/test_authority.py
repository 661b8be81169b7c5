"""Who could do what at an instant, and on whose decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from grants.models import PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity.scopes import Role
from sessions.states import Verb
from tests import factories
from tests.grants.asking import approve, asked, place, renew, requested, row, under, use
from tests.people import Org
from tests.sessions import records, roads


@pytest.fixture
def org() -> Org:
    org = Org()
    assert all((org.operator.principal, org.approver.principal, org.runner.principal))
    return org


def now(org: Org) -> str:
    with org.scope():
        return str(clock.rfc3339(clock.now()))


def held_at(org: Org, instant: str | None = None, more: str = "") -> list[dict[str, Any]]:
    query = f"?at={instant}" if instant else "?"
    answer = org.auditor.api.get(f"/runners/authority{query}{more}")
    assert answer.status_code == 200, answer.content
    return list(answer.json()["items"])


def names(found: list[dict[str, Any]]) -> list[str]:
    return [each["grant_id"] for each in found]


@pytest.mark.proves("grant.authority")
def test_each_instant_knows_what_was_in_force_then(org: Org) -> None:
    session = under(org)
    at = [now(org)]
    first = asked(org.operator.api, session)
    at.append(now(org))
    second = asked(org.operator.api, session, operation="database.write")
    at.append(now(org))
    assert org.operator.api.delete(place(first)).status_code == 204
    at.append(now(org))
    roads.end(org, session, Verb.COMPLETE)
    at.append(now(org))
    expected = [[], [first], [second, first], [second], []]
    assert [names(held_at(org, instant)) for instant in at] == [
        [grant["id"] for grant in held] for held in expected
    ]
    assert held_at(org) == []


@pytest.mark.proves("grant.authority")
def test_the_answer_says_who_and_on_whose_decision(org: Org) -> None:
    rule = {"operation": "network.*", "approvals_required": 2, "risk": "high"}
    session = under(org, rule)
    grant = requested(org, session, resource="a")
    approvers = [org.person(Role.APPROVER) for _ in range(2)]
    for approver in approvers:
        approve(approver.api, grant, comment="as agreed")
    use(factories.session_api(org, session), grant)
    (found,) = held_at(org)
    assert found["grant_id"] == grant["id"]
    assert found["session_id"] == grant["session_id"]
    assert found["profile_id"] == ids.encode("prof", session.profile_id)
    assert (found["lease_epoch"], found["holder"]) == (1, org.runner.principal.account)
    assert (found["operation"], found["resource"], found["uses"]) == (grant["operation"], "a", 1)
    assert found["requested_by"] == grant["requested_by"]
    assert [(one["by"], one["decision"], one["comment"]) for one in found["approvals"]] == [
        (approver.principal.account, "approve", "as agreed") for approver in approvers
    ]
    assert (found["rule"], found["policy_version"]) == (rule, 1)
    assert found["held_until"] == row_end(org, grant)


def row_end(org: Org, grant: dict[str, Any]) -> str | None:
    return clock.rfc3339(row(org, grant).expires_at)


def test_an_end_by_the_clock_counts_before_anybody_has_swept(org: Org) -> None:
    grant = asked(org.operator.api, under(org))
    with org.scope():
        held = PermissionGrant.objects.filter(id=ids.decode("grant", grant["id"]))
        before = clock.now() - timedelta(hours=2)
        held.update(activated_at=before, expires_at=before + timedelta(minutes=10))
    assert held_at(org) == []
    during = clock.rfc3339(before + timedelta(minutes=9, seconds=59))
    assert names(held_at(org, during)) == [grant["id"]]
    assert held_at(org, clock.rfc3339(before + timedelta(minutes=10))) == []
    assert names(held_at(org, clock.rfc3339(before))) == [grant["id"]]
    assert held_at(org, clock.rfc3339(before - timedelta(microseconds=1))) == []


def test_a_renewal_and_what_it_renews_leave_no_gap_and_do_not_overlap(org: Org) -> None:
    session = under(org, {"operation": "*"})
    grant = approve(org.approver.api, requested(org, session)).json()
    waiting = renew(factories.session_api(org, session), grant, 1200).json()
    assert names(held_at(org)) == [grant["id"]]
    renewed = approve(org.approver.api, waiting).json()
    moment = renewed["activated_at"]
    assert names(held_at(org, moment)) == [renewed["id"]]
    records.assert_sound(org, session)


def test_it_is_narrowed_by_operation_session_and_profile(org: Org) -> None:
    one, other = under(org), under(org)
    first = asked(org.operator.api, one)
    second = asked(org.operator.api, other, operation="database.write")
    at = now(org)
    for more, grant in (
        ("&operation=database.write", second),
        (f"&session_id={first['session_id']}", first),
        (f"&profile_id={ids.encode('prof', other.profile_id)}", second),
    ):
        assert names(held_at(org, at, more)) == [grant["id"]]
    assert held_at(org, at, f"&operation=database.write&session_id={first['session_id']}") == []


def test_pages_of_one_instant_are_those_of_that_instant(org: Org) -> None:
    session = under(org)
    grants = [asked(org.operator.api, session)["id"] for _ in range(5)]
    at = now(org)
    seen, cursor = [], ""
    for _ in range(3):
        path = f"/runners/authority?at={at}&limit=2{cursor}"
        page = org.auditor.api.get(path).json()
        seen += names(page["items"])
        cursor = f"&cursor={page['next_cursor']}"
        asked(org.operator.api, session)
    assert (seen, page["next_cursor"]) == (grants[::-1], None)


@pytest.mark.parametrize("at", ["yesterday", "2026-01-01", "2999-01-01T00:00:00Z", "0"])
def test_an_instant_is_one_that_has_been(org: Org, at: str) -> None:
    answer = org.auditor.api.get(f"/runners/authority?at={at}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.APPROVER])
def test_auditors_ask(org: Org, role: Role) -> None:
    answer = org.person(role).api.get("/runners/authority")
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def test_another_organizations_auditor_sees_nothing_of_it(org: Org) -> None:
    asked(org.operator.api, under(org))
    assert held_at(Org()) == []


def test_what_waits_for_people_is_listed_as_it_lapses(org: Org) -> None:
    session = under(org)
    grants = [requested(org, session) for _ in range(3)]
    with org.scope():
        late = PermissionGrant.objects.filter(id=ids.decode("grant", grants[0]["id"]))
        late.update(request_lapses_at=clock.now() + timedelta(hours=2))
    found = org.viewer.api.get("/runners/permissions?state=requested").json()["items"]
    assert [each["id"] for each in found] == [grants[n]["id"] for n in (1, 2, 0)]
