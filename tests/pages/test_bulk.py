"""Cancelling and retrying many: asked first, frozen, and watched."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from django.test import Client

from keeptrusts_runners import ids
from sessions import batch_work, lifecycle, outcomes, retries
from sessions.batch_models import RunnerBatch
from sessions.models import RunnerSession
from sessions.pages import bulk
from sessions.states import Verb
from tests import factories
from tests.browsers import at_most, browser, text_of
from tests.people import Org

CANCEL, RETRY = "/runners/sessions/bulk/cancel", "/runners/sessions/bulk/retry"


@pytest.fixture
def org() -> Org:
    return Org()


def failed(org: Org) -> RunnerSession:
    session = factories.running(org)
    with org.scope():
        return outcomes.end(session.id, Verb.FAIL, {}, by=org.runner.principal)


def sent(client: Client, asked: Any, **more: str) -> Any:
    """The form of this page, filled in."""
    page = asked.content.decode()
    hidden = dict(re.findall(r'<input type="hidden" name="(filter|as_of)" value="([^"]*)"', page))
    given = {name: html.unescape(value) for name, value in hidden.items()}
    action = re.search(r'method="post" action="([^"]*bulk[^"]*)"', page)
    assert action
    return client.post(action[1], given | more)


def work_off() -> None:
    while batch_work.run_once():
        pass


def states(org: Org, *sessions: RunnerSession) -> list[str]:
    with org.scope():
        found = RunnerSession.objects.in_bulk([session.id for session in sessions])
    return [found[session.id].state for session in sessions]


def test_what_matches_is_shown_frozen_and_cancelled(org: Org) -> None:
    on = factories.profile(org)
    chosen = [factories.pending(org, on, task_id="wrong") for _ in range(2)]
    other = factories.pending(org, on)
    client = browser(org.operator)
    asked = client.get(f"{CANCEL}?q=task:wrong&view=queue")
    text = text_of(asked)
    assert "Cancel 2 sessions?" in text
    assert "2 pending" in text
    assert "none of them holds any" in text
    assert all(str(session) in text for session in chosen)
    late = factories.pending(org, on, task_id="wrong")
    response = sent(client, asked, reason="Wrong input")
    assert response.status_code == 303
    assert "0 of 2" in text_of(client.get(response["Location"]))
    work_off()
    assert states(org, *chosen, other, late) == ["cancelled", "cancelled", "pending", "pending"]
    done = text_of(client.get(response["Location"]))
    assert "2 of 2" in done
    assert "Wrong input" in done
    assert "Cancelled 2" in done


def test_ticked_rows_alone_are_chosen(org: Org) -> None:
    first, second, third = (factories.pending(org) for _ in range(3))
    client = browser(org.operator)
    page = client.get("/runners/sessions?view=queue").content.decode()
    assert page.count("data-select") == 3
    asked = client.get(f"{CANCEL}?session_id={first}&session_id={third}")
    assert "2 that were ticked" in text_of(asked)
    sent(client, asked, reason="These")
    work_off()
    assert states(org, first, second, third) == ["cancelled", "pending", "cancelled"]


def test_active_grants_are_told(org: Org) -> None:
    session = factories.running(org)
    body = {"operation": "x", "reason": "y", "ttl_seconds": 60}
    org.operator.api.post(factories.path(session, "permissions"), body)
    text = text_of(browser(org.operator).get(f"{CANCEL}?view=active"))
    assert "1 session holds some: they end with the cancellation" in text


def test_failures_are_retried_and_what_was_is_skipped(org: Org) -> None:
    one, two = failed(org), failed(org)
    client = browser(org.operator)
    asked = client.get(f"{RETRY}?view=completed&q=ended:%3C1h")
    with org.scope():
        retries.retry(two.id, by=org.operator.principal)
    response = sent(client, asked, reason="Registry is back")
    work_off()
    text = text_of(client.get(response["Location"]))
    assert "Retried 1" in text
    assert "Skipped 1" in text
    assert "already_retried" in text
    with org.scope():
        assert RunnerSession.objects.filter(retry_of=one).count() == 1
    skipped = text_of(client.get(f"{response['Location']}?outcome=skipped"))
    assert str(two)[-8:] in skipped
    assert str(one)[-8:] not in skipped


def test_a_reason_is_needed_and_what_was_typed_is_kept(org: Org) -> None:
    factories.pending(org)
    client = browser(org.operator)
    asked = client.get(f"{CANCEL}?view=queue")
    refused = sent(client, asked, reason=" ", option="on")
    assert refused.status_code == 422
    assert b"<title>Error: " in refused.content
    assert b"checked" in refused.content
    assert 'href="#id_reason"' in refused.content.decode()
    # The form that is shown again is as good as the first.
    assert sent(client, refused, reason="Now").status_code == 303


def test_many_are_typed(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "TYPED_BEYOND", 2)
    for _ in range(3):
        factories.pending(org)
    client = browser(org.operator)
    asked = client.get(f"{CANCEL}?view=queue")
    assert "Type 3 to go on." in text_of(asked)
    for typed in ("", "2", "three"):
        refused = sent(client, asked, reason="All", typed=typed)
        assert refused.status_code == 422
        assert "3 sessions match now" in text_of(refused)
    assert sent(client, asked, reason="All", typed="3").status_code == 303


def test_more_than_a_batch_takes_is_said_before(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions.batches.MAX_SESSIONS", 2)
    for _ in range(3):
        factories.pending(org)
    client = browser(org.operator)
    asked = client.get(f"{CANCEL}?view=queue")
    assert "which is the most that one batch takes" in text_of(asked)
    assert b'name="reason"' not in asked.content


def test_nothing_to_act_on_is_said(org: Org) -> None:
    factories.pending(org)
    text = text_of(browser(org.operator).get(f"{RETRY}?q=state:pending"))
    assert "None of what matches has ended" in text


def test_everything_is_no_filter_and_goes_back_to_the_list(org: Org) -> None:
    client = browser(org.operator)
    for query in ("", "?q=state:gone"):
        response = client.get(f"{CANCEL}{query}")
        assert response.status_code == 303
        assert response["Location"].startswith("/runners/sessions?")
    factories.pending(org)
    assert "Cancel all 1 matching" not in text_of(client.get("/runners/sessions"))


@pytest.mark.parametrize("as_of", ["", "soon", "2999-01-01T00:00:00Z"])
@pytest.mark.parametrize("document", ["", "{}", "[]", '{"state": ["gone"]}', '{"nonsense": 1}'])
def test_a_form_that_was_tampered_with_does_nothing(org: Org, as_of: str, document: str) -> None:
    given = {"filter": document, "as_of": as_of, "reason": "x"}
    response = browser(org.operator).post(CANCEL, given)
    assert response.status_code == 422
    with org.scope():
        assert not RunnerBatch.objects.exists()


def test_a_batch_can_be_stopped(org: Org) -> None:
    session = factories.pending(org)
    client = browser(org.operator)
    response = sent(client, client.get(f"{CANCEL}?view=queue"), reason="All")
    stopped = client.post(f"{response['Location']}/stop")
    assert stopped.status_code == 303
    text = text_of(client.get(response["Location"]))
    assert "Stopped by" in text
    assert "Skipped 1" in text
    assert states(org, session) == ["pending"]
    assert client.post(f"{response['Location']}/stop").status_code == 303


def test_batches_are_listed(org: Org) -> None:
    client = browser(org.operator)
    assert "No batches yet." in text_of(client.get("/runners/sessions/batches"))
    factories.pending(org)
    sent(client, client.get(f"{CANCEL}?view=queue"), reason="Superseded")
    work_off()
    with at_most(9):
        text = text_of(client.get("/runners/sessions/batches"))
    assert "Superseded" in text
    assert "1 of 1" in text
    assert "Superseded" not in text_of(browser(Org().viewer).get("/runners/sessions/batches"))


def test_acting_on_many_is_for_operators_of_the_organization(org: Org) -> None:
    session = factories.pending(org)
    client = browser(org.operator)
    made = sent(client, client.get(f"{CANCEL}?view=queue"), reason="All")["Location"]
    for address in (CANCEL, RETRY):
        assert browser(org.viewer).get(f"{address}?view=queue").status_code == 403
        assert browser(org.viewer).post(address).status_code == 403
    viewers = browser(org.viewer).get("/runners/sessions?view=queue")
    assert b"data-select" not in viewers.content
    assert b"Cancel selected" not in viewers.content
    assert browser(org.viewer).get(made).status_code == 200
    assert browser(org.viewer).post(f"{made}/stop").status_code == 403
    outsider = browser(Org().operator)
    assert outsider.get(made).status_code == 404
    assert outsider.post(f"{made}/stop").status_code == 404
    unknown = f"/runners/sessions/batches/{ids.encode('batch', ids.new())}"
    assert outsider.get(unknown).status_code == 404
    for foreign_or_unknown in (session, ids.encode("sess", ids.new())):
        asked = outsider.get(f"{CANCEL}?session_id={foreign_or_unknown}")
        assert asked.status_code == 422
        assert "No such object" in text_of(asked)
    filtered = json.dumps({"profile_id": ids.encode("prof", session.profile_id)})
    given = {"filter": filtered, "as_of": "2026-01-01T00:00:00Z", "reason": "x"}
    assert outsider.post(CANCEL, given).status_code == 422


def test_failures_of_the_last_hour_are_retried_in_four_clicks(org: Org) -> None:
    """From the fleet: the failed ones, those of the last hour, all of them, and the button."""
    session = failed(org)
    client = browser(org.operator)

    def follow(page: Any, pattern: str) -> Any:
        (found, *_) = re.findall(pattern, page.content.decode())
        path = html.unescape(found)
        return client.get(path if path.startswith("/") else f"/runners/sessions{path}")

    failures = follow(client.get("/runners"), r'href="([^"]*state=failed[^"]*)"')
    recent = follow(failures, r'href="([^"]*)">last 1h')
    asked = follow(recent, r'href="([^"]*)">Retry all 1 matching')
    assert sent(client, asked, reason="The registry is back").status_code == 303
    work_off()
    with org.scope():
        assert RunnerSession.objects.filter(retry_of=session).exists()


def test_cancelling_leaves_what_ended_in_between(org: Org) -> None:
    first, second = factories.pending(org), factories.pending(org)
    client = browser(org.operator)
    response = sent(client, client.get(f"{CANCEL}?view=queue"), reason="All")
    with org.scope():
        lifecycle.cancel(first.id, by=org.operator.principal)
    work_off()
    text = text_of(client.get(response["Location"]))
    assert "Cancelled 1" in text
    assert "Skipped 1" in text
    assert "already_ended" in text
    assert states(org, second) == ["cancelled"]
