"""The session lists: tabs, filters, pages and their cost."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from grants import verification
from keeptrusts_runners import ids
from sessions import lifecycle, listing
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import at_most, browser, instants, text_of
from tests.grants.asking import requested
from tests.people import Org

_ROW = re.compile(r'<tr id="row-(sess_[0-9a-z]{26})"')


def rows(response: Any) -> list[str]:
    return _ROW.findall(response.content.decode())


def named(*sessions: RunnerSession) -> list[str]:
    return [ids.encode("sess", session.id) for session in sessions]


@pytest.fixture
def org() -> Org:
    return Org()


def test_each_tab_holds_its_states(org: Org) -> None:
    waiting, running = factories.pending(org), factories.running(org)
    cancelled = factories.pending(org)
    with org.scope():
        lifecycle.cancel(cancelled.id, by=org.operator.principal)
    client = browser(org.viewer)
    assert rows(client.get("/runners/sessions?view=queue")) == named(waiting)
    assert rows(client.get("/runners/sessions?view=active")) == named(running)
    assert rows(client.get("/runners/sessions?view=completed")) == named(cancelled)
    assert rows(client.get("/runners/sessions")) == named(cancelled, running, waiting)
    text = text_of(client.get("/runners/sessions"))
    assert "Queue 1 " in text
    assert "Active 1 " in text


def test_the_queue_is_in_the_order_of_claims_with_positions(org: Org) -> None:
    first, second = factories.pending(org), factories.pending(org)
    urgent = factories.pending(org, priority=5)
    response = browser(org.viewer).get("/runners/sessions?view=queue")
    assert rows(response) == named(urgent, first, second)
    assert re.findall(r'data-label="Position">(\d)<', response.content.decode()) == list("123")


def test_filters_are_in_the_address_and_shown_as_chips(org: Org) -> None:
    on = factories.profile(org, name="builders")
    wanted = factories.pending(org, on, task_id="wanted")
    factories.pending(org, on, task_id="other")
    address = f"/runners/sessions?profile_id={ids.encode('prof', on.id)}&task_id=wanted"
    response = browser(org.viewer).get(address)
    assert rows(response) == named(wanted)
    text = text_of(response)
    assert "Profile: builders" in text
    assert "Task: wanted" in text
    assert "Clear filters" in text


def test_empty_fields_of_the_form_do_not_stay_in_the_address(org: Org) -> None:
    response = browser(org.viewer).get("/runners/sessions?view=active&state=&task_id=x&profile_id=")
    assert response.status_code == 303
    assert response["Location"] == "/runners/sessions?view=active&task_id=x"


@pytest.mark.parametrize(
    "query", ["state=nonsense", "profile_id=nope", "view=nope", "unknown=1", "cursor=forged"]
)
def test_a_wrong_filter_is_explained_where_it_was_set(org: Org, query: str) -> None:
    factories.pending(org)
    response = browser(org.viewer).get(f"/runners/sessions?{query}")
    assert response.status_code == 400
    assert b'role="alert"' in response.content
    assert b"Filter sessions" in response.content


def test_nothing_yet_and_nothing_that_matches_are_told_apart(org: Org) -> None:
    client = browser(org.viewer)
    assert "No sessions yet." in text_of(client.get("/runners/sessions"))
    assert "Nothing is waiting." in text_of(client.get("/runners/sessions?view=queue"))
    nothing = text_of(client.get("/runners/sessions?task_id=none"))
    assert "No session matches these filters in All." in nothing


@pytest.mark.parametrize("view", ["", "view=queue"])
def test_pages_lead_to_the_end_and_back(
    org: Org, view: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE_ROWS", 3)
    on = factories.profile(org)
    for number in range(8):
        factories.pending(org, on, priority=number % 2)
    client = browser(org.viewer)
    address, seen, addresses = f"/runners/sessions?{view}", [], []
    while address:
        response = client.get(address)
        addresses.append(rows(response))
        seen += rows(response)
        older = re.search(r'href="([^"]*)" rel="next"', response.content.decode())
        newer = re.search(r'href="([^"]*)" rel="prev"', response.content.decode())
        address = "/runners/sessions" + older[1].replace("&amp;", "&") if older else ""
    assert len(seen) == len(set(seen)) == 8
    assert [len(page) for page in addresses] == [3, 3, 2]
    assert newer
    back = client.get("/runners/sessions" + newer[1].replace("&amp;", "&"))
    assert rows(back) == addresses[1]


def test_a_session_of_another_organization_is_never_listed(org: Org) -> None:
    factories.pending(Org())
    assert rows(browser(org.viewer).get("/runners/sessions")) == []


@pytest.mark.parametrize("view", ["", "queue", "active", "attention", "completed"])
def test_the_cost_does_not_depend_on_the_rows(org: Org, view: str) -> None:
    for _ in range(5):
        factories.running(org)
        factories.pending(org)
    address = f"/runners/sessions?view={view}" if view else "/runners/sessions"
    client = browser(org.viewer)
    with at_most(9):
        assert client.get(address).status_code == 200


def test_a_list_says_why_a_session_needs_attention_and_how_its_heartbeat_is(org: Org) -> None:
    factories.running(org)
    session = factories.running(org)
    requested(org, session)
    with org.scope():
        late = F("heartbeat_at") - timedelta(seconds=40)
        RunnerSession.objects.filter(id=session.id).update(heartbeat_at=late)
    client = browser(org.viewer)
    page = client.get("/runners/sessions?view=attention")
    assert rows(page) == named(session)
    assert "Running Late Approval waiting" in text_of(page)
    everything = client.get("/runners/sessions")
    assert "Running Late" in text_of(everything)
    assert everything.content.count(b"heartbeat</span>") == 0
    assert "Healthy" not in text_of(everything)
    for query in ("q=health:late", "q=attention:late,silent", "health=late"):
        assert rows(client.get(f"/runners/sessions?{query}")) == named(session)


def test_every_instant_says_that_it_is_utc(org: Org) -> None:
    factories.running(org)
    response = browser(org.viewer).get("/runners/sessions")
    assert instants(response)
    assert all(
        machine.endswith("Z") and tip.endswith("Z") for machine, tip, _ in instants(response)
    )


def test_a_list_says_how_far_the_evidence_of_each_is_checked(org: Org) -> None:
    checked, unchecked = factories.pending(org), factories.pending(org)
    with org.scope():
        for each in (checked, unchecked):
            lifecycle.cancel(each.id, by=org.operator.principal)
    verification.verify(checked.id, by=org.auditor.principal)
    client = browser(org.viewer)
    with at_most(9):
        response = client.get("/runners/sessions?view=completed")
    cells = re.findall(r'data-label="Evidence">(.*?)</td>', response.content.decode(), re.S)
    assert rows(response) == named(unchecked, checked)
    assert ["Not checked" in cells[0], "Verified" in cells[1]] == [True, True]
