"""Signing in and out, and the theme."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path
from pytest_django.fixtures import Settings

from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import User

PASSWORD = "correct horse battery staple"

urlpatterns = [
    path("runners", lambda request: HttpResponse("fleet")),
    path("", include("keeptrusts_runners.console.urls")),
]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    """The hash's cost is Django's business; its half second a test is not worth ours."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def user() -> User:
    return accounts.create_user(f"{ids.new()}@example.com", PASSWORD)


def sign_in(client: Client, email: str, password: str = PASSWORD, then: str = "") -> HttpResponse:
    return client.post("/sign-in", {"email": email, "password": password, "next": then})


def test_signing_in_leads_where_one_was_going(user: User) -> None:
    response = sign_in(Client(), user.email, then="/runners?view=queue")
    assert (response.status_code, response["Location"]) == (303, "/runners?view=queue")


def test_the_address_is_taken_as_people_type_it(user: User) -> None:
    assert sign_in(Client(), f" {user.email.upper()} ").status_code == 303


def test_the_session_key_changes_at_sign_in_and_dies_at_sign_out(user: User) -> None:
    client = Client()
    client.session.save()
    before = client.session.session_key
    sign_in(client, user.email)
    during = client.session.session_key
    assert during != before
    assert client.post("/sign-out")["Location"] == "/sign-in"
    assert not client.session.exists(during)


def test_every_wrong_answer_gets_the_same_refusal(user: User) -> None:
    attempts = [
        sign_in(Client(), user.email, "wrong"),
        sign_in(Client(), "nobody@example.com"),
        sign_in(Client(), "not an address"),
    ]
    User.objects.filter(pk=user.pk).update(is_active=False)
    attempts.append(sign_in(Client(), user.email))
    for response in attempts:
        assert response.status_code == 422
        assert b"do not fit together" in response.content
        assert b"<title>Error: Sign in" in response.content


def test_the_password_is_never_sent_back(user: User) -> None:
    assert b"wrong-pass" not in sign_in(Client(), user.email, "wrong-pass").content


@pytest.mark.parametrize("field", ["email", "password"])
@pytest.mark.parametrize("value", ["", "a\x00b", "x" * 5_000])
def test_unusable_values_are_refused(user: User, field: str, value: str) -> None:
    fields = {"email": user.email, "password": PASSWORD} | {field: value}
    response = Client().post("/sign-in", fields)
    assert response.status_code == 422
    assert f'href="#id_{field}"'.encode() in response.content


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "http:evil.example",
        "javascript:alert(1)",
        "http://testserver//evil.example/",
        "\nhttps://evil.example",
        "relative",
    ],
)
def test_signing_in_never_leads_to_another_site(user: User, elsewhere: str) -> None:
    assert sign_in(Client(), user.email, then=elsewhere)["Location"] == "/runners"


def test_the_form_helps_password_managers() -> None:
    html = Client().get("/sign-in").content.decode()
    assert 'autocomplete="username"' in html
    assert 'autocomplete="current-password"' in html
    assert '<label for="id_email">' in html


def test_who_is_signed_in_needs_no_form(user: User) -> None:
    client = Client()
    client.force_login(user)
    assert client.get("/sign-in?next=/runners")["Location"] == "/runners"


def test_a_link_cannot_sign_anyone_out(user: User) -> None:
    client = Client()
    client.force_login(user)
    response = client.get("/sign-out")
    assert (response.status_code, response["Allow"]) == (405, "POST")
    assert client.get("/sign-in").status_code == 303


def test_choosing_an_organization_needs_somebody() -> None:
    assert Client().get("/choose-organization")["Location"] == "/sign-in"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_is_in_the_first_byte(theme: str) -> None:
    client = Client()
    response = client.post("/preferences/theme", {"theme": theme, "next": "/sign-in"})
    assert (response.status_code, response["Location"]) == (303, "/sign-in")
    assert f'data-theme="{theme}"'.encode() in client.get("/sign-in").content
    client.post("/preferences/theme", {"theme": "system"})
    assert b"data-theme=" not in client.get("/sign-in").content


def test_an_unknown_theme_is_refused_and_a_forged_cookie_ignored() -> None:
    client = Client()
    assert client.post("/preferences/theme", {"theme": '"><script>'}).status_code == 422
    client.cookies["theme"] = "evil"
    assert b"evil" not in client.get("/sign-in").content
