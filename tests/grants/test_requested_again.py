"""A rule's `request_again`: what a lease had is asked for under the next, and decided anew."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from keeptrusts_runners import ids
from sessions.models import DesiredState, RunnerSession
from tests import factories
from tests.factories import path, session_api
from tests.grants.asking import approve, asked, place, requested, usable
from tests.people import Org
from tests.sessions import records, roads

AGAIN = {"operation": "network.*", "request_again": True, "approvals_required": 1}
AUTO = {"operation": "network.*", "request_again": True, "auto": True}


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def next_lease(org: Org, session: RunnerSession) -> RunnerSession:
    """One attempt has failed, and another has begun."""
    return factories.running(org, roads.requeue(org, session))


def grants(org: Org, session: RunnerSession) -> list[dict[str, Any]]:
    """The newest first."""
    return list(org.operator.api.get(path(session, "permissions")).json()["items"])


def begun(org: Org, *rules: dict[str, Any]) -> RunnerSession:
    on = factories.profile(org, grant_policy=list(rules), max_attempts=5, backoff_seconds=0)
    return factories.running(org, factories.pending(org, on))


@pytest.mark.proves("grant.again")
def test_what_was_approved_is_asked_for_anew_and_allows_nothing_until_it_is_approved_anew(
    org: Org,
) -> None:
    session = begun(org, AGAIN)
    first = requested(org, session)
    approve(org.approver.api, first)
    assert usable(org, first)
    next_lease(org, session)
    again, before = grants(org, session)
    assert (before["id"], before["state"]) == (first["id"], "ended")
    assert again["state"] == "requested"
    assert not usable(org, again)
    for term in ("operation", "resource", "constraints", "reason", "ttl_seconds"):
        assert again[term] == first[term]
    assert approve(org.approver.api, again).status_code == 200
    assert usable(org, again)
    records.assert_sound(org, session)


@pytest.mark.proves("grant.again")
def test_a_request_that_nobody_had_decided_is_asked_anew(org: Org) -> None:
    session = begun(org, AGAIN)
    requested(org, session)
    next_lease(org, session)
    assert [each["state"] for each in grants(org, session)] == ["requested", "ended"]


@pytest.mark.proves("grant.again")
def test_what_needs_nobody_is_active_from_the_claim_and_says_what_it_follows(org: Org) -> None:
    session = begun(org, AUTO)
    first = requested(org, session)
    session = next_lease(org, session)
    again, _ = grants(org, session)
    assert (again["state"], again["lease_epoch"]) == ("active", 2)
    told = records.last(org, session, "grant.requested").data
    assert told is not None
    assert told["again"] == first["id"]
    used = session_api(org, session).post(place(again, "use"), {})
    assert used.json()["allowed"] is True


@pytest.mark.proves("grant.again")
def test_a_pause_is_followed_by_asking_anew_too(org: Org) -> None:
    session = begun(org, AUTO)
    requested(org, session)
    roads.pause(org, session)
    roads.acknowledge(org, session, DesiredState.PAUSED)
    roads.resume(org, session)
    factories.running(org, session)
    assert [each["state"] for each in grants(org, session)] == ["active", "ended"]


@pytest.mark.proves("grant.again")
@pytest.mark.parametrize("end", ["revoked", "denied", "consumed", "withdrawn"])
def test_what_somebody_ended_stays_ended(org: Org, end: str) -> None:
    session = begun(org, AGAIN | {"single_use": end == "consumed"})
    grant = requested(org, session)
    if end == "denied":
        org.approver.api.post(place(grant, "deny"), {"comment": "no"})
    elif end != "withdrawn":
        approve(org.approver.api, grant)
    if end == "consumed":
        session_api(org, session).post(place(grant, "use"), {})
    elif end != "denied":
        org.operator.api.delete(place(grant))
    next_lease(org, session)
    assert [each["id"] for each in grants(org, session)] == [grant["id"]]


@pytest.mark.proves("grant.again")
def test_without_the_rules_word_a_new_lease_begins_with_nothing(org: Org) -> None:
    session = begun(org, AUTO | {"request_again": False}, {"operation": "x.*"} | AGAIN)
    requested(org, session)
    next_lease(org, session)
    assert [each["state"] for each in grants(org, session)] == ["ended"]


@pytest.mark.proves("grant.four-eyes")
def test_whoever_had_asked_does_not_approve_what_is_asked_anew_for_them(org: Org) -> None:
    session = begun(org, AGAIN)
    both = org.admin
    first = asked(both.api, session)
    assert approve(org.approver.api, first).status_code == 200
    next_lease(org, session)
    again, _ = grants(org, session)
    assert again["requested_by"] == ids.encode("user", both.user.id)
    refused = approve(both.api, again)
    assert (refused.status_code, refused.json()["code"]) == (403, "self_approval")


def test_each_lease_asks_for_what_the_one_before_it_had_and_not_for_more(org: Org) -> None:
    session = begun(org, AUTO)
    requested(org, session)
    for epoch in (2, 3, 4):
        session = next_lease(org, session)
        found = grants(org, session)
        assert [each["state"] for each in found] == ["active", *["ended"] * (epoch - 1)]


def test_a_policy_without_the_word_costs_a_claim_no_query(org: Org) -> None:
    def claim(*rules: dict[str, Any]) -> int:
        session = begun(org, *rules)
        roads.requeue(org, session)
        with CaptureQueriesContext(connection) as made:
            factories.claimed(org, session)
        return len(made)

    assert claim(AUTO | {"request_again": False}) == claim() == claim(AUTO) - 1
