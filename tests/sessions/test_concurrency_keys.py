"""At most so many sessions of one key run at once, whatever their profiles."""

from __future__ import annotations

from typing import Any

import pytest

from keeptrusts_runners import ids
from sessions.models import DesiredState, RunnerSession
from sessions.states import State, Verb
from tests import factories
from tests.browsers import browser, text_of
from tests.factories import path
from tests.people import Org
from tests.sessions import records, roads


@pytest.fixture
def org() -> Org:
    return Org()


def keyed(org: Org, key: str = "deploy/eu", **fields: Any) -> RunnerSession:
    return factories.pending(org, concurrency_key=key, **fields)


def taken(org: Org, most: int = 50) -> list[str]:
    answer = org.runner.api.post("/runners/sessions/claim", {"max": most})
    assert answer.status_code in (200, 204), answer.content
    return [each["id"] for each in answer.json()["items"]] if answer.status_code == 200 else []


def names(*sessions: RunnerSession) -> list[str]:
    return [ids.encode("sess", session.id) for session in sessions]


def refused(org: Org, session: RunnerSession) -> str:
    answer = org.runner.api.post(path(session, "claim"))
    assert answer.status_code == 409, answer.content
    return str(answer.json()["reason"])


def dispatch(org: Org, **fields: Any) -> Any:
    profile_id = ids.encode("prof", factories.profile(org).id)
    body = {"profile_id": profile_id, "task_id": "t"} | fields
    return org.operator.api.post("/runners/sessions", body)


@pytest.mark.proves("limit.by-key")
def test_one_session_of_a_key_runs_at_a_time_across_profiles(org: Org) -> None:
    first, second = keyed(org), keyed(org)
    other, free = keyed(org, "deploy/us"), factories.pending(org)
    assert taken(org) == names(first, other, free)
    assert refused(org, second) == "key_limit_reached"
    roads.end(org, records.fresh(org, first), Verb.COMPLETE)
    assert taken(org) == names(second)


def test_a_key_may_be_shared_by_as_many_as_its_dispatches_say(org: Org) -> None:
    sessions = [keyed(org, concurrency_limit=3) for _ in range(5)]
    assert taken(org) == names(*sessions[:3])
    assert taken(org) == []


@pytest.mark.proves("limit.by-key")
def test_the_least_limit_that_anybody_names_counts(org: Org) -> None:
    """Who wants to be alone is alone: before it begins, and while it runs."""
    shared = keyed(org, concurrency_limit=3)
    alone = keyed(org, concurrency_limit=1)
    assert taken(org) == names(shared)
    assert refused(org, alone) == "key_limit_reached"
    roads.end(org, records.fresh(org, shared), Verb.COMPLETE)
    assert taken(org) == names(alone)
    assert refused(org, keyed(org, concurrency_limit=3)) == "key_limit_reached"


@pytest.mark.proves("limit.by-key", "limit.no-leak")
@pytest.mark.parametrize("ending", ["paused", "lost", "forced", "cancelled"])
def test_a_slot_is_free_when_its_lease_is_over_however_it_ends(org: Org, ending: str) -> None:
    session = keyed(org)
    waiting = keyed(org)
    running = factories.running(org, session)
    match ending:
        case "paused":
            roads.pause(org, session)
            roads.acknowledge(org, running, DesiredState.PAUSED)
        case "lost":
            roads.settled(org, session, "lease_expires_at")
        case "forced":
            org.operator.api.post(path(session, "cancel"), {"force": True})
        case "cancelled":
            roads.cancel(org, session)
            assert taken(org) == [], "cancelling still holds its lease"
            roads.acknowledge(org, running, DesiredState.CANCELLED)
    assert taken(org) == names(waiting)


def test_a_long_queue_of_a_full_key_hides_nothing_behind_it(org: Org) -> None:
    first, *_ = [keyed(org, priority=5) for _ in range(12)]
    behind = factories.pending(org)
    assert taken(org, 5) == names(first, behind)


def test_keys_of_other_organizations_are_other_keys(org: Org) -> None:
    other = Org()
    factories.running(other, keyed(other))
    session = keyed(org)
    assert taken(org) == names(session)


def test_a_retry_keeps_the_key(org: Org) -> None:
    session = keyed(org, concurrency_limit=2)
    roads.cancel(org, session)
    again = org.operator.api.post(path(session, "retry")).json()
    assert (again["concurrency_key"], again["concurrency_limit"]) == ("deploy/eu", 2)


def test_the_dispatch_is_recorded_with_its_key(org: Org) -> None:
    made = records.events(org, keyed(org, concurrency_limit=2))[0].data
    assert (made["concurrency_key"], made["concurrency_limit"]) == ("deploy/eu", 2)


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"concurrency_limit": 2}, "/concurrency_limit"),
        ({"concurrency_key": "k", "concurrency_limit": 0}, "/concurrency_limit"),
        ({"concurrency_key": "k", "concurrency_limit": -1}, "/concurrency_limit"),
        ({"concurrency_key": "k", "concurrency_limit": 2**31}, "/concurrency_limit"),
        ({"concurrency_key": ""}, "/concurrency_key"),
        ({"concurrency_key": "k" * 121}, "/concurrency_key"),
        ({"concurrency_key": 7}, "/concurrency_key"),
        ({"concurrency_key": None}, "/concurrency_key"),
    ],
)
def test_a_key_or_limit_that_makes_no_sense_is_refused_by_name(
    org: Org, fields: dict[str, Any], pointer: str
) -> None:
    answer = dispatch(org, **fields)
    assert answer.status_code == 422, answer.content
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.proves("explain.why")
def test_explain_names_the_key_its_limit_and_who_holds_it(org: Org) -> None:
    holder = factories.running(org, keyed(org))
    session = keyed(org)
    found = org.viewer.api.get(path(session, "explain")).json()
    assert found["waiting"]["code"] == "key_limit_reached"
    assert found["key_limit"] == {
        "key": "deploy/eu",
        "concurrency_limit": 1,
        "active": 1,
        "holders": names(holder),
    }
    assert "deploy/eu" in found["sentence"]
    assert found["limit"] is None


def test_the_queue_page_says_that_the_key_is_in_use(org: Org) -> None:
    factories.running(org, keyed(org))
    keyed(org)
    queue = browser(org.viewer).get("/runners/sessions?view=queue")
    assert "Key limit reached" in text_of(queue)


def test_a_profiles_and_a_keys_limits_hold_together(org: Org) -> None:
    on = factories.profile(org, max_concurrent_sessions=2)
    sessions = [
        factories.pending(org, on, concurrency_key=key) for key in ("a", "a", "b", "c", "d")
    ]
    assert taken(org) == names(sessions[0], sessions[2])
    assert {records.fresh(org, each).state for each in sessions[3:]} == {State.PENDING}


def test_what_one_claim_has_taken_counts_for_the_rest_of_it(org: Org) -> None:
    """A second look is needed where the first one fills a key; the leases are not written yet."""
    on = factories.profile(org, max_concurrent_sessions=2)
    first = factories.pending(org, on)
    alone, other = keyed(org), keyed(org)
    second, third = factories.pending(org, on), factories.pending(org, on)
    assert taken(org, 4) == names(first, alone, second)
    assert refused(org, third) == "limit_reached"
    assert refused(org, other) == "key_limit_reached"
