"""Tries of passwords: who tries too often waits, and is told for how long and nothing else."""

from __future__ import annotations

import re
import threading
from collections import Counter
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection, connections
from django.db.models import F
from django.test import Client, RequestFactory
from pytest_django.fixtures import Settings

from keeptrusts_runners import ids
from keeptrusts_runners.errors import TooManyRequests
from keeptrusts_runners.identity import accounts, passwords
from keeptrusts_runners.identity.models import PasswordTries, User
from tests.browsers import text_of
from tests.people import Org

PASSWORD = "correct horse battery staple"


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def user() -> User:
    return accounts.create_user(f"{ids.new()}@example.com", PASSWORD)


@pytest.fixture
def address() -> str:
    """A source that no other test has."""
    random = ids.new().bytes
    return f"10.{random[-1]}.{random[-2]}.{random[-3]}"


def sign_in(email: str, password: str = "wrong", address: str = "127.0.0.1") -> Any:
    given = {"email": email, "password": password}
    return Client(REMOTE_ADDR=address).post("/sign-in", given)


def token(email: str, password: str, address: str = "127.0.0.1") -> Any:
    form = urlencode({"grant_type": "password", "username": email, "password": password})
    kind = "application/x-www-form-urlencoded"
    return Client(REMOTE_ADDR=address).post("/v1/auth/token", form, content_type=kind)


def earlier(by: timedelta) -> None:
    """As if so much time had passed since every try."""
    PasswordTries.objects.update(last_at=F("last_at") - by)


def nobody() -> str:
    return f"{ids.new()}@example.com"


@pytest.mark.proves("access.password-tries")
def test_after_some_wrong_tries_even_the_right_password_waits(user: User) -> None:
    for _ in range(passwords.FREE_BY_ACCOUNT):
        assert sign_in(user.email).status_code == 422
    refused = sign_in(user.email, PASSWORD)
    assert refused.status_code == 429
    assert refused["Retry-After"] == "1"
    assert "Too many tries. Wait 1 second." in text_of(refused)
    assert f'value="{user.email}"' in refused.content.decode()
    earlier(timedelta(seconds=1))
    assert sign_in(user.email, PASSWORD).status_code == 303


@pytest.mark.proves("access.password-tries")
def test_the_wait_doubles_up_to_its_longest(user: User) -> None:
    waits = []
    for _ in range(passwords.FREE_BY_ACCOUNT):
        sign_in(user.email)
    for _ in range(12):
        waits.append(int(sign_in(user.email)["Retry-After"]))
        earlier(timedelta(seconds=waits[-1]))
        assert sign_in(user.email).status_code == 422
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]


@pytest.mark.proves("access.password-tries")
def test_an_address_without_an_account_is_answered_alike(user: User) -> None:
    def answers(email: str) -> list[tuple[int, str]]:
        found = [sign_in(email) for _ in range(passwords.FREE_BY_ACCOUNT + 1)]
        return [(each.status_code, hidden(each.content.decode(), email)) for each in found]

    def hidden(html: str, email: str) -> str:
        html = re.sub(r'(csrfmiddlewaretoken"\s+value=")[^"]*', r"\1", html.replace(email, "…"))
        return re.sub(r'(server-time"\s+content=")[^"]*|<code>[0-9a-f]{32}</code>', r"\1", html)

    assert answers(user.email) == answers(nobody())


@pytest.mark.proves("access.password-tries")
def test_the_token_route_and_the_form_share_the_count() -> None:
    org = Org()
    user = org.operator.user
    user.set_password(PASSWORD)
    user.save(update_fields=["password"])
    for _ in range(passwords.FREE_BY_ACCOUNT):
        assert token(user.email.upper(), "wrong").status_code == 400
    refused = token(user.email, PASSWORD)
    assert (refused.status_code, refused["Retry-After"]) == (429, "1")
    assert refused.json()["error"] == "slow_down"
    assert sign_in(user.email, PASSWORD).status_code == 429
    earlier(timedelta(seconds=1))
    assert token(user.email, PASSWORD).status_code == 200


@pytest.mark.proves("access.password-tries")
def test_one_source_is_counted_over_all_accounts(user: User, address: str) -> None:
    for _ in range(passwords.FREE_BY_ADDRESS):
        assert sign_in(nobody(), address=address).status_code == 422
    assert sign_in(user.email, PASSWORD, address).status_code == 429
    assert sign_in(user.email, PASSWORD, "192.0.2.1").status_code == 303


def test_a_network_of_ipv6_is_one_source() -> None:
    prefix = f"2001:db8:{ids.new().hex[-4:]}:1"
    for number in range(passwords.FREE_BY_ADDRESS):
        sign_in(nobody(), address=f"{prefix}::{number:x}")
    assert sign_in(nobody(), address=f"{prefix}::ffff").status_code == 429


def test_success_counts_for_nothing(
    user: User, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "FREE_BY_ADDRESS", 3)
    for _ in range(4):
        for _ in range(passwords.FREE_BY_ACCOUNT - 1):
            assert sign_in(user.email).status_code == 422
        assert sign_in(user.email, PASSWORD, address).status_code == 303
    assert sign_in(user.email, address=address).status_code == 422


@pytest.mark.proves("access.password-tries")
def test_tries_at_the_same_time_are_all_counted(user: User) -> None:
    """A hundred guesses at once are as many as one after another."""
    request, outcomes = RequestFactory().post("/sign-in"), Counter[str]()
    begin = threading.Barrier(20)

    def guess() -> None:
        begin.wait()
        try:
            passwords.verify(user.email, "wrong", request)
            outcomes["looked at"] += 1
        except TooManyRequests:
            outcomes["waits"] += 1
        finally:
            connections.close_all()

    threads = [threading.Thread(target=guess) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == {"looked at": passwords.FREE_BY_ACCOUNT, "waits": 15}


def test_the_table_tells_no_address(user: User, address: str) -> None:
    sign_in(user.email, address=address)
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(t::text, ' ') FROM identity_password_tries t")
        (everything,) = cursor.fetchone()
    assert user.email not in everything
    assert address not in everything


def test_what_is_an_hour_old_is_forgotten(user: User) -> None:
    for _ in range(passwords.FREE_BY_ACCOUNT):
        sign_in(user.email)
    earlier(passwords.FORGOTTEN_AFTER)
    assert sign_in(user.email).status_code == 422
    before = PasswordTries.objects.count()
    earlier(passwords.FORGOTTEN_AFTER)
    assert passwords.clean_up() == before
    assert not PasswordTries.objects.exists()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (121, "3 minutes")],
)
def test_waits_are_told_in_words(seconds: int, words: str) -> None:
    assert passwords.spoken(seconds) == words
