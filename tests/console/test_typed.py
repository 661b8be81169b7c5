"""A form that is sent after its sender was signed out: nothing is done, no text is lost."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django.fixtures import Settings

from keeptrusts_runners import ids
from keeptrusts_runners.console import typed
from keeptrusts_runners.identity.models import User
from profiles.models import RunnerProfile
from tests import factories
from tests.browsers import browser, text_of
from tests.people import PASSWORD, Org, Person

NEW = "/runners/profiles/new"


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def person(org: Org) -> Person:
    user = User.objects.get(id=org.operator.user.id)
    user.set_password(PASSWORD)
    user.save(update_fields=["password"])
    return org.operator


def sent(client: Client, address: str, **fields: str) -> Any:
    """As a browser sends the form of this page."""
    return client.post(address, fields, headers={"Referer": f"http://testserver{address}"})


def hidden(response: Any) -> dict[str, str]:
    """What the sign-in form carries along."""
    pairs = re.findall(
        r'<input type="hidden" name="(\w+)" value="([^"]*)"', response.content.decode()
    )
    return {name: html.unescape(value) for name, value in pairs}


def signed_in(client: Client, person: Person, refused: Any, **more: str) -> Any:
    given = {"email": person.user.email, "password": PASSWORD} | hidden(refused) | more
    return client.post("/sign-in", given)


@pytest.mark.proves("access.expired-form")
def test_nothing_is_done_and_the_text_is_back_after_the_sign_in(org: Org, person: Person) -> None:
    client = browser()
    refused = sent(client, NEW, name="typed at length", execution_target="vm", labels="a=b")
    assert refused.status_code == 401
    assert "nothing was sent" in text_of(refused)
    done = signed_in(client, person, refused)
    assert (done.status_code, done["Location"]) == (303, NEW)
    again = client.get(NEW)
    form = again.context["form"]
    assert not form.is_bound
    assert form["name"].value() == "typed at length"
    assert form["labels"].value() == "a=b"
    assert form["max_attempts"].value() == 1
    assert "Nothing of it has been sent." in text_of(again)
    with org.scope():
        assert not RunnerProfile.objects.exists()
    assert client.get(NEW).context["form"]["name"].value() is None


def test_a_wrong_password_in_between_loses_nothing(org: Org, person: Person) -> None:
    client = browser()
    refused = sent(client, NEW, name="typed")
    wrong = signed_in(client, person, refused, password="wrong")
    assert wrong.status_code == 422
    signed_in(client, person, wrong)
    assert client.get(NEW).context["form"]["name"].value() == "typed"


def test_a_reason_is_kept_too_and_only_for_its_own_page(org: Org, person: Person) -> None:
    session = factories.running(org)
    executor = f"/runners/executors/{ids.encode('exec', session.executor_id or session.id)}"
    client = browser()
    refused = sent(client, f"{executor}/evict", reason="Disk errors")
    signed_in(client, person, refused)
    assert client.get(f"{executor}/drain").context["form"]["reason"].value() is None
    assert client.get(f"{executor}/evict").context["form"]["reason"].value() == "Disk errors"
    with org.scope():
        session.refresh_from_db()
    assert session.state == "running"


def test_strangers_make_the_server_keep_nothing(org: Org) -> None:
    before = Session.objects.count()
    sent(browser(), NEW, name="x" * 10_000)
    assert Session.objects.count() == before


@pytest.mark.parametrize("forged", ["", "nonsense", 'W10:1:"><script>'])
def test_what_is_not_ours_is_ignored(org: Org, person: Person, forged: str) -> None:
    client = browser()
    given = {"email": person.user.email, "password": PASSWORD, "typed": forged, "next": NEW}
    assert client.post("/sign-in", given).status_code == 303
    assert client.get(NEW).context["form"]["name"].value() is None


def test_too_much_is_not_carried(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typed, "MOST_CHARACTERS", 3)
    assert sent(browser(), NEW, name="four").status_code == 303


def test_no_token_or_password_is_carried(org: Org) -> None:
    refused = sent(browser(), NEW, name="x", password="secret", csrfmiddlewaretoken="t" * 32)
    _, fields = typed.signing.loads(hidden(refused)["typed"], salt="kt.typed")
    assert fields == {"name": "x"}
