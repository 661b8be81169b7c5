"""The list of sessions over the API: its filters, and how far it looks for what no index serves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from keeptrusts_runners import clock, ids
from profiles import catalog
from sessions import listing, outcomes
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


def found(org: Org, **query: str) -> list[str]:
    answer = org.viewer.api.get(f"/runners/sessions?{urlencode(query)}")
    assert answer.status_code == 200, answer.content
    return [item["id"] for item in answer.json()["items"]]


def named(*sessions: RunnerSession) -> list[str]:
    return [str(session) for session in sessions]


def failed(org: Org, code: str, message: str) -> RunnerSession:
    session = factories.running(org)
    report = {"error": {"code": code, "message": message}}
    with org.scope():
        return outcomes.end(session.id, Verb.FAIL, report, by=org.runner.principal)


def test_some_sessions_by_their_ids(org: Org) -> None:
    first, second, _ = (factories.pending(org) for _ in range(3))
    assert found(org, session_id=f"{first},{second}") == named(second, first)
    assert found(org, session_id=ids.encode("sess", ids.new())) == []
    other = factories.pending(Org())
    assert found(org, session_id=str(other)) == []


@pytest.mark.parametrize("value", ["sess_1", "sess_1,", "", ",".join(["sess_"] * 51)])
def test_what_are_no_ids_is_refused(org: Org, value: str) -> None:
    assert org.viewer.api.get(f"/runners/sessions?session_id={value}").status_code == 400


def test_by_version_and_by_the_beginning_of_one(org: Org) -> None:
    on = factories.profile(org)
    made = []
    for version in ("2026.04.1", "2026.05.1", "2026.05.2", "2026*5"):
        with org.scope():
            catalog.publish_harness(
                on.id, {"version": version, "image_ref": "x"}, by=org.admin.principal
            )
        made.append(factories.pending(org, on))
    assert found(org, harness_version="2026.05.1") == named(made[1])
    assert found(org, harness_version="2026.05*") == named(made[2], made[1])
    assert found(org, harness_version="2026") == []
    assert found(org, harness_version="2026**") == named(made[3])


def test_by_the_beginning_of_the_task(org: Org) -> None:
    one = factories.pending(org, task_id="nightly_1")
    two = factories.pending(org, task_id="nightly%2")
    assert found(org, task_prefix="nightly") == named(two, one)
    assert found(org, task_prefix="nightly%") == named(two)
    assert found(org, task_prefix="ightly") == []


def test_by_words_of_the_error(org: Org) -> None:
    one = failed(org, "upstream_unreachable", "Connection refused by registry")
    two = failed(org, "connection_reset", "It went away")
    factories.running(org)
    assert found(org, error="connection refused") == named(one)
    assert found(org, error="CONNECTION") == named(two, one)
    assert found(org, error="%") == []


def test_by_how_long_it_ran(org: Org) -> None:
    session, fresh = factories.running(org), factories.running(org)
    factories.pending(org)
    with org.scope():
        began = clock.now() - timedelta(minutes=11)
        RunnerSession.objects.filter(id=session.id).update(started_at=began)
    assert found(org, longer_than_seconds="600") == named(session)
    assert found(org, shorter_than_seconds="600") == named(fresh)
    assert found(org, longer_than_seconds="600", shorter_than_seconds="660") == []


def test_created_bounds_are_exact_though_ids_bound_the_walk(org: Org) -> None:
    made = [factories.pending(org) for _ in range(3)]
    middle = clock.rfc3339(made[1].created_at) or ""
    assert found(org, created_after=middle) == named(made[2])
    assert found(org, created_before=middle) == named(made[0])


class TestHowFarItLooks:
    """Four sessions at a time, of which every fifth is wanted."""

    @pytest.fixture
    def wanted(self, org: Org, monkeypatch: pytest.MonkeyPatch) -> list[RunnerSession]:
        on = factories.profile(org)
        made = [
            factories.pending(org, on, labels={"n": str(number % 5)}, priority=number % 3)
            for number in range(13)
        ]
        monkeypatch.setattr(listing, "REACH", 4)
        return [session for session in made if session.labels["n"] == "1"]

    @pytest.mark.parametrize("view", ["", "&view=queue"])
    def test_an_answer_may_hold_little_and_still_lead_on(
        self, org: Org, wanted: list[RunnerSession], view: str
    ) -> None:
        seen: list[str] = []
        answers, cursor = 0, ""
        while cursor is not None:
            address = f"/runners/sessions?label=n:1{view}{cursor and '&cursor=' + cursor}"
            answer: Any = org.viewer.api.get(address).json()
            seen += [item["id"] for item in answer["items"]]
            answers, cursor = answers + 1, answer["next_cursor"]
        assert answers == 4
        assert sorted(seen) == sorted(named(*wanted))

    def test_what_an_index_serves_is_looked_for_to_the_end(
        self, org: Org, wanted: list[RunnerSession]
    ) -> None:
        answer = org.viewer.api.get(f"/runners/sessions?task_id={wanted[0].task_id}").json()
        assert answer["next_cursor"] is None
        assert len(answer["items"]) == 1

    def test_a_filter_of_both_kinds_walks_the_index_of_the_one(
        self, org: Org, wanted: list[RunnerSession]
    ) -> None:
        query = f"task_id={wanted[0].task_id}&label=n:1"
        answer = org.viewer.api.get(f"/runners/sessions?{query}").json()
        assert [item["id"] for item in answer["items"]] == named(wanted[0])
        assert answer["next_cursor"] is None

    def test_failures_of_a_window_are_listed_to_the_end(
        self, org: Org, wanted: list[RunnerSession]
    ) -> None:
        """As a summary counts them, whose links these are."""
        oldest = failed(org, "boom", "x")
        for _ in range(5):
            factories.pending(org)
        since = clock.rfc3339(clock.now() - timedelta(hours=1)) or ""
        query = {"reason": "boom", "ended_after": since}
        assert found(org, state="failed,lost", **query) == named(oldest)
        assert found(org, state="failed,completed", **query) == []
