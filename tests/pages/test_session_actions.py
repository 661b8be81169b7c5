"""What people may do to one session from its page: what is offered, asked and done."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from keeptrusts_runners import ids
from sessions import lifecycle, outcomes, reaper
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browsers import browser, page_of, text_of
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


def cancelling(org: Org) -> RunnerSession:
    session = factories.running(org)
    with org.scope():
        return lifecycle.cancel(session.id, by=org.operator.principal)


def failed(org: Org) -> RunnerSession:
    session = factories.running(org)
    with org.scope():
        return outcomes.end(session.id, Verb.FAIL, {}, by=org.runner.principal)


def lost(org: Org, **fields: Any) -> RunnerSession:
    session = factories.running(org, factories.pending(org, **fields))
    with org.scope():
        RunnerSession.objects.filter(id=session.id).update(
            lease_expires_at=session.created_at - timedelta(seconds=1)
        )
    reaper.run_once()
    with org.scope():
        session.refresh_from_db()
    assert session.state == "lost"
    return session


def retries_of(org: Org, session: RunnerSession) -> list[RunnerSession]:
    with org.scope():
        return list(RunnerSession.objects.filter(retry_of=session))


def offered(org: Org, session: RunnerSession) -> set[str]:
    """The buttons and links of the header's group of actions."""
    page = browser(org.operator).get(page_of(session)).content.decode()
    group = page[page.index('<div class="actions">') : page.index('id="session-tabs"')]
    return set(re.findall(r">([A-Z][a-z ]+)</(?:a|button)>", group)) - {"Add note"}


def test_only_what_would_do_something_is_offered(org: Org) -> None:
    always = {"Dispatch again"}
    assert offered(org, factories.pending(org)) == {"Pause session", "Cancel session"} | always
    assert offered(org, factories.running(org)) == {"Pause session", "Cancel session"} | always
    assert offered(org, cancelling(org)) == {"Force cancel"} | always
    assert offered(org, failed(org)) == {"Retry session"} | always
    assert offered(org, lost(org)) == {"Decide outcome", "Retry session"} | always


def test_what_is_not_offered_is_explained(org: Org) -> None:
    text = text_of(browser(org.operator).get(page_of(failed(org))))
    assert "Cancel needs state pending, dispatched, running or paused." in text
    assert "Force cancel needs a cancellation that its executor has not confirmed." in text
    assert "Export needs the scope runners:audit." in text
    viewers = text_of(browser(org.viewer).get(page_of(failed(org))))
    assert "Pausing, cancelling and retrying need the scope runners:write." in viewers


def test_forcing_asks_first_and_ends_the_lease(org: Org) -> None:
    session = cancelling(org)
    client = browser(org.operator)
    asked = text_of(client.get(page_of(session, "force")))
    assert "It has not confirmed." in asked
    assert client.post(page_of(session, "force"), {"reason": "Host is gone"}).status_code == 303
    text = text_of(client.get(page_of(session)))
    assert "Cancelled" in text
    assert "Host is gone" in text_of(client.get(page_of(session, "events")))


def test_nothing_is_forced_that_was_not_asked_to_end(org: Org) -> None:
    response = browser(org.operator).get(page_of(factories.running(org), "force"))
    assert response.status_code == 409


def test_a_retry_is_a_new_session_with_the_reason_on_record(org: Org) -> None:
    session = failed(org)
    client = browser(org.operator)
    assert "starts from the beginning" in text_of(client.get(page_of(session, "retry")))
    response = client.post(page_of(session, "retry"), {"reason": "Registry is back"})
    (made,) = retries_of(org, session)
    assert response["Location"] == page_of(made)
    assert "Registry is back" in text_of(client.get(page_of(made, "events")))
    again = text_of(client.get(page_of(session, "retry")))
    assert f"It has been retried already, as {made}" in again


def test_an_open_session_is_not_retried(org: Org) -> None:
    session = factories.running(org)
    client = browser(org.operator)
    assert client.get(page_of(session, "retry")).status_code == 409
    assert client.post(page_of(session, "retry")).status_code == 409


def test_a_lost_session_is_decided_once(org: Org) -> None:
    session = lost(org)
    client = browser(org.operator)
    address = page_of(session, "disposition")
    assert "Find out first" in text_of(client.get(address))
    refused = client.post(address, {"decision": "accept"})
    assert refused.status_code == 422
    assert b"<title>Error: " in refused.content
    told = {"decision": "accept", "comment": "It is in the books."}
    assert client.post(address, told).status_code == 303
    assert client.get(address).status_code == 409
    assert client.post(address, told | {"decision": "abandon"}).status_code == 409


def test_the_decision_to_retry_leads_to_the_new_session(org: Org) -> None:
    session = lost(org)
    given = {"decision": "retry", "comment": "Nothing was sent."}
    response = browser(org.operator).post(page_of(session, "disposition"), given)
    (made,) = retries_of(org, session)
    assert response["Location"] == page_of(made)


def test_what_may_be_done_only_once_is_warned_of(org: Org) -> None:
    session = lost(org, side_effects="at_most_once")
    for page in ("retry", "disposition"):
        text = text_of(browser(org.operator).get(page_of(session, page)))
        assert "Its effects may happen at most once." in text


@pytest.mark.parametrize("page", ["force", "retry", "disposition"])
def test_acting_is_for_operators_of_the_organization(org: Org, page: str) -> None:
    session = lost(org)
    for method in ("get", "post"):
        assert getattr(browser(org.viewer), method)(page_of(session, page)).status_code == 403
        outsider = browser(Org().operator)
        assert getattr(outsider, method)(page_of(session, page)).status_code == 404


def test_tabs_are_addresses_and_say_how_much_there_is(org: Org) -> None:
    session = factories.running(org)
    page = browser(org.viewer).get(page_of(session)).content.decode()
    assert f'<a href="{page_of(session)}" aria-current="page">Overview' in page
    assert re.search(rf'<a href="{page_of(session, "events")}">Events <span[^>]*>\d+<', page)


def test_the_header_refreshes_alone_on_every_other_tab(org: Org) -> None:
    session = factories.running(org)
    client = browser(org.viewer)
    events = client.get(page_of(session, "events")).content.decode()
    address = f"{page_of(session, 'head')}?tab=Events"
    assert f'data-refresh="{address}"' in events
    head = client.get(address, headers={"HX-Request": "true"})
    assert b"<html" not in head.content
    assert b'id="session-tabs"' in head.content
    assert b'aria-current="page">Events' in head.content
    assert browser(Org().viewer).get(address).status_code == 404
    assert ids.encode("sess", session.id) in text_of(head)
