"""A paused profile: nothing of it is claimed, leases go on, and unpausing tells those who wait."""

from __future__ import annotations

from uuid import UUID

import pytest

from keeptrusts_runners import ids
from profiles.models import RunnerProfile
from sessions import wakeups
from tests import factories
from tests.contract.calls import problem
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


def place(profile: RunnerProfile, *more: str) -> str:
    return "/".join((f"/runners/profiles/{ids.encode('prof', profile.id)}", *more))


def pause(org: Org, profile: RunnerProfile) -> None:
    answer = org.operator.api.post(place(profile, "pause"))
    assert answer.status_code == 200, answer.content


@pytest.mark.proves("claim.honours")
def test_nothing_of_a_paused_profile_is_claimed(org: Org) -> None:
    on = factories.profile(org)
    session = factories.pending(org, on)
    pause(org, on)
    refused = problem(org.runner.api.post(factories.path(session, "claim")), 409, "not_claimable")
    assert refused["reason"] == "profile_paused"
    assert org.runner.api.post("/runners/sessions/claim", {"max": 50}).status_code == 204
    org.operator.api.post(place(on, "unpause"))
    taken = org.runner.api.post("/runners/sessions/claim").json()["items"]
    assert [each["id"] for each in taken] == [ids.encode("sess", session.id)]


def test_leases_and_dispatches_go_on(org: Org) -> None:
    on = factories.profile(org)
    session = factories.running(org, factories.pending(org, on))
    pause(org, on)
    own = factories.session_api(org, session)
    assert own.post(factories.path(session, "heartbeat")).status_code == 200
    body = {"profile_id": ids.encode("prof", on.id), "task_id": "t"}
    assert org.operator.api.post("/runners/sessions", body).status_code == 201
    ended = own.patch(factories.path(session), {"state": "completed"})
    assert ended.json()["state"] == "completed"


def test_again_is_the_same_answer_and_changes_nothing(org: Org) -> None:
    on = factories.profile(org)
    for verb, status in (("pause", "paused"), ("unpause", "active")):
        first = org.operator.api.post(place(on, verb))
        again = org.operator.api.post(place(on, verb))
        assert first.json() == again.json()
        assert first["ETag"] == again["ETag"]
        assert first.json()["status"] == status


def test_an_archived_profile_stays_archived(org: Org) -> None:
    on = factories.profile(org)
    org.operator.api.delete(place(on))
    for verb in ("pause", "unpause"):
        problem(org.operator.api.post(place(on, verb)), 409, "profile_archived")
    assert org.viewer.api.get(place(on)).json()["status"] == "archived"


def test_unpausing_wakes_those_who_wait(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[UUID] = []
    monkeypatch.setattr(wakeups._notifier, "add", told.append)
    on = factories.profile(org)
    pause(org, on)
    assert told == []
    org.operator.api.post(place(on, "unpause"))
    assert told == [org.id]
    org.operator.api.post(place(on, "unpause"))
    assert told == [org.id]
