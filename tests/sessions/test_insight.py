"""How much waits and why: exact, bounded, and of one's own organization alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from keeptrusts_runners import clock, ids
from profiles.models import RunnerProfile
from sessions import insight, queries
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession
from sessions.states import State
from tests import factories
from tests.browsers import at_most
from tests.factories import path
from tests.people import Org
from tests.sessions import roads


@pytest.fixture
def org() -> Org:
    return Org()


def stats(org: Org) -> Any:
    answer = org.viewer.api.get("/runners/stats")
    assert answer.status_code == 200, answer.content
    return answer.json()


def explain(org: Org, session: RunnerSession) -> Any:
    answer = org.viewer.api.get(path(session, "explain"))
    assert answer.status_code == 200, answer.content
    return answer.json()


def polling(org: Org, name: str, labels: dict[str, str], *on: RunnerProfile) -> None:
    """An executor of this name asks for work, and there is none for it."""
    body: dict[str, Any] = {"executor": {"name": name}, "labels": labels}
    if on:
        body["profiles"] = [ids.encode("prof", profile.id) for profile in on]
    answer = org.runner.api.post("/runners/sessions/claim", body)
    assert answer.status_code == 204, answer.content


@pytest.mark.proves("explain.why")
def test_stats_are_exact_by_profile_and_in_total(org: Org) -> None:
    factories.pending(Org())
    first, second = factories.profile(org), factories.profile(org)
    oldest = factories.pending(org, first)
    factories.pending(org, first)
    factories.running(org, factories.pending(org, second))
    roads.pause(org, factories.pending(org, second))
    roads.cancel(org, factories.pending(org, second))
    found = stats(org)
    by_id = {each["profile_id"]: each for each in found["profiles"]}
    of_first = by_id[ids.encode("prof", first.id)]
    assert (of_first["queued"], of_first["active"], of_first["paused"]) == (2, 0, 0)
    of_second = by_id[ids.encode("prof", second.id)]
    assert (of_second["queued"], of_second["active"], of_second["paused"]) == (0, 1, 1)
    assert of_second["oldest_waiting_at"] is None
    since = clock.rfc3339(oldest.created_at)
    assert found["total"] == {
        "queued": 2,
        "oldest_waiting_at": since,
        "active": 1,
        "paused": 1,
        "polling": 0,
    }


def test_stats_are_bounded_and_cheap(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(insight, "MAX_PROFILES", 2)
    for _ in range(3):
        factories.pending(org)
    stats(org)
    with at_most(8):
        found = stats(org)
    assert (len(found["profiles"]), found["truncated"], found["total"]["queued"]) == (2, True, 3)


def test_the_place_is_by_priority_then_age_and_follows_a_change(org: Org) -> None:
    first, second = factories.pending(org), factories.pending(org)
    assert [explain(org, each)["position"] for each in (first, second)] == [1, 2]
    answer = org.operator.api.patch(path(second), {"priority": 5})
    assert answer.status_code == 200, answer.content
    assert [explain(org, each)["position"] for each in (first, second)] == [2, 1]
    (taken,) = org.runner.api.post("/runners/sessions/claim").json()["items"]
    assert taken["id"] == ids.encode("sess", second.id)


def test_the_place_is_capped_and_says_so(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "COUNT_CAP", 1)
    sessions = [factories.pending(org) for _ in range(3)]
    found = [explain(org, each) for each in sessions]
    assert [each["position_capped"] for each in found] == [False, False, True]


@pytest.mark.proves("explain.why")
def test_a_reached_limit_names_its_holders(org: Org) -> None:
    on = factories.profile(org, max_concurrent_sessions=1)
    holder = factories.running(org, factories.pending(org, on))
    found = explain(org, factories.pending(org, on))
    assert found["waiting"]["code"] == "limit_reached"
    assert found["limit"]["holders"] == [ids.encode("sess", holder.id)]
    assert (found["limit"]["max_concurrent_sessions"], found["limit"]["active"]) == (1, 1)


@pytest.mark.proves("explain.why")
def test_what_it_waits_for_is_named(org: Org) -> None:
    later = factories.pending(org, not_before=clock.now() + timedelta(hours=1))
    found = explain(org, later)
    assert found["waiting"]["code"] == "not_before"
    assert found["waiting"]["until"] == clock.rfc3339(later.not_before)
    on = factories.profile(org)
    held = factories.pending(org, on)
    org.operator.api.post(f"/runners/profiles/{ids.encode('prof', on.id)}/pause")
    assert explain(org, held)["waiting"]["code"] == "profile_paused"


@pytest.mark.proves("explain.why")
def test_whether_anybody_could_take_it_is_told(org: Org) -> None:
    session = factories.pending(org, labels={"gpu": "a100", "zone": "b"})
    alone = explain(org, session)
    assert (alone["waiting"]["code"], alone["waiting"]["blocked"]) == ("no_executor", True)
    assert alone["executors"] == {
        "polling": 0,
        "offering": 0,
        "lacking": {"gpu": "a100", "zone": "b"},
        "truncated": False,
    }
    polling(org, "plain", {"zone": "b"})
    unmatched = explain(org, session)
    assert unmatched["waiting"]["code"] == "labels_not_offered"
    assert "gpu=a100" in unmatched["sentence"]
    assert "zone" not in unmatched["sentence"]
    assert unmatched["executors"]["lacking"] == {"gpu": "a100"}
    # One that takes other profiles alone is no help, whatever it offers.
    labels = {"gpu": "a100", "zone": "b"}
    polling(org, "elsewhere", labels, factories.profile(org))
    assert explain(org, session)["executors"]["polling"] == 1
    offered = explain(org, factories.pending(org, labels={"zone": "b"}))
    assert offered["waiting"]["code"] == "waiting_for_an_executor"
    assert offered["waiting"]["blocked"] is False
    assert offered["executors"]["offering"] == 1


def test_who_asked_long_ago_does_not_count(org: Org) -> None:
    polling(org, "gone", {})
    session = factories.pending(org)
    assert explain(org, session)["waiting"]["code"] == "waiting_for_an_executor"
    with org.scope():
        RunnerExecutor.objects.update(polled_at=clock.now() - timedelta(minutes=5))
    assert explain(org, session)["waiting"]["code"] == "no_executor"


def test_stats_count_who_asks_for_each_profile(org: Org) -> None:
    first, second = factories.profile(org), factories.profile(org)
    polling(org, "any", {})
    polling(org, "choosy", {}, first)
    found = stats(org)
    by_id = {each["profile_id"]: each["polling"] for each in found["profiles"]}
    assert by_id == {ids.encode("prof", first.id): 2, ids.encode("prof", second.id): 1}
    assert found["total"]["polling"] == 2


@pytest.mark.parametrize("state", sorted(set(State) - {State.PENDING}))
def test_another_state_says_what_may_be_asked(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    found = explain(org, session)
    assert (found["state"], found["waiting"], found["position"]) == (state, None, None)
    assert bool(found["allowed_verbs"]) is not session.is_final
