"""What stops things is found from the fleet within four clicks, by plain links and forms."""

from __future__ import annotations

import html
import re

import pytest
from django.test import Client

from profiles import catalog
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import browser
from tests.people import Org

LINK = re.compile(r'<a\b[^>]*\bhref="([^"]*)"[^>]*>(.*?)</a>', re.S)


class Hand:
    """Clicks what it reads, and counts."""

    def __init__(self, client: Client) -> None:
        self.client, self.clicks, self.at = client, 0, "/runners"
        self.page = self.opened("/runners")

    def opened(self, address: str) -> str:
        response = self.client.get(address)
        assert response.status_code == 200, address
        self.at = address
        return response.content.decode()

    def click(self, words: str) -> None:
        """The first link that is called so."""
        for address, text in LINK.findall(self.page):
            if re.sub(r"<[^>]*>|\s+", " ", text).strip() == words:
                self.clicks += 1
                self.page = self.opened(html.unescape(address))
                return
        raise AssertionError(f"no link {words!r} on {self.at}")

    def send(self, button: str, **fields: str) -> None:
        """The form of this page, which has this button."""
        assert re.search(rf'<button class="danger"[^>]*>{button}</button>', self.page)
        self.clicks += 1
        response = self.client.post(self.at, fields)
        assert response.status_code == 303
        self.page = self.opened(response["Location"])


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def session(org: Org) -> RunnerSession:
    on, by = factories.profile(org, name="builders"), org.admin.principal
    with org.scope():
        catalog.publish_harness(on.id, {"version": "v1", "image_ref": "r/app"}, by=by)
    return factories.running(org, factories.pending(org, on))


@pytest.fixture
def hand(org: Org, session: RunnerSession) -> Hand:
    return Hand(browser(org.operator))


def test_a_profile_is_paused(hand: Hand) -> None:
    hand.click("builders")
    hand.click("Pause profile")
    hand.send("Pause profile")
    assert hand.clicks <= 4
    assert "builders is paused" in hand.page


def test_a_revision_is_recalled_with_its_sessions(
    org: Org, session: RunnerSession, hand: Hand
) -> None:
    hand.click("v1")
    hand.click("Recall")
    hand.send("Recall revision", reason="Defect", cancel_sessions="on")
    assert hand.clicks <= 4
    assert "1 of them cancelled." in hand.page
    with org.scope():
        session.refresh_from_db()
    assert session.state == "cancelling"


@pytest.mark.parametrize("verb", ["Drain", "Evict"])
def test_an_executor_is_stopped(org: Org, hand: Hand, verb: str) -> None:
    hand.click("Executors")
    hand.click(org.runner.account.name)
    hand.click(verb)
    hand.send(f"{verb} executor", reason="Disk errors")
    assert hand.clicks <= 4
    assert "Drained by" in hand.page
