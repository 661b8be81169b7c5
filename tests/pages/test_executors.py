"""The executors' pages: who claims, what each holds, and what operators decide about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from keeptrusts_runners import ids
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import at_most, browser, text_of
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


def page(executor: RunnerExecutor | Any, *more: str) -> str:
    return "/".join((f"/runners/executors/{ids.encode('exec', executor.id)}", *more))


def listed(response: Any) -> list[str]:
    return [row["executor"].name for row in response.context["rows"]]


def holder(org: Org, session: RunnerSession) -> RunnerExecutor:
    with org.scope():
        return RunnerExecutor.objects.get(id=session.executor_id)


def test_nobody_yet_says_how_one_becomes_known(org: Org) -> None:
    assert "No executor has asked for work yet." in text_of(
        browser(org.viewer).get("/runners/executors")
    )


def test_executors_are_found_by_profile_and_by_state(org: Org) -> None:
    on, other = factories.profile(org), factories.profile(org)
    any_of_them = factories.asking(org, "any")
    factories.asking(org, "one", profile_ids=(on.id,))
    gone = factories.asking(org, "gone")
    factories.running(org)
    with org.scope():
        hours = timedelta(hours=2)
        RunnerExecutor.objects.filter(id=gone.id).update(
            polled_at=F("polled_at") - hours, last_seen_at=F("last_seen_at") - hours
        )
    client = browser(org.viewer)
    assert sorted(listed(client.get("/runners/executors"))) == ["", "any", "gone", "one"]
    found = client.get(f"/runners/executors?profile_id={ids.encode('prof', other.id)}")
    assert sorted(listed(found)) == ["any", "gone"]
    assert sorted(listed(client.get("/runners/executors?state=available"))) == ["any", "one"]
    assert listed(client.get("/runners/executors?state=busy")) == [""]
    assert listed(client.get("/runners/executors?state=offline")) == ["gone"]
    browser(org.operator).post(page(any_of_them, "drain"))
    assert listed(client.get("/runners/executors?state=draining")) == ["any"]


@pytest.mark.parametrize("query", ["state=asleep", "profile_id=nope", "x=1", "cursor=forged"])
def test_a_wrong_filter_is_explained_where_it_was_set(org: Org, query: str) -> None:
    response = browser(org.viewer).get(f"/runners/executors?{query}")
    assert response.status_code == 400
    assert b'role="alert"' in response.content
    assert b"Filter executors" in response.content


def test_another_organizations_executors_are_not_listed(org: Org) -> None:
    factories.asking(Org(), "theirs")
    assert listed(browser(org.viewer).get("/runners/executors")) == []


def test_the_page_names_what_it_holds(org: Org) -> None:
    session = factories.running(org)
    html = browser(org.viewer).get(page(holder(org, session))).content.decode()
    assert "It holds 1 session now" in html
    assert ids.encode("sess", session.id) in html


def test_draining_keeps_what_is_held_and_can_be_taken_back(org: Org) -> None:
    session = factories.running(org)
    executor = holder(org, session)
    client = browser(org.operator)
    assert "The 1 session that it holds goes on." in text_of(client.get(page(executor, "drain")))
    client.post(page(executor, "drain"), {"reason": "Kernel update"})
    text = text_of(client.get(page(executor)))
    assert "Kernel update" in text
    assert org.operator.user.email in text
    with org.scope():
        session.refresh_from_db()
    assert session.state == "running"
    client.post(page(executor, "undrain"))
    assert "Drained by" not in text_of(client.get(page(executor)))


def test_evicting_needs_a_reason_and_ends_the_leases(org: Org) -> None:
    session = factories.running(org)
    executor = holder(org, session)
    client = browser(org.operator)
    refused = client.post(page(executor, "evict"), {"reason": ""})
    assert refused.status_code == 422
    assert b'href="#id_reason"' in refused.content
    done = client.post(page(executor, "evict"), {"reason": "Disk errors"})
    assert "Evicted: its leases have ended." in text_of(client.get(done["Location"]))
    with org.scope():
        session.refresh_from_db()
    assert (session.state, session.reason) == ("lost", "executor_evicted")


def test_the_cost_does_not_depend_on_how_many_there_are(org: Org) -> None:
    for number in range(5):
        factories.asking(org, f"e{number}")
    client = browser(org.viewer)
    with at_most(9):
        assert client.get("/runners/executors").status_code == 200
