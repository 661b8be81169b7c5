"""Decisions: distinct people, never one's own request, bound to what was shown."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from grants.models import Decision
from keeptrusts_runners import ids
from keeptrusts_runners.identity.scopes import Role
from sessions.models import RunnerSession
from tests import factories
from tests.factories import session_api
from tests.grants.asking import approve, asked, place, requested, row, shown, under
from tests.people import Org, Person
from tests.races.threads import at_once
from tests.sessions import records


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def assert_refused(org: Org, answer: Any, status: int, code: str, grant: dict[str, Any]) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    with org.scope():
        assert not Decision.objects.filter(grant_id=ids.decode("grant", grant["id"])).exists()
    assert shown(org, grant)["state"] == "requested"


def decided(org: Org, session: RunnerSession) -> list[str]:
    return [kind for kind in records.kinds(org, session) if kind.startswith("grant.")]


# --- four eyes -------------------------------------------------------------------------------


def dispatched_by(org: Org, person: Person) -> RunnerSession:
    profile = factories.profile(org, grant_policy=[{"operation": "*"}])
    body = {"profile_id": ids.encode("prof", profile.id), "task_id": "t"}
    answer = person.api.post("/runners/sessions", body)
    assert answer.status_code == 201, answer.content
    with org.scope():
        session = RunnerSession.objects.get(id=ids.decode("sess", answer.json()["id"]))
    return factories.running(org, session)


@pytest.mark.proves("grant.four-eyes")
def test_nobody_approves_what_they_asked_for(org: Org) -> None:
    requester = org.person(Role.ADMIN)
    grant = asked(requester.api, under(org, {"operation": "*"}))
    assert_refused(org, approve(requester.api, grant), 403, "self_approval", grant)


@pytest.mark.proves("grant.four-eyes")
def test_nobody_approves_for_a_session_they_dispatched(org: Org) -> None:
    dispatcher = org.person(Role.ADMIN)
    grant = requested(org, dispatched_by(org, dispatcher))
    assert_refused(org, approve(dispatcher.api, grant), 403, "self_approval", grant)


@pytest.mark.proves("grant.four-eyes")
def test_nobody_approves_for_a_machine_they_own(org: Org) -> None:
    owner = org.person(Role.ADMIN)
    machine = org.machine(owner=owner)
    session = factories.running(org, by=machine)
    for api in (machine.api, session_api(org, session, machine)):
        grant = asked(api, session)
        assert_refused(org, approve(owner.api, grant), 403, "self_approval", grant)
    assert approve(org.approver.api, grant).status_code == 200


def test_nobody_approves_for_a_session_that_their_machine_dispatched(org: Org) -> None:
    owner = org.person(Role.ADMIN)
    machine = org.machine(Role.ADMIN, owner=owner)
    profile = factories.profile(org)
    body = {"profile_id": ids.encode("prof", profile.id), "task_id": "t"}
    dispatched = machine.api.post("/runners/sessions", body).json()
    with org.scope():
        session = RunnerSession.objects.get(id=ids.decode("sess", dispatched["id"]))
    grant = requested(org, factories.running(org, session))
    assert_refused(org, approve(owner.api, grant), 403, "self_approval", grant)


@pytest.mark.proves("grant.four-eyes")
def test_a_superuser_is_no_exception(org: Org) -> None:
    requester = org.person(Role.ADMIN)
    requester.user.is_staff = requester.user.is_superuser = True
    requester.user.save()
    grant = asked(requester.api, under(org, {"operation": "*"}))
    assert_refused(org, approve(requester.api, grant), 403, "self_approval", grant)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR])
def test_only_who_may_approve_decides(org: Org, role: Role) -> None:
    grant = requested(org, under(org))
    person = org.person(role)
    assert_refused(org, approve(person.api, grant), 403, "missing_scope", grant)
    answer = person.api.post(place(grant, "deny"), {"comment": "no"})
    assert_refused(org, answer, 403, "missing_scope", grant)


def test_no_machine_decides(org: Org) -> None:
    session = under(org)
    grant = requested(org, session)
    admin = org.machine(Role.ADMIN)
    assert_refused(org, approve(admin.api, grant), 403, "permission_denied", grant)
    token = approve(session_api(org, session), grant)
    assert_refused(org, token, 403, token.json()["code"], grant)


def test_another_organizations_approver_finds_nothing(org: Org) -> None:
    grant = requested(org, under(org))
    assert_refused(org, approve(Org().approver.api, grant), 404, "not_found", grant)


def test_a_grant_is_found_in_its_own_session_only(org: Org) -> None:
    grant, other = requested(org, under(org)), under(org)
    elsewhere = grant | {"session_id": ids.encode("sess", other.id)}
    assert_refused(org, approve(org.approver.api, elsewhere), 404, "not_found", grant)


# --- what was shown --------------------------------------------------------------------------


def test_an_approval_is_for_what_was_shown(org: Org) -> None:
    session = under(org)
    grant = requested(org, session)
    other = requested(org, session, operation="network.egress:elsewhere")
    assert grant["operation_digest"] != other["operation_digest"]
    swapped = grant | {"operation_digest": other["operation_digest"]}
    assert_refused(org, approve(org.approver.api, swapped), 409, "request_changed", grant)


@pytest.mark.parametrize(
    "changed",
    [
        {"operation": "network.egress:b"},
        {"resource": "b"},
        {"constraints": {"methods": ["PUT"]}},
        {"reason": "another"},
        {"ttl_seconds": 601},
    ],
    ids=str,
)
def test_everything_that_an_approver_is_shown_is_in_the_digest(
    org: Org, changed: dict[str, Any]
) -> None:
    session = under(org)
    as_shown = {"resource": "a", "constraints": {"methods": ["GET"]}}
    one = requested(org, session, **as_shown)
    same = requested(org, session, **as_shown)
    other = requested(org, session, **as_shown | changed)
    assert one["operation_digest"] == same["operation_digest"] != other["operation_digest"]


def test_approvers_narrow_and_what_counts_is_what_all_allow(org: Org) -> None:
    session = under(org, {"operation": "*", "approvals_required": 2})
    grant = requested(org, session, constraints={"host": "a"})
    first = approve(
        org.person(Role.APPROVER).api, grant, ttl_seconds=300, constraints={"methods": ["GET"]}
    )
    assert first.status_code == 200, first.content
    second = approve(org.person(Role.APPROVER).api, grant, ttl_seconds=120)
    active = second.json()
    assert (active["state"], active["ttl_seconds"]) == ("active", 120)
    assert active["constraints"] == {"host": "a", "methods": ["GET"]}
    given = row(org, grant)
    assert given.expires_at is not None
    assert given.activated_at is not None
    assert (given.expires_at - given.activated_at).total_seconds() == 120


@pytest.mark.proves("grant.narrow")
@pytest.mark.parametrize(
    "wider", [{"ttl_seconds": 601}, {"constraints": {"host": "b"}}], ids=["longer", "elsewhere"]
)
def test_approvers_never_widen(org: Org, wider: dict[str, Any]) -> None:
    grant = requested(org, under(org), constraints={"host": "a"})
    answer = approve(org.approver.api, grant, **wider)
    assert_refused(org, answer, 422, "invalid", grant)
    assert answer.json()["errors"][0]["code"] == "widened"


# --- once ------------------------------------------------------------------------------------


def test_nobody_decides_twice(org: Org) -> None:
    grant = requested(org, under(org, {"operation": "*", "approvals_required": 2}))
    assert approve(org.approver.api, grant).status_code == 200
    again = approve(org.approver.api, grant)
    assert (again.status_code, again.json()["code"]) == (409, "already_decided")
    assert len(shown(org, grant)["approvals"]) == 1


def test_what_is_decided_stays_decided(org: Org) -> None:
    session = under(org)
    grant = requested(org, session)
    approve(org.approver.api, grant)
    late = org.person(Role.APPROVER).api
    for answer in (approve(late, grant), late.post(place(grant, "deny"), {"comment": "no"})):
        assert (answer.status_code, answer.json()["code"]) == (409, "already_decided")
        assert answer.json()["state"] == "active"
        assert answer.json()["decided_by"] == [org.approver.principal.account]


def test_one_no_ends_the_request(org: Org) -> None:
    session = under(org, {"operation": "*", "approvals_required": 2})
    grant = requested(org, session)
    approve(org.approver.api, grant)
    answer = org.person(Role.APPROVER).api.post(place(grant, "deny"), {"comment": "too broad"})
    denied = answer.json()
    assert (denied["state"], [one["decision"] for one in denied["approvals"]]) == (
        "denied",
        ["approve", "deny"],
    )
    refused = records.last(org, session, "grant.denied")
    assert refused.data["comment"] == "too broad"
    assert org.approver.api.post(place(grant, "deny"), {}).status_code == 422


def test_of_two_last_decisions_at_once_one_counts(org: Org) -> None:
    for _ in range(10):
        session = under(org)
        grant = requested(org, session)
        yes, no = org.person(Role.APPROVER).api, org.person(Role.APPROVER).api
        assert yes.token
        assert no.token
        answers = at_once(
            [
                lambda yes=yes, grant=grant: approve(yes, grant).status_code,
                lambda no=no, grant=grant: (
                    no.post(place(grant, "deny"), {"comment": "no"}).status_code
                ),
            ]
        )
        assert sorted(answers) == [200, 409]
        assert shown(org, grant)["state"] == ("active" if answers[0] == 200 else "denied")
        assert len(decided(org, session)) in (2, 3)
        records.assert_sound(org, session)


def test_one_person_in_two_places_is_one_approval(org: Org) -> None:
    grant = requested(org, under(org, {"operation": "*", "approvals_required": 2}))
    api = org.approver.api
    answers = at_once([partial(approve, api, grant)] * 4)
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert shown(org, grant)["state"] == "requested"


# --- the record ------------------------------------------------------------------------------


@pytest.mark.proves("grant.recorded")
def test_every_request_decision_use_refusal_and_end_is_recorded(org: Org) -> None:
    session = under(org, {"operation": "*", "approvals_required": 2})
    grant = requested(org, session)
    token = session_api(org, session)
    token.post(place(grant, "use"), {"target": "too early"})
    approvers = [org.person(Role.APPROVER) for _ in range(2)]
    for approver in approvers:
        approve(approver.api, grant, comment="agreed")
    token.post(place(grant, "use"), {"target": "in time"})
    assert org.operator.api.delete(place(grant)).status_code == 204
    token.post(place(grant, "use"), {"target": "too late"})
    recorded = [event for event in records.events(org, session) if event.kind.startswith("grant.")]
    assert [event.kind for event in recorded] == [
        "grant.requested",
        "grant.refused",
        "grant.approved",
        "grant.approved",
        "grant.activated",
        "grant.used",
        "grant.revoked",
        "grant.refused",
    ]
    approvals = [event.data for event in recorded if event.kind == "grant.approved"]
    assert [data["by"] for data in approvals] == [
        approver.principal.account for approver in approvers
    ]
    assert {data["operation_digest"] for data in approvals} == {grant["operation_digest"]}
    assert {data["comment"] for data in approvals} == {"agreed"}
    assert recorded[0].data["reason"] == "to fetch"
    assert recorded[5].data["target"] == "in time"
    records.assert_sound(org, session)
