"""The search box of the session lists: what it finds, says, keeps and hands on."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from keeptrusts_runners import clock, ids
from profiles import catalog
from sessions import lifecycle, listing, outcomes
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browsers import at_most, browser, text_of
from tests.pages.test_sessions import named, rows
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


def search(org: Org, text: str, **more: str) -> Any:
    query = urlencode({"q": text} | more)
    return browser(org.operator).get(f"/runners/sessions?{query}")


def failed(org: Org, session: RunnerSession | None = None, code: str = "boom") -> RunnerSession:
    session = factories.running(org, session)
    report = {"error": {"code": code, "message": "Connection refused"}}
    with org.scope():
        return outcomes.end(session.id, Verb.FAIL, report, by=org.runner.principal)


def test_each_word_is_a_filter_of_the_api(org: Org) -> None:
    on = factories.profile(org, name="network sandbox")
    with org.scope():
        catalog.publish_harness(
            on.id, {"version": "2026.05.1", "image_ref": "x"}, by=org.admin.principal
        )
    wanted = failed(org, factories.pending(org, on, task_id="task_456", labels={"env": "prod"}))
    other = factories.pending(org, labels={"env": "test"})
    for text in (
        "state:failed",
        "-state:pending",
        'profile:"network sandbox"',
        f"profile:{ids.encode('prof', on.id)}",
        ids.encode("prof", on.id),
        "task:task_456",
        "task:task_4*",
        "task_45",
        "harness:2026.05*",
        'error:"connection refused"',
        "reason:boom",
        "label:env=prod",
        "created:<2h label:env=prod",
        "ended:<1h",
        f"executor:{ids.encode('exec', wanted.executor_id)}",
        'state:failed,lost task:task_456 -state:cancelled created:<1d duration:<10m error:refused',
    ):  # fmt: skip
        assert rows(search(org, text)) == named(wanted), text
    assert rows(search(org, "created:>2h")) == []
    assert rows(search(org, "label:env=test")) == named(other)


def test_what_cannot_be_read_is_told_and_kept(org: Org) -> None:
    factories.pending(org)
    response = search(org, 'state:gone <b>" nobody')
    assert response.status_code == 400
    text = text_of(response)
    assert "At character 1: There is no state “gone”. Allowed: pending" in text
    assert "At character 12: A quote is open" in text
    assert b'value="state:gone &lt;b&gt;&quot; nobody"' in response.content
    assert b'aria-invalid="true"' in response.content
    assert rows(response) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("profile:nobody", "No profile is called “nobody”."),
        ("executor:gateway", "takes the id of an executor"),
        ("state:failed -state:failed", "excludes itself"),
        ("created:<2h created:<3h", "narrows what is narrowed already"),
    ],
)
def test_what_means_nothing_is_told(org: Org, text: str, said: str) -> None:
    response = search(org, text)
    assert response.status_code == 400
    assert said in text_of(response)


def test_a_profile_of_another_organization_is_not_known_by_name(org: Org) -> None:
    factories.profile(Org(), name="secret")
    assert "No profile is called “secret”." in text_of(search(org, "profile:secret"))


def test_the_id_of_a_session_leads_to_it(org: Org) -> None:
    session = factories.pending(org)
    response = search(org, f" {session} ")
    assert response["Location"] == f"/runners/sessions/{session}"
    narrowed = search(org, f"{session} state:failed")
    assert rows(narrowed) == []


def test_every_condition_is_a_chip_that_can_be_removed(org: Org) -> None:
    factories.pending(org, task_id="a task", labels={"env": "prod"})
    response = search(org, 'state:pending label:env=prod "a task"', view="queue")
    text = text_of(response)
    for words in ("State: pending", "Label: env=prod", "Id or task: a task", "Clear filters"):
        assert words in text
    page = response.content.decode()
    assert "?view=queue&amp;q=label%3Aenv%3Dprod+%22a+task%22" in page or (
        "?q=label%3Aenv%3Dprod+%22a+task%22&amp;view=queue" in page
    )


def test_tabs_keep_the_search(org: Org) -> None:
    page = search(org, "task_1", view="queue").content.decode()
    (active,) = re.findall(r'href="([^"]*)">Active', page)
    assert "q=task_1" in active
    assert "view=active" in active
    (every,) = re.findall(r'href="([^"]*)">All', page)
    assert every == "/runners/sessions?q=task_1"


def test_the_same_list_is_had_by_curl(org: Org) -> None:
    factories.pending(org, labels={"env": "prod"})
    page = search(org, "state:pending label:env=prod", view="queue")
    (command,) = re.findall(r"<pre[^>]*>(curl [^<]*)</pre>", page.content.decode())
    path = command.split("/v1")[1].removesuffix("&#x27;").replace("&amp;", "&")
    answer = org.operator.api.get(path)
    assert len(answer.json()["items"]) == 1
    assert "state=pending" in path
    assert "label=env:prod" in path


def test_nothing_found_says_how_much_there_is_without_the_filter(org: Org) -> None:
    factories.pending(org)
    text = text_of(search(org, "task:none", view="queue"))
    assert "No session matches task:none in Queue; without the filter it holds 1 session." in text
    assert "Look in all sessions" in text


def test_a_page_that_looked_far_enough_leads_on(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = factories.pending(org, labels={"env": "prod"})
    for _ in range(5):
        factories.pending(org)
    monkeypatch.setattr(listing, "REACH", 3)
    response = search(org, "label:env=prod")
    assert "Older goes on from there." in text_of(response)
    for _ in range(3):
        older = re.search(r'href="([^"]*)" rel="next"', response.content.decode())
        if older is None or rows(response):
            break
        address = "/runners/sessions" + older[1].replace("&amp;", "&")
        response = browser(org.operator).get(address)
    assert rows(response) == named(wanted)


def test_how_many_there_are(org: Org) -> None:
    on = factories.profile(org)
    factories.queue(org, on, 60)
    assert "60 sessions" in text_of(browser(org.viewer).get("/runners/sessions?view=queue"))
    assert "60 sessions" in text_of(search(org, "state:pending"))
    few = search(org, "state:pending", limit="25")
    assert len(rows(few)) == 25
    assert search(org, "task", limit="26").status_code == 400


class TestFailuresByCause:
    def test_each_group_leads_to_its_list(self, org: Org) -> None:
        wanted = failed(org, code="disk_full")
        failed(org, code="no_route")
        response = browser(org.viewer).get("/runners/sessions?view=completed")
        links = re.findall(r'href="([^"]*)"><code>disk_full', response.content.decode())
        address = links[0].replace("&amp;", "&")
        assert rows(browser(org.viewer).get(address)) == named(wanted)

    def test_they_are_those_of_the_filter(self, org: Org) -> None:
        failed(org, factories.pending(org, task_id="mine"), code="disk_full")
        failed(org, factories.pending(org, task_id="other"), code="no_route")
        page = search(org, "task:mine", view="attention").content
        assert b"disk_full" in page
        assert b"no_route" not in page

    def test_what_ended_well_is_none(self, org: Org) -> None:
        session = factories.pending(org)
        with org.scope():
            lifecycle.cancel(session.id, by=org.operator.principal)
        page = browser(org.viewer).get("/runners/sessions?view=completed")
        assert "Failures by cause" not in text_of(page)


@pytest.mark.parametrize("view", ["queue", "active", "attention", "completed"])
def test_a_search_costs_no_more_than_a_list(org: Org, view: str) -> None:
    for _ in range(3):
        failed(org)
        factories.running(org)
        factories.pending(org)
    client = browser(org.operator)
    later = clock.rfc3339(clock.now() - timedelta(days=1))
    query = urlencode({"view": view, "q": "error:refused created:<2d", "ended_after": later})
    # Five of them know who asks.
    with at_most(10):
        assert client.get(f"/runners/sessions?{query}").status_code == 200
