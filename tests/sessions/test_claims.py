"""Dispatch and claim: what is pinned, who is handed what, in which order, and again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keeptrusts_runners import clock, ids
from profiles.models import HarnessRevision, HarnessStatus, ProfileStatus, RunnerProfile
from sessions.models import RunnerSession
from sessions.states import State, Verb
from tests import factories
from tests.factories import path
from tests.people import Api, Org
from tests.sessions import records, roads

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def org() -> Org:
    return Org()


def claim_next(api: Api, **body: Any) -> list[dict[str, Any]]:
    answer = api.post("/runners/sessions/claim", body)
    assert answer.status_code in (200, 204), answer.content
    return answer.json()["items"] if answer.status_code == 200 else []


def taken(api: Api, **body: Any) -> list[str]:
    return [session["id"] for session in claim_next(api, **body)]


def names(*sessions: RunnerSession) -> list[str]:
    return [ids.encode("sess", session.id) for session in sessions]


def publish(org: Org, profile: RunnerProfile, version: str, **fields: Any) -> dict[str, Any]:
    place = f"/runners/profiles/{ids.encode('prof', profile.id)}/harnesses"
    body = {"version": version, "image_ref": f"registry.test/harness:{version}"} | fields
    answer = org.operator.api.post(place, body)
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def mark(org: Org, harness: dict[str, Any], status: HarnessStatus) -> None:
    with org.scope():
        HarnessRevision.objects.filter(id=ids.decode("harn", harness["id"])).update(status=status)


# --- dispatch --------------------------------------------------------------------------------


@pytest.mark.proves("life.pinned")
def test_a_dispatch_pins_the_newest_usable_harness_now(org: Org) -> None:
    profile = factories.profile(org)
    good = publish(org, profile, "1", image_ref=f"registry.test/harness:1@{DIGEST}")
    mark(org, publish(org, profile, "2"), HarnessStatus.DEPRECATED)
    mark(org, publish(org, profile, "3"), HarnessStatus.RECALLED)
    session = factories.pending(org, profile)
    publish(org, profile, "4")
    claimed = org.runner.api.post(path(session, "claim")).json()
    assert claimed["harness"]["id"] == claimed["harness_id"] == good["id"]
    assert claimed["harness"]["image_digest"] == DIGEST
    pinned = records.last(org, session, "state.pending").data
    assert (pinned["harness_id"], pinned["image_digest"]) == (good["id"], DIGEST)


def test_a_dispatch_may_name_its_harness(org: Org) -> None:
    profile = factories.profile(org)
    first = publish(org, profile, "1")
    publish(org, profile, "2")
    body = {
        "profile_id": ids.encode("prof", profile.id),
        "task_id": "t",
        "harness_id": first["id"],
    }
    assert org.operator.api.post("/runners/sessions", body).json()["harness_id"] == first["id"]
    mark(org, first, HarnessStatus.DEPRECATED)
    assert org.operator.api.post("/runners/sessions", body).status_code == 409
    foreign = publish(org, factories.profile(org), "1")
    for unknown in (foreign["id"], ids.encode("harn", ids.new())):
        answer = org.operator.api.post("/runners/sessions", body | {"harness_id": unknown})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/harness_id")


def test_without_a_harness_the_claim_answers_none(org: Org) -> None:
    session = factories.pending(org)
    claimed = org.runner.api.post(path(session, "claim")).json()
    assert (claimed["harness"], claimed["harness_id"]) == (None, None)


def test_a_dispatch_to_nowhere_is_refused_and_stores_nothing(org: Org) -> None:
    foreign = factories.profile(Org())
    for unknown in (foreign.id, ids.new()):
        body = {"profile_id": ids.encode("prof", unknown), "task_id": "t"}
        answer = org.operator.api.post("/runners/sessions", body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/profile_id")
        assert answer.json()["errors"][0]["code"] == "unknown_reference"
    assert org.viewer.api.get("/runners/sessions").json()["items"] == []


@pytest.mark.parametrize("year", [2190, 9999])
def test_what_would_begin_or_end_centuries_ahead_is_refused(org: Org, year: int) -> None:
    far = f"{year}-12-31T23:59:59Z"
    profile_id = ids.encode("prof", factories.profile(org).id)
    body = {"profile_id": profile_id, "task_id": "t", "not_before": far}
    session = factories.running(org)
    for answer, pointer in (
        (org.operator.api.post("/runners/sessions", body), "/not_before"),
        (org.operator.api.patch(path(session), {"deadline_at": far}), "/deadline_at"),
    ):
        assert answer.status_code == 422, answer.content
        assert answer.json()["errors"][0]["pointer"] == pointer


def test_an_archived_profile_takes_no_dispatch_but_what_is_pending_still_runs(org: Org) -> None:
    profile = factories.profile(org)
    session = factories.pending(org, profile)
    place = f"/runners/profiles/{ids.encode('prof', profile.id)}"
    assert org.operator.api.delete(place).status_code == 204
    body = {"profile_id": ids.encode("prof", profile.id), "task_id": "t"}
    refused = org.operator.api.post("/runners/sessions", body)
    assert (refused.status_code, refused.json()["code"]) == (409, "profile_archived")
    assert taken(org.runner.api) == names(session)


def test_a_seeds_dispatch_waits_for_a_day_and_then_runs_for_one(org: Org) -> None:
    row = records.fresh(org, factories.pending(org))
    assert row.deadline_at is not None
    assert row.deadline_at - row.created_at == timedelta(hours=24)
    started = records.fresh(org, factories.running(org, row))
    assert started.started_at is not None
    assert started.deadline_at == started.started_at + timedelta(hours=24)


# --- one named session -----------------------------------------------------------------------


def test_a_claim_answers_the_work_the_lease_and_a_token_for_it(org: Org) -> None:
    session = factories.pending(org, input={"job": "collect"})
    executor = {"name": "gateway-1", "version": "2", "labels": {"zone": "a"}}
    body = {"executor": executor, "image_digest": DIGEST}
    claimed = org.runner.api.post(path(session, "claim"), body).json()
    assert (claimed["state"], claimed["attempt"], claimed["input"]) == (
        "dispatched",
        1,
        {"job": "collect"},
    )
    lease = claimed["lease"]
    assert (lease["epoch"], lease["ttl_seconds"], lease["heartbeat_interval_seconds"]) == (
        1,
        60,
        15,
    )
    assert lease["holder"] == org.runner.principal.account
    token = Api(claimed["session_token"])
    assert token.post(path(session, "heartbeat")).json()["state"] == "running"
    granted = records.last(org, session, "lease.granted").data
    assert (granted["executor"], granted["image_digest"]) == (executor, DIGEST)
    records.assert_sound(org, session)


def test_a_claimed_session_is_not_claimed_again(org: Org) -> None:
    session = factories.claimed(org)
    for api in (org.runner.api, org.machine().api):
        answer = api.post(path(session, "claim"))
        assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
        assert answer.json()["current_state"] == "dispatched"
        assert "claim" not in answer.json()["allowed_verbs"]


def test_only_who_may_claim_claims(org: Org) -> None:
    session = factories.pending(org)
    for api in (org.operator.api, org.viewer.api):
        assert api.post(path(session, "claim")).json()["code"] == "missing_scope"
    assert Org().runner.api.post(path(session, "claim")).status_code == 404


@pytest.mark.parametrize(("asked", "status"), [(5, 200), (900, 200), (901, 422), (4, 422)])
def test_a_claim_asks_for_a_lease_of_up_to_fifteen_minutes(
    org: Org, asked: int, status: int
) -> None:
    session = factories.pending(org)
    answer = org.runner.api.post(path(session, "claim"), {"lease_ttl_seconds": asked})
    assert answer.status_code == status, answer.content
    if status == 200:
        row = records.fresh(org, session)
        assert row.lease_expires_at is not None
        assert row.dispatched_at is not None
        assert row.lease_expires_at - row.dispatched_at == timedelta(seconds=asked)
        assert answer.json()["lease"]["heartbeat_interval_seconds"] < asked


def test_a_heartbeat_extends_the_lease_by_its_own_length(org: Org) -> None:
    session = factories.pending(org)
    org.runner.api.post(path(session, "claim"), {"lease_ttl_seconds": 300})
    org.runner.api.post(path(session, "heartbeat"))
    row = records.fresh(org, session)
    assert row.lease_expires_at is not None
    assert row.heartbeat_at is not None
    assert row.lease_expires_at - row.heartbeat_at == timedelta(seconds=300)


# --- claim_id --------------------------------------------------------------------------------


@pytest.mark.proves("claim.id-repeats")
def test_a_claim_repeated_with_its_id_answers_the_same_lease(org: Org) -> None:
    session = factories.pending(org)
    claim = lambda api, claim_id: api.post(path(session, "claim"), {"claim_id": claim_id})
    first = claim(org.runner.api, "c-1").json()
    before = records.stored(org, session)
    again = claim(org.runner.api, "c-1")
    assert again.status_code == 200, again.content
    assert again.json()["lease"] == first["lease"]
    assert Api(again.json()["session_token"]).get(path(session)).status_code == 200
    assert claim(org.runner.api, "c-2").json()["code"] == "state_conflict"
    assert claim(org.machine().api, "c-1").json()["code"] == "state_conflict"
    assert records.stored(org, session) == before


def test_a_claim_repeated_after_its_lease_is_told_that_it_is_lost(org: Org) -> None:
    session = factories.pending(org, max_attempts=3)
    body = {"claim_id": "c-1"}
    org.runner.api.post(path(session, "claim"), body)
    roads.settled(org, session, "lease_expires_at")
    roads.overdue(org, session, "not_before")
    for place in (path(session, "claim"), "/runners/sessions/claim"):
        answer = org.runner.api.post(place, body)
        assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost")
    assert records.fresh(org, session).state == State.PENDING


def test_a_claim_id_is_its_principals_own(org: Org) -> None:
    session = factories.pending(org, max_attempts=3)
    body = {"claim_id": "c-1"}
    org.runner.api.post(path(session, "claim"), body)
    roads.settled(org, session, "lease_expires_at")
    roads.overdue(org, session, "not_before")
    answer = org.machine().api.post(path(session, "claim"), body)
    assert (answer.status_code, answer.json()["lease_epoch"]) == (200, 2)


@pytest.mark.proves("claim.id-repeats")
def test_claiming_next_with_the_same_id_answers_the_same_leases(org: Org) -> None:
    profile = factories.profile(org)
    sessions = [factories.pending(org, profile) for _ in range(3)]
    first = claim_next(org.runner.api, claim_id="c-1", max=2)
    assert [item["id"] for item in first] == names(*sessions[:2])
    again = claim_next(org.runner.api, claim_id="c-1", max=2)
    assert [item["lease"] for item in again] == [item["lease"] for item in first]
    assert taken(org.runner.api, claim_id="c-2", max=2) == names(sessions[2])


def test_an_old_claim_id_is_told_that_its_lease_is_over_even_after_another_claim(org: Org) -> None:
    session = factories.pending(org, max_attempts=3)
    assert taken(org.runner.api, claim_id="c-1") == names(session)
    roads.settled(org, session, "lease_expires_at")
    roads.overdue(org, session, "not_before")
    assert taken(org.machine().api, claim_id="c-2") == names(session)
    other = factories.pending(org)
    for place in ("/runners/sessions/claim", path(session, "claim"), path(other, "claim")):
        answer = org.runner.api.post(place, {"claim_id": "c-1"})
        assert (answer.status_code, answer.json()["code"]) == (409, "lease_lost"), place
    assert records.fresh(org, other).state == State.PENDING


def test_a_claim_id_is_for_one_claim(org: Org) -> None:
    first, second = factories.pending(org), factories.pending(org)
    assert org.runner.api.post(path(first, "claim"), {"claim_id": "c-1"}).status_code == 200
    answer = org.runner.api.post(path(second, "claim"), {"claim_id": "c-1"})
    assert (answer.status_code, answer.json()["code"]) == (409, "claim_id_reused")
    assert records.fresh(org, second).state == State.PENDING


def test_an_empty_answer_is_not_remembered(org: Org) -> None:
    assert taken(org.runner.api, claim_id="c-1") == []
    session = factories.pending(org)
    assert taken(org.runner.api, claim_id="c-1") == names(session)


# --- the next one ----------------------------------------------------------------------------


@pytest.mark.proves("claim.order")
def test_the_next_session_is_the_most_urgent_then_the_oldest(org: Org) -> None:
    profile = factories.profile(org)
    first, second = factories.pending(org, profile), factories.pending(org, profile)
    urgent = factories.pending(org, profile, priority=10)
    later = factories.pending(org, profile, priority=-1)
    queue = org.viewer.api.get("/runners/sessions?view=queue").json()["items"]
    assert [item["id"] for item in queue] == names(urgent, first, second, later)
    assert [taken(org.runner.api)[0] for _ in range(4)] == names(urgent, first, second, later)
    assert claim_next(org.runner.api) == []


def test_several_are_handed_out_at_once_in_the_same_order(org: Org) -> None:
    profile = factories.profile(org)
    sessions = [factories.pending(org, profile) for _ in range(3)]
    assert taken(org.runner.api, max=50) == names(*sessions)
    for session in sessions:
        records.assert_sound(org, session)


@pytest.mark.proves("claim.honours")
def test_a_session_waits_for_its_time(org: Org) -> None:
    with org.scope():
        later = clock.now() + timedelta(hours=1)
    session = factories.pending(org, not_before=later)
    assert taken(org.runner.api) == []
    refused = org.runner.api.post(path(session, "claim")).json()
    assert (refused["code"], refused["reason"]) == ("not_claimable", "not_before")
    roads.overdue(org, session, "not_before")
    assert taken(org.runner.api) == names(session)


def test_what_was_not_claimed_in_time_is_not_claimed_late(org: Org) -> None:
    """Whether or not the reaper has come by."""
    session = factories.pending(org, queue_timeout_seconds=60)
    roads.overdue(org, session, "deadline_at")
    assert taken(org.runner.api) == []
    refused = org.runner.api.post(path(session, "claim")).json()
    assert (refused["code"], refused["reason"]) == ("not_claimable", "deadline_passed")
    assert roads.settled(org, session).state == State.EXPIRED


@pytest.mark.proves("claim.honours")
def test_a_session_is_handed_only_to_an_executor_with_all_of_its_labels(org: Org) -> None:
    session = factories.pending(org, labels={"zone": "a", "gpu": "yes"})
    for offered in ({}, {"zone": "a"}, {"zone": "b", "gpu": "yes"}):
        assert taken(org.runner.api, labels=offered) == []
    offered = {"zone": "a", "gpu": "yes", "arch": "arm"}
    assert taken(org.runner.api, executor={"labels": offered}) == names(session)


@pytest.mark.proves("claim.honours")
def test_an_executor_may_restrict_itself_to_profiles(org: Org) -> None:
    mine, other = factories.profile(org), factories.profile(org)
    factories.pending(org, other)
    session = factories.pending(org, mine)
    only = [ids.encode("prof", mine.id)]
    assert taken(org.runner.api, profiles=only, max=5) == names(session)


def test_nothing_of_another_organization_is_handed_out(org: Org) -> None:
    factories.pending(Org())
    assert taken(org.runner.api, max=50) == []


# --- limits and stops ------------------------------------------------------------------------


@pytest.mark.proves("limit.held")
def test_a_profile_runs_no_more_than_its_limit_at_once(org: Org) -> None:
    limited = factories.profile(org, max_concurrent_sessions=2)
    sessions = [factories.pending(org, limited) for _ in range(4)]
    free = factories.pending(org)
    assert taken(org.runner.api, max=3) == names(*sessions[:2], free)
    assert taken(org.runner.api, max=3) == []
    refused = org.runner.api.post(path(sessions[2], "claim")).json()
    assert (refused["code"], refused["reason"]) == ("not_claimable", "limit_reached")
    roads.end(org, records.fresh(org, sessions[0]), Verb.COMPLETE)
    assert org.runner.api.post(path(sessions[3], "claim")).status_code == 200
    assert taken(org.runner.api, max=3) == []


@pytest.mark.proves("limit.no-leak")
def test_a_paused_session_holds_no_slot(org: Org) -> None:
    limited = factories.profile(org, max_concurrent_sessions=1)
    first = factories.running(org, factories.pending(org, limited))
    second = factories.pending(org, limited)
    assert taken(org.runner.api) == []
    token = factories.session_api(org, first)
    roads.pause(org, first)
    token.patch(path(first), {"state": "paused"})
    assert taken(org.runner.api) == names(second)


def test_a_paused_profile_hands_out_nothing_and_its_leases_go_on(org: Org) -> None:
    profile = factories.profile(org)
    leased = factories.running(org, factories.pending(org, profile))
    session = factories.pending(org, profile)
    with org.scope():
        RunnerProfile.objects.filter(id=profile.id).update(status=ProfileStatus.PAUSED)
    assert taken(org.runner.api) == []
    assert org.runner.api.post(path(session, "claim")).json()["reason"] == "profile_paused"
    assert org.runner.api.post(path(leased, "heartbeat")).status_code == 200


@pytest.mark.proves("claim.honours")
def test_a_recalled_harness_is_not_handed_out(org: Org) -> None:
    profile = factories.profile(org)
    harness = publish(org, profile, "1")
    session = factories.pending(org, profile)
    mark(org, harness, HarnessStatus.DEPRECATED)
    assert taken(org.runner.api) == names(session)
    recalled = factories.pending(org, profile, harness_id=None)
    with org.scope():
        RunnerSession.objects.filter(id=recalled.id).update(
            harness_id=ids.decode("harn", harness["id"])
        )
    mark(org, harness, HarnessStatus.RECALLED)
    assert taken(org.runner.api) == []
    answer = org.runner.api.post(path(recalled, "claim")).json()
    assert (answer["code"], answer["reason"]) == ("not_claimable", "harness_recalled")
