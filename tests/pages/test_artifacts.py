"""An artifact's page: what it shows, to whom, and that nothing on it is ever more than shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from keeptrusts_runners import ids
from sessions.models import RunnerSession
from tests import factories, stored
from tests.browsers import at_most, browser, page_of, text_of
from tests.contract.calls import content
from tests.grants.test_previews import IMAGES, png
from tests.people import Org, Person

SCRIPT = "<script>alert(document.domain)</script>"


@pytest.fixture(scope="module")
def org() -> Org:
    made = Org()
    assert made.viewer, made.auditor
    return made


@pytest.fixture(scope="module")
def session(org: Org) -> RunnerSession:
    return factories.running(org)


def shown(
    org: Org, session: RunnerSession, artifact: dict[str, Any], by: Person | None = None
) -> Any:
    address = page_of(session, "artifacts", artifact["id"], "preview")
    return browser(by or org.viewer).get(address)


def test_text_is_shown_escaped_with_what_cannot_be_seen(org: Org, session: RunnerSession) -> None:
    text = f"first\n{SCRIPT} \x1b[31mred \u202egpj.exe\x07\n"
    made = stored.put(org, session, text.encode(), "<b>log</b>.txt", "text/plain")
    page = shown(org, session, made)
    assert page.status_code == 200
    body = page.content.decode()
    assert "&lt;script&gt;alert(document.domain)&lt;/script&gt; red" in body
    assert r"\u202e" in text_of(page)
    assert r"\u0007" in text_of(page)
    assert SCRIPT not in body
    assert "<b>log</b>" not in body
    assert not set(body) & {"\x1b", "\u202e", "\x07"}
    assert made["sha256"] in body


def test_json_csv_and_images_are_shown_as_what_they_are(org: Org, session: RunnerSession) -> None:
    made = stored.put(org, session, f'{{"key": "{SCRIPT}"}}'.encode(), "a.json", "application/json")
    body = shown(org, session, made).content.decode()
    assert 'class="json"' in body
    assert SCRIPT not in body
    made = stored.put(org, session, f"a,b\n1,{SCRIPT}\n".encode(), "a.csv", "text/csv")
    body = shown(org, session, made).content.decode()
    assert "<td>&lt;script&gt;" in body
    made = stored.put(org, session, png(), "a.png", "image/png")
    body = shown(org, session, made).content.decode()
    address = page_of(session, "artifacts", made["id"], "image")
    assert f'<img src="{address}" width="2" height="3"' in body


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_served_inline_under_its_own_type_alone(
    name: str, org: Org, session: RunnerSession
) -> None:
    media_type, data = IMAGES[name]
    made = stored.put(org, session, data, "picture", "application/octet-stream")
    address = page_of(session, "artifacts", made["id"], "image")
    answer = browser(org.viewer).get(address)
    assert (answer.status_code, content(answer)) == (200, data)
    assert answer["Content-Type"] == media_type
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
    assert answer["Content-Disposition"] == "inline"
    assert browser(org.viewer).get(address, headers={"If-None-Match": "*"}).status_code == 304
    assert browser(Org().viewer).get(address).status_code == 404


@pytest.mark.proves("artifact.preview")
@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png"),
        (b"<html>", "text/html"),
        (b"%PDF-1.7", "application/pdf"),
        (b"words", "text/plain"),
        (png(), "text/html"),
        (png(), "image/svg+xml"),
    ],
)
def test_nothing_else_is_ever_served_inline(
    data: bytes, media_type: str, org: Org, session: RunnerSession
) -> None:
    made = stored.put(org, session, data, "a.svg", media_type)
    place = page_of(session, "artifacts", made["id"], "image")
    assert browser(org.viewer).get(place).status_code == 404
    page = shown(org, session, made)
    assert page.status_code == 200
    assert "<img" not in page.content.decode()
    whole = browser(org.viewer).get(page_of(session, "artifacts", made["id"]))
    assert whole["Content-Disposition"].startswith("attachment")


def test_what_is_shown_is_on_record(org: Org, session: RunnerSession) -> None:
    made = stored.put(org, session, b"looked at", "a.txt", "text/plain")
    shown(org, session, made)
    query = f"?object={made['id']}&verb=artifact.downloaded"
    (item,) = org.auditor.api.get(f"/runners/audit{query}").json()["items"]
    assert item["actor"] == org.viewer.principal.actor
    assert item["detail"]["ranges"] == "0-8"


@pytest.mark.proves("artifact.integrity")
def test_damage_is_said_in_place_of_the_content(
    org: Org, session: RunnerSession, tmp_path: Path
) -> None:
    made = stored.put(org, session, b"precious words", "a.txt", "text/plain")
    stored.flip(org, made["sha256"], tmp_path)
    page = shown(org, session, made)
    assert page.status_code == 200
    assert "Content is broken" in text_of(page)
    assert "precious" not in text_of(page)
    assert "Download" not in text_of(page)
    stored.lose(org, made["sha256"])
    assert "Content is missing" in text_of(shown(org, session, made))


def test_an_auditor_has_it_read_back(org: Org, session: RunnerSession, tmp_path: Path) -> None:
    made = stored.put(org, session, os.urandom(300_000), "a.bin")
    address = page_of(session, "artifacts", made["id"], "verify")
    assert "Verify digest" not in text_of(shown(org, session, made))
    assert browser(org.viewer).post(address).status_code == 403
    assert browser(Org().auditor).post(address).status_code == 404
    auditor = browser(org.auditor)
    assert auditor.get(address).status_code == 405
    assert "Verify digest" in text_of(shown(org, session, made, by=org.auditor))
    done = auditor.post(address, follow=True)
    assert done.redirect_chain[0][1] == 303
    assert "Verified: the stored bytes have the recorded digest." in text_of(done)
    stored.flip(org, made["sha256"], tmp_path)
    assert "Broken: the stored bytes have another digest." in text_of(
        auditor.post(address, follow=True)
    )
    # Where all are listed, and on the fleet's page.
    listed = browser(org.viewer).get("/runners/artifacts/damaged")
    assert made["id"] in listed.content.decode()
    assert "damaged" in text_of(browser(org.viewer).get("/runners"))
    assert (
        made["id"] not in browser(Org().viewer).get("/runners/artifacts/damaged").content.decode()
    )


def test_a_page_is_its_organizations_and_its_sessions(org: Org, session: RunnerSession) -> None:
    made = stored.put(org, session, b"mine", "a.txt", "text/plain")
    other = factories.running(org)
    for by, where in ((Org().viewer, session), (org.viewer, other)):
        for more in ("preview", "image"):
            address = page_of(where, "artifacts", made["id"], more)
            assert browser(by).get(address).status_code == 404
    unknown = page_of(session, "artifacts", ids.encode("art", ids.new()), "preview")
    assert browser(org.viewer).get(unknown).status_code == 404
    assert browser().get(page_of(session, "artifacts", made["id"], "preview")).status_code == 302


def test_a_page_asks_a_bounded_number_of_questions(org: Org, session: RunnerSession) -> None:
    made = stored.put(org, session, b"a,b\n" * 1000, "a.csv", "text/csv")
    client = browser(org.viewer)
    address = page_of(session, "artifacts", made["id"], "preview")
    client.get(address)
    with at_most(12):
        assert client.get(address).status_code == 200
