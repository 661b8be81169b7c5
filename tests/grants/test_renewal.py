"""Renewal: for longer, and never wider, past the rule's longest time, or past the lease."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError
from hypothesis import given, settings
from hypothesis import strategies as st

from grants.models import PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity.scopes import Role
from sessions.models import DesiredState, RunnerSession
from sessions.states import State, Verb
from tests.factories import session_api
from tests.grants.asking import (
    approve,
    ask,
    asked,
    overdue,
    place,
    renew,
    requested,
    row,
    shown,
    stored_state,
    under,
    usable,
    use,
)
from tests.people import Org
from tests.races.threads import at_once
from tests.sessions import records, roads

BY_ITSELF = {"operation": "network.*", "auto": True, "max_ttl_seconds": 3600}
BY_PEOPLE = {"operation": "network.*", "approvals_required": 2, "max_ttl_seconds": 3600}


@pytest.fixture(scope="module")
def org() -> Org:
    org = Org()
    assert all((org.operator.principal, org.approver.principal, org.runner.principal))
    return org


def until(grant: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(grant["expires_at"])


def approved_by_two(org: Org, grant: dict[str, Any], **narrowed: Any) -> dict[str, Any]:
    approve(org.approver.api, grant, **narrowed)
    answer = approve(org.person(Role.APPROVER).api, grant)
    assert answer.json()["state"] == "active", answer.content
    return dict(answer.json())


# --- by itself -------------------------------------------------------------------------------


def test_a_rule_that_grants_by_itself_renews_by_itself(org: Org) -> None:
    session = under(org, BY_ITSELF)
    token, grant = session_api(org, session), requested(org, session)
    answer = renew(token, grant, 1800, reason="it takes longer")
    assert answer.status_code == 200, answer.content
    longer = answer.json()
    assert (longer["id"], longer["state"], longer["desired_state"]) == (
        grant["id"], "active", "running",
    )  # fmt: skip
    assert until(longer) > until(grant) + timedelta(seconds=1190)
    assert answer["ETag"] == org.viewer.api.get(place(grant))["ETag"]
    record = records.last(org, session, "grant.renewed")
    assert record.data["grant_id"] == grant["id"]
    assert (record.data["expires_at"], record.data["reason"]) == (
        longer["expires_at"], "it takes longer",
    )  # fmt: skip
    assert use(token, grant)["allowed"] is True
    records.assert_sound(org, session)


@pytest.mark.proves("grant.renewal")
def test_no_renewal_leads_past_the_rules_longest_time_after_the_first_activation(org: Org) -> None:
    session = under(org, BY_ITSELF | {"max_ttl_seconds": 900})
    token, grant = session_api(org, session), requested(org, session)
    assert renew(token, grant, 901).status_code == 422
    longest = renew(token, grant, 900).json()
    held = row(org, grant)
    assert held.activated_at is not None
    assert held.renewable_until == held.activated_at + timedelta(seconds=900)
    assert until(longest) == held.renewable_until
    before = records.stored(org, session)
    refused = renew(token, grant, 900)
    assert (refused.status_code, refused.json()["code"]) == (409, "limit_reached")
    assert refused.json()["renewable_until"] == longest["renewable_until"]
    assert records.stored(org, session) == before


def test_a_renewal_never_shortens(org: Org) -> None:
    session = under(org, BY_ITSELF)
    grant = requested(org, session)
    before = records.stored(org, session)
    same = renew(session_api(org, session), grant, 1).json()
    assert same["expires_at"] == grant["expires_at"]
    assert records.stored(org, session) == before


def test_without_a_rule_a_person_renews_at_once_and_executing_code_asks(org: Org) -> None:
    session = under(org)
    grant = asked(org.operator.api, session)
    assert renew(org.operator.api, grant, 1200).json()["id"] == grant["id"]
    waiting = renew(session_api(org, session), grant, 1200).json()
    assert (waiting["renews"], waiting["state"]) == (grant["id"], "requested")


@pytest.mark.parametrize("ttl", [0, -1, 2**31, 2**53, 7 * 24 * 3600 + 1, 1.5, "60", True, None])
@pytest.mark.parametrize("verb", ["ask", "renew"])
def test_times_that_are_none_are_refused(org: Org, verb: str, ttl: Any) -> None:
    session = under(org, BY_ITSELF)
    grant = requested(org, session)
    api, before = session_api(org, session), records.stored(org, session)
    answer = ask(api, session, ttl_seconds=ttl) if verb == "ask" else renew(api, grant, ttl)
    assert answer.status_code == 422, answer.content
    assert answer.json()["errors"][0]["pointer"] == "/ttl_seconds"
    assert records.stored(org, session) == before


# --- by people -------------------------------------------------------------------------------


@pytest.mark.proves("grant.renewal")
def test_a_renewal_takes_as_many_approvals_as_the_grant_did(org: Org) -> None:
    session = under(org, BY_PEOPLE)
    token = session_api(org, session)
    grant = approved_by_two(org, requested(org, session, resource="a"), ttl_seconds=300)
    waiting = renew(token, grant, 900).json()
    assert waiting["id"] != grant["id"]
    assert (waiting["renews"], waiting["state"], waiting["approvals_required"]) == (
        grant["id"], "requested", 2,
    )  # fmt: skip
    assert shown(org, grant)["expires_at"] == grant["expires_at"]
    assert use(token, waiting)["allowed"] is False
    approve(org.approver.api, waiting)
    assert shown(org, waiting)["state"] == "requested"
    renewed = approve(org.person(Role.APPROVER).api, waiting).json()
    assert renewed["state"] == "active"
    assert use(token, renewed)["allowed"] is True
    assert use(token, grant)["allowed"] is False
    assert (shown(org, grant)["state"], shown(org, grant)["end_reason"]) == ("ended", "renewed")
    told = records.last(org, session, "grant.renewed").data
    assert (told["grant_id"], told["renewed_as"]) == (grant["id"], renewed["id"])
    records.assert_sound(org, session)


@pytest.mark.proves("grant.renewal")
def test_a_renewal_asks_for_what_was_granted_and_for_nothing_besides(org: Org) -> None:
    session = under(org, BY_PEOPLE)
    narrowed = {"constraints": {"methods": ["GET"]}, "ttl_seconds": 300}
    grant = approved_by_two(org, requested(org, session, resource="a"), **narrowed)
    waiting = renew(session_api(org, session), grant, 900).json()
    for name in ("operation", "resource", "constraints", "single_use", "session_id"):
        assert waiting[name] == grant[name], name
    assert waiting["renewable_until"] == grant["renewable_until"]
    widened = renew(session_api(org, session), grant, 900, constraints={"methods": ["PUT"]})
    assert (widened.status_code, widened.json()["errors"][0]["code"]) == (422, "unknown_field")


def test_a_renewal_by_people_ends_with_the_rules_longest_time_too(org: Org) -> None:
    session = under(org, {"operation": "*", "max_ttl_seconds": 600})
    grant = approve(org.approver.api, requested(org, session, ttl_seconds=300)).json()
    waiting = renew(session_api(org, session), grant, 600).json()
    assert until({"expires_at": waiting["request_lapses_at"]}) <= datetime.fromisoformat(
        grant["renewable_until"]
    )
    renewed = approve(org.approver.api, waiting).json()
    assert renewed["expires_at"] == grant["renewable_until"]
    refused = renew(session_api(org, session), renewed, 600)
    assert refused.json()["code"] == "limit_reached"


@pytest.mark.proves("grant.four-eyes")
def test_nobody_approves_the_renewal_that_they_asked_for(org: Org) -> None:
    person = org.person(Role.ADMIN)
    session = under(org, {"operation": "network.*"})
    grant = approve(org.approver.api, requested(org, session)).json()
    waiting = renew(person.api, grant, 1200).json()
    refused = approve(person.api, waiting)
    assert (refused.status_code, refused.json()["code"]) == (403, "self_approval")


def test_one_renewal_waits_at_a_time(org: Org) -> None:
    session = under(org, BY_PEOPLE)
    grant = approved_by_two(org, requested(org, session))
    token = session_api(org, session)
    answers = at_once([lambda: renew(token, grant, 1200).json()["id"]] * 5)
    assert len(set(answers)) == 1
    waiting = renew(token, grant, 1800).json()
    assert (waiting["id"], waiting["ttl_seconds"]) == (answers[0], 1200)
    overdue(org, waiting, "request_lapses_at")
    another = renew(token, grant, 1800).json()
    assert another["id"] != waiting["id"]
    assert stored_state(org, waiting) == "lapsed"
    records.assert_sound(org, session)


def test_revoking_a_grant_withdraws_its_renewal(org: Org) -> None:
    session = under(org, BY_PEOPLE)
    grant = approved_by_two(org, requested(org, session))
    waiting = renew(session_api(org, session), grant, 1200).json()
    assert org.operator.api.delete(place(grant)).status_code == 204
    assert shown(org, waiting)["state"] == "revoked"
    assert approve(org.approver.api, waiting).json()["code"] == "already_decided"


def test_a_denied_renewal_leaves_the_grant_as_it_is(org: Org) -> None:
    session = under(org, BY_PEOPLE)
    grant = approved_by_two(org, requested(org, session))
    waiting = renew(session_api(org, session), grant, 1200).json()
    assert org.approver.api.post(place(waiting, "deny"), {"comment": "no"}).status_code == 200
    assert use(session_api(org, session), grant)["allowed"] is True
    assert shown(org, grant)["expires_at"] == grant["expires_at"]


@pytest.mark.parametrize("who", ["runner", "operator"])
def test_a_renewal_ends_with_the_lease_whoever_asked_for_it(org: Org, who: str) -> None:
    session = under(org, BY_PEOPLE, max_attempts=2)
    grant = approved_by_two(org, requested(org, session))
    api = session_api(org, session) if who == "runner" else org.operator.api
    waiting = renew(api, grant, 1200).json()
    roads.end(org, session, Verb.FAIL, retryable=True)
    assert stored_state(org, waiting) == stored_state(org, grant) == "ended"


# --- what cannot be renewed ------------------------------------------------------------------


def refused(org: Org, session: RunnerSession, grant: dict[str, Any], code: str) -> None:
    before = records.stored(org, session)
    answer = renew(session_api(org, session), grant, 1200)
    assert (answer.status_code, answer.json()["code"]) == (409, code), answer.content
    assert records.stored(org, session) == before


def test_what_is_over_is_not_renewed(org: Org) -> None:
    session = under(org, BY_ITSELF)
    expired, revoked = requested(org, session), requested(org, session)
    overdue(org, expired, "expires_at")
    assert org.operator.api.delete(place(revoked)).status_code == 204
    refused(org, session, expired, "conflict")
    refused(org, session, revoked, "conflict")


def test_what_waits_for_people_is_not_renewed(org: Org) -> None:
    session = under(org)
    refused(org, session, requested(org, session), "conflict")


def test_a_grant_for_a_single_use_is_not_renewed(org: Org) -> None:
    session = under(org, BY_ITSELF | {"single_use": True})
    refused(org, session, requested(org, session), "conflict")


def test_nothing_is_renewed_past_the_lease(org: Org) -> None:
    session = under(org, BY_ITSELF)
    grant = requested(org, session)
    roads.overdue(org, session, "lease_expires_at")
    refused(org, session, grant, "conflict")
    assert not usable(org, grant)


def test_nothing_is_renewed_once_the_session_is_told_to_stop(org: Org) -> None:
    session = under(org, BY_ITSELF)
    grant = requested(org, session)
    roads.cancel(org, session)
    refused(org, session, grant, "conflict")


def test_a_stale_epoch_renews_nothing(org: Org) -> None:
    session = under(org, BY_ITSELF)
    grant, stale = requested(org, session), session_api(org, session)
    roads.pause(org, session)
    roads.acknowledge(org, session, DesiredState.PAUSED)
    answer = renew(stale, grant, 1200)
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER, Role.AUDITOR])
def test_who_may_not_write_renews_nothing(org: Org, role: Role) -> None:
    grant = requested(org, under(org, BY_ITSELF))
    answer = renew(org.person(role).api, grant, 1200)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def test_an_outsider_finds_nothing_to_renew(org: Org) -> None:
    grant = requested(org, under(org, BY_ITSELF))
    assert renew(Org().admin.api, grant, 1200).status_code == 404


def test_only_the_lease_holder_renews_for_its_session(org: Org) -> None:
    grant = requested(org, under(org, BY_ITSELF))
    answer = renew(org.machine().api, grant, 1200)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_lease_holder")


# --- any sequence ----------------------------------------------------------------------------


@pytest.mark.proves("grant.renewal")
@settings(max_examples=15, deadline=None)
@given(
    longest=st.integers(1, 5000),
    first=st.integers(1, 5000),
    steps=st.lists(st.integers(1, 6000), max_size=5),
)
def test_no_sequence_of_renewals_widens_or_passes_the_bound(
    org: Org, longest: int, first: int, steps: list[int]
) -> None:
    session = under(org, BY_ITSELF | {"max_ttl_seconds": longest})
    token = session_api(org, session)
    answer = ask(token, session, ttl_seconds=first)
    assert answer.status_code == (201 if first <= longest else 422)
    if answer.status_code != 201:
        return
    grant, last = answer.json(), answer.json()
    for ttl in steps:
        renewed = renew(token, grant, ttl)
        assert renewed.status_code in ((422, 409) if ttl > longest else (200, 409))
        now = shown(org, grant)
        assert until(last) <= until(now) <= datetime.fromisoformat(now["renewable_until"])
        kept = ("operation", "resource", "constraints", "ttl_seconds", "renewable_until")
        assert [now[name] for name in kept] == [grant[name] for name in kept]
        last = now
    held = row(org, grant)
    assert held.activated_at is not None
    assert held.expires_at is not None
    assert held.expires_at <= held.activated_at + timedelta(seconds=longest)


def test_the_database_itself_refuses_an_end_past_the_bound(org: Org) -> None:
    grant = requested(org, under(org, BY_ITSELF))
    with pytest.raises(IntegrityError, match="runner_grant_within_its_rule"), org.scope():
        PermissionGrant.objects.filter(id=ids.decode("grant", grant["id"])).update(
            expires_at=clock.now() + timedelta(days=1)
        )


def test_nothing_is_renewed_for_a_session_that_is_over(org: Org) -> None:
    session = under(org, BY_ITSELF)
    grant = requested(org, session)
    roads.end(org, session, Verb.COMPLETE)
    assert records.fresh(org, session).state == State.COMPLETED
    answer = renew(session_api(org, session), grant, 1200)
    assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")
