"""The Artifacts tab: what a session has stored, in pages."""

from __future__ import annotations

import re

import pytest

from grants.models import Artifact
from keeptrusts_runners import ids
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import at_most, browser, page_of, text_of
from tests.people import Org


@pytest.fixture
def org() -> Org:
    return Org()


def stored(org: Org, session: RunnerSession, name: str, **fields: str) -> Artifact:
    by = org.runner.principal
    with org.scope():
        return Artifact.objects.create(
            organization_id=org.id,
            session_id=session.id,
            name=name,
            kind="log",
            media_type="text/plain",
            size_bytes=1536,
            sha256="ab" * 32,
            lease_epoch=1,
            created_by=by.actor,
            **fields,
        )


def test_each_is_listed_with_its_digest_and_who_stored_it(org: Org) -> None:
    session = factories.running(org)
    made = stored(org, session, "<b>report</b>\u202etxt")
    stored(org, session, "lost.log", status="missing")
    response = browser(org.viewer).get(page_of(session, "artifacts"))
    text = text_of(response)
    for words in ("1.5 KiB", "text/plain", org.runner.account.name, "Stored", "Missing"):
        assert words in text
    html = response.content.decode()
    address = page_of(session, "artifacts", ids.encode("art", made.id))
    assert f'href="{address}/preview"' in html
    assert len(re.findall(r'href="[^"]*" download', html)) == 1
    assert f'data-copy="{"ab" * 32}"' in html
    assert "<b>report" not in html
    assert "\u202e" not in html


def test_pages_go_on_by_key(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keeptrusts_runners.api.pagination.DEFAULT_LIMIT", 2)
    session = factories.running(org)
    for number in range(3):
        stored(org, session, f"file-{number}.log")
    client, here = browser(org.viewer), page_of(session, "artifacts")
    html = client.get(here).content.decode()
    assert "file-2.log" in html
    assert "file-0.log" not in html
    older = re.search(r'href="(\?[^"]*)" rel="next"', html)
    assert older is not None
    assert "file-0.log" in client.get(here + older[1]).content.decode()
    assert client.get(here + "?cursor=x").status_code == 400


def test_none_is_said(org: Org) -> None:
    session = factories.running(org)
    text = text_of(browser(org.viewer).get(page_of(session, "artifacts")))
    assert "None. The harness uploads them as it goes." in text


def test_is_not_there_for_others(org: Org) -> None:
    session = factories.running(org)
    assert browser(Org().admin).get(page_of(session, "artifacts")).status_code == 404


def test_its_cost_does_not_depend_on_how_many_there_are(org: Org) -> None:
    session = factories.running(org)
    for number in range(6):
        stored(org, session, f"file-{number}.log")
    client = browser(org.viewer)
    with at_most(10):
        assert client.get(page_of(session, "artifacts")).status_code == 200


def test_the_overview_names_each_and_leads_to_a_look_into_it(org: Org) -> None:
    session = factories.running(org)
    made = stored(org, session, "report.txt")
    html = browser(org.viewer).get(page_of(session)).content.decode()
    address = page_of(session, "artifacts", ids.encode("art", made.id), "preview")
    assert f'<a href="{address}">report.txt</a>' in html
