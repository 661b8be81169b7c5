"""What people set for themselves, and what becomes of it on pages."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from keeptrusts_runners.identity import preferences
from keeptrusts_runners.identity.models import User
from tests import factories
from tests.browsers import browser, instants, page_of
from tests.people import Org, Person

CHOSEN = {"zone": "Asia/Kolkata", "theme": "dark", "updates": "on"}


@pytest.fixture
def org() -> Org:
    return Org()


def prefer(person: Person, **chosen: Any) -> None:
    user = User.objects.get(pk=person.user.pk)
    preferences.keep(user, preferences.changed(preferences.of(user), chosen))


def test_they_are_kept_with_the_account_and_hold_in_every_browser(org: Org) -> None:
    answer = browser(org.viewer).post("/runners/me", CHOSEN)
    assert (answer.status_code, answer["Location"]) == (303, "/runners/me")
    assert answer.cookies["theme"].value == "dark"
    html = browser(org.viewer).get("/runners").content.decode()
    (tag,) = re.findall("<html[^>]*>", html)
    assert tag == (
        '<html lang="en" data-theme="dark" data-zone="Asia/Kolkata" data-shortcuts="off">'
    )
    other = browser(org.operator).get("/runners").content.decode()
    assert '<html lang="en" data-zone="UTC">' in other


def test_the_form_shows_what_holds(org: Org) -> None:
    prefer(org.viewer, zone="Europe/Berlin", updates=False)
    html = browser(org.viewer).get("/runners/me").content.decode()
    assert '<option value="Europe/Berlin" selected>' in html
    assert re.search(r'name="shortcuts"[^>]*checked', html)
    assert not re.search(r'name="updates"[^>]*checked', html)


@pytest.mark.parametrize(
    "wrong", [{"zone": "Mars/Olympus"}, {"zone": ""}, {"zone": "../etc/passwd"}, {"theme": "pink"}]
)
def test_what_is_no_choice_is_refused_and_nothing_is_kept(org: Org, wrong: dict[str, str]) -> None:
    answer = browser(org.viewer).post("/runners/me", CHOSEN | wrong)
    assert answer.status_code == 422
    assert b"<title>Error: Preferences" in answer.content
    assert User.objects.get(pk=org.viewer.user.pk).preferences == {}


def test_what_cannot_hold_any_more_falls_back(org: Org) -> None:
    kept = {"zone": "Gone/Away", "theme": 3, "shortcuts": "no", "density": "high"}
    User.objects.filter(pk=org.viewer.user.pk).update(preferences=kept)
    assert browser(org.viewer).get("/runners").status_code == 200
    user = User.objects.get(pk=org.viewer.user.pk)
    assert preferences.of(user) == preferences.Preferences()


def test_a_stranger_has_none(org: Org) -> None:
    assert Client().get("/runners/me")["Location"] == "/sign-in?next=%2Frunners%2Fme"


@pytest.mark.proves("console.time")
def test_every_time_of_a_page_is_in_the_zone_that_the_header_names(org: Org) -> None:
    session = factories.running(org)
    for zone, suffix in (("UTC", "Z"), ("Asia/Kolkata", "+05:30"), ("America/St_Johns", None)):
        prefer(org.viewer, zone=zone)
        for address in (page_of(session), page_of(session, "events"), "/runners/sessions"):
            page = browser(org.viewer).get(address)
            assert f'data-zone="{zone}"' in page.content.decode()
            shown = instants(page)
            assert shown, address
            for machine, title, text in shown:
                assert machine.endswith("Z")
                assert title.endswith(suffix or ("-03:30", "-02:30"))
                if re.match(r"\d{4}-", text):
                    assert text.endswith(suffix or ("-03:30", "-02:30"))


def test_the_zone_of_a_page_is_not_the_next_ones(org: Org) -> None:
    prefer(org.viewer, zone="Asia/Kolkata")
    browser(org.viewer).get("/runners")
    assert 'data-zone="UTC"' in browser(org.operator).get("/runners").content.decode()
    assert 'data-zone="UTC"' in browser(org.viewer).get("/nowhere").content.decode()


def test_the_api_stays_in_utc(org: Org) -> None:
    session = factories.pending(org)
    prefer(org.viewer, zone="Asia/Kolkata")
    answer = org.viewer.api.get(factories.path(session))
    assert answer.json()["created_at"].endswith("Z")


def test_the_theme_of_the_header_is_kept_too(org: Org) -> None:
    client = browser(org.viewer)
    assert client.post("/preferences/theme", {"theme": "dark"}).status_code == 303
    assert 'data-theme="dark"' in browser(org.viewer).get("/runners").content.decode()


def test_signing_in_brings_the_theme_to_pages_without_an_account(org: Org) -> None:
    person = org.viewer
    person.user.set_password("correct-horse-battery")
    person.user.save(update_fields=["password"])
    prefer(person, theme="light")
    client = Client()
    client.post("/sign-in", {"email": person.user.email, "password": "correct-horse-battery"})
    client.post("/sign-out")
    assert 'data-theme="light"' in client.get("/sign-in").content.decode()


def test_staff_see_what_a_page_costs(org: Org) -> None:
    cost = re.compile(r"<span>\d+ ms, \d+ queries</span>")
    assert not cost.search(browser(org.viewer).get("/runners").content.decode())
    User.objects.filter(pk=org.viewer.user.pk).update(is_staff=True)
    assert cost.search(browser(org.viewer).get("/runners").content.decode())
