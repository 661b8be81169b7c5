"""A harness revision's page, taking it out of use, and what a recall touches."""

from __future__ import annotations

import pytest

from keeptrusts_runners import ids
from profiles import catalog
from profiles.models import HarnessRevision, RunnerProfile
from sessions import harness_recalls
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import browser, text_of
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def on(org: Org) -> RunnerProfile:
    return factories.profile(org)


@pytest.fixture
def harness(org: Org, on: RunnerProfile) -> HarnessRevision:
    return publish(org, on, "1")


def publish(org: Org, on: RunnerProfile, version: str) -> HarnessRevision:
    with org.scope():
        return catalog.publish_harness(
            on.id, {"version": version, "image_ref": "r/app"}, by=org.admin.principal
        )


def page(harness: HarnessRevision, *more: str) -> str:
    owner, own = ids.encode("prof", harness.profile_id), ids.encode("harn", harness.id)
    return "/".join((f"/runners/profiles/{owner}/harnesses/{own}", *more))


def state(org: Org, session: RunnerSession) -> str:
    with org.scope():
        session.refresh_from_db()
    return str(session.state)


def test_the_page_names_the_sessions_that_are_pinned(
    org: Org, on: RunnerProfile, harness: HarnessRevision
) -> None:
    pinned = factories.pending(org, on)
    publish(org, on, "2")
    other = factories.pending(org, on)
    html = browser(org.viewer).get(page(harness)).content.decode()
    assert ids.encode("sess", pinned.id) in html
    assert ids.encode("sess", other.id) not in html


def test_a_recall_says_what_it_will_touch_before_it_does(
    org: Org, on: RunnerProfile, harness: HarnessRevision
) -> None:
    factories.running(org, factories.pending(org, on))
    factories.pending(org, on)
    response = browser(org.operator).get(page(harness, "recall"))
    text = text_of(response)
    assert "1 pending" in text
    assert "1 running" in text
    assert "Dispatches pin no revision then." in text
    with org.scope():
        harness.refresh_from_db()
    assert harness.status == "active"


def test_a_recall_needs_its_reason(org: Org, harness: HarnessRevision) -> None:
    response = browser(org.operator).post(page(harness, "recall"), {"reason": " "})
    assert response.status_code == 422
    assert b'href="#id_reason"' in response.content


def test_a_recall_leaves_what_runs_alone_unless_told(
    org: Org, on: RunnerProfile, harness: HarnessRevision
) -> None:
    waiting, running = (
        factories.pending(org, on),
        factories.running(org, factories.pending(org, on)),
    )
    client = browser(org.operator)
    done = client.post(page(harness, "recall"), {"reason": "Writes outside."})
    text = text_of(client.get(done["Location"]))
    assert "1 is recalled; 2 sessions were pinned to it." in text
    assert "Writes outside." in text
    assert (state(org, waiting), state(org, running)) == ("pending", "running")
    more = {"reason": "Writes outside.", "cancel_sessions": "on"}
    done = client.post(page(harness, "recall"), more)
    assert "2 of them cancelled." in text_of(client.get(done["Location"]))
    assert (state(org, waiting), state(org, running)) == ("cancelled", "cancelling")


def test_a_recall_of_more_than_it_can_says_so(
    org: Org, on: RunnerProfile, harness: HarnessRevision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness_recalls, "MAX_SESSIONS", 1)
    factories.pending(org, on)
    factories.pending(org, on)
    client = browser(org.operator)
    given = {"reason": "Defect", "cancel_sessions": "on"}
    done = client.post(page(harness, "recall"), given)
    assert "recall it again" in text_of(client.get(done["Location"]))


def test_deprecating_says_what_is_pinned_instead(
    org: Org, on: RunnerProfile, harness: HarnessRevision
) -> None:
    newer = publish(org, on, "2")
    client = browser(org.operator)
    assert "Dispatches pin 1 then." in text_of(client.get(page(newer, "deprecate")))
    client.post(page(newer, "deprecate"), {"reason": "Slow"})
    assert "Deprecated by" in text_of(client.get(page(newer)))
    with org.scope():
        latest = catalog.latest_harness(on.id, by=org.admin.principal)
    assert latest is not None
    assert latest.id == harness.id


def test_what_is_recalled_is_not_deprecated(org: Org, harness: HarnessRevision) -> None:
    client = browser(org.operator)
    client.post(page(harness, "recall"), {"reason": "Defect"})
    assert client.get(page(harness, "deprecate")).status_code == 409
    assert client.post(page(harness, "deprecate")).status_code == 409


def test_a_revision_is_found_below_its_own_profile_alone(
    org: Org, harness: HarnessRevision
) -> None:
    other = ids.encode("prof", factories.profile(org).id)
    own = ids.encode("harn", harness.id)
    client = browser(org.admin)
    assert client.get(f"/runners/profiles/{other}/harnesses/{own}").status_code == 404
    assert client.get(f"/runners/profiles/{other}/harnesses/{own}/recall").status_code == 404
