"""Members and service accounts: who may do what, and secrets that are shown once."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.sessions.models import Session

from keeptrusts_runners import ids
from keeptrusts_runners.identity.models import Membership, ServiceAccount, User
from tests import factories
from tests.browsers import browser, text_of
from tests.people import Machine, Org, Person

MEMBERS, ACCOUNTS = "/runners/members", "/runners/service-accounts"
SECRET = re.compile(r"kts_[A-Za-z0-9_-]{43}")


@pytest.fixture
def org() -> Org:
    return Org()


def account(machine: Machine | ServiceAccount, *more: str) -> str:
    found = machine.account if isinstance(machine, Machine) else machine
    return "/".join((ACCOUNTS, ids.encode("sa", found.id), *more))


def member(person: Person, *more: str) -> str:
    return "/".join((MEMBERS, ids.encode("user", person.user.id), *more))


def role_of(org: Org, person: Person) -> str | None:
    with org.scope():
        return Membership.objects.filter(user=person.user).values_list("role", flat=True).first()


@pytest.mark.parametrize("role", ["viewer", "operator", "approver", "auditor"])
def test_only_admins_see_people_and_machines(org: Org, role: str) -> None:
    client = browser(getattr(org, role))
    for address in (MEMBERS, ACCOUNTS, account(org.runner), member(org.admin)):
        assert client.get(address).status_code == 403
    for address in (member(org.admin), member(org.admin, "remove"), account(org.runner, "secrets"),
                    account(org.runner, "revoke"), f"{ACCOUNTS}/new", MEMBERS):  # fmt: skip
        assert client.post(address, {}).status_code == 403
    assert b"Service accounts" not in client.get("/runners").content


@pytest.mark.proves("api.not-yours")
def test_an_outsider_finds_nobody(org: Org) -> None:
    client = browser(Org().admin)
    pages = [account(org.runner), account(org.runner, "revoke"), member(org.viewer)]
    for address in [*pages, member(org.viewer, "remove")]:
        assert client.get(address).status_code == 404
        assert client.post(address, {"role": "admin"}).status_code in (404, 405)
    assert client.post(account(org.runner, "secrets")).status_code == 404
    assert org.viewer.user.email not in text_of(client.get(MEMBERS))
    assert org.runner.account.name not in text_of(client.get(ACCOUNTS))


# --- members ---------------------------------------------------------------------------------


def test_a_member_is_added_with_a_role(org: Org) -> None:
    user = User.objects.create(email=f"{ids.new().hex}@example.test", password="!")
    given = {"email": f" {user.email.upper()}", "role": "auditor"}
    client = browser(org.admin)
    response = client.post(MEMBERS, given)
    assert response.status_code == 303
    assert "is a member now, as auditor" in text_of(client.get(response["Location"]))
    assert role_of(org, Person(user, org.admin.principal)) == "auditor"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"email": "nobody@example.test", "role": "viewer"}, "email"),
        ({"email": "", "role": "viewer"}, "email"),
        ({"email": "x@example.test", "role": "runner"}, "role"),
        ({"email": "x@example.test"}, "role"),
    ],
)
def test_who_cannot_be_added_is_said_at_the_field(
    org: Org, given: dict[str, str], field: str
) -> None:
    response = browser(org.admin).post(MEMBERS, given)
    assert response.status_code == 422
    assert f'href="#id_{field}' in response.content.decode()


def test_a_member_twice_is_refused(org: Org) -> None:
    given = {"email": org.viewer.user.email, "role": "admin"}
    assert browser(org.admin).post(MEMBERS, given).status_code == 422
    assert role_of(org, org.viewer) == "viewer"


@pytest.mark.proves("access.next-request")
def test_a_role_counts_from_the_next_request(org: Org) -> None:
    viewer, admin = browser(org.viewer), browser(org.admin)
    assert viewer.get("/runners/profiles/new").status_code == 403
    assert admin.post(member(org.viewer), {"role": "operator"}).status_code == 303
    assert viewer.get("/runners/profiles/new").status_code == 200


def test_the_last_admin_is_warned(org: Org) -> None:
    client = browser(org.admin)
    assert "The only admin" in text_of(client.get(member(org.admin)))
    assert "The only admin" not in text_of(client.get(member(org.viewer)))


def test_removing_takes_the_address_typed(org: Org) -> None:
    client, viewer = browser(org.admin), browser(org.viewer)
    wrong = client.post(member(org.viewer, "remove"), {"typed": "somebody"})
    assert wrong.status_code == 422
    assert viewer.get("/runners").status_code == 200
    typed = {"typed": org.viewer.user.email}
    assert client.post(member(org.viewer, "remove"), typed).status_code == 303
    assert viewer.get("/runners").status_code != 200


# --- service accounts ------------------------------------------------------------------------


def token(client_id: str, secret: str) -> Any:
    """What the machine is answered that signs in with these."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": secret,
    }
    return browser().post(
        "/v1/auth/token", urlencode(form), content_type="application/x-www-form-urlencoded"
    )


def made(org: Org, **fields: Any) -> tuple[Any, str]:
    """The browser that made one, and the address of its page."""
    client = browser(org.admin)
    given = {"name": f"ci {ids.new().hex}", "role": "runner"} | fields
    response = client.post(f"{ACCOUNTS}/new", given)
    assert response.status_code == 303, text_of(response)
    return client, response["Location"]


def test_a_secret_is_shown_once_and_works(org: Org) -> None:
    client, address = made(org)
    first = client.get(address)
    (secret,) = set(SECRET.findall(first.content.decode()))
    assert first["Cache-Control"] == "private, no-store"
    again = client.get(address).content.decode()
    assert not SECRET.search(again)
    assert secret[-4:] in again
    assert token(address.rpartition("/")[2], secret).status_code == 200


def test_the_database_never_holds_a_secret_in_the_clear(org: Org) -> None:
    client, address = made(org)
    waiting = Session.objects.get(session_key=client.session.session_key).get_decoded()
    assert "shown_once" in waiting
    secret = SECRET.findall(client.get(address).content.decode())[0]
    assert secret not in str(waiting)


def test_a_secret_is_shown_on_its_own_account_alone(org: Org) -> None:
    client, address = made(org)
    assert not SECRET.search(client.get(account(org.runner)).content.decode())
    assert not SECRET.search(browser(org.admin).get(address).content.decode())
    assert SECRET.search(client.get(address).content.decode())


def test_an_account_may_have_an_owner_who_is_a_member(org: Org) -> None:
    owner = ids.encode("user", org.operator.user.id)
    client, address = made(org, owner_user_id=owner)
    assert org.operator.user.email in text_of(client.get(address))
    stranger = ids.encode("user", Org().viewer.user.id)
    given = {"name": "other", "role": "runner", "owner_user_id": stranger}
    assert client.post(f"{ACCOUNTS}/new", given).status_code == 422


def test_a_name_in_use_is_refused_at_the_name(org: Org) -> None:
    given = {"name": org.runner.account.name, "role": "runner"}
    response = browser(org.admin).post(f"{ACCOUNTS}/new", given)
    assert response.status_code == 422
    assert b'href="#id_name"' in response.content


def test_a_new_secret_leaves_the_old_one_good_as_long_as_chosen(org: Org) -> None:
    client = browser(org.admin)
    old = ids.encode("sa", org.runner.account.id), org.runner.secret
    client.post(account(org.runner, "secrets"), {"keep_old_seconds": "3600"})
    assert token(*old).status_code == 200
    client.post(account(org.runner, "secrets"), {"keep_old_seconds": "0"})
    assert token(*old).status_code == 401
    assert client.post(account(org.runner, "secrets"), {"keep_old_seconds": "x"}).status_code == 422


@pytest.mark.proves("access.next-request")
def test_revoking_takes_the_name_typed_and_ends_everything(org: Org) -> None:
    session = factories.running(org)
    client = browser(org.admin)
    assert client.post(account(org.runner, "revoke"), {"typed": "x"}).status_code == 422
    assert org.runner.api.get("/auth/whoami").status_code == 200
    typed = {"typed": org.runner.account.name}
    done = client.post(account(org.runner, "revoke"), typed)
    assert done.status_code == 303
    assert org.runner.api.get("/auth/whoami").status_code == 401
    with org.scope():
        session.refresh_from_db()
    assert session.reason == "account_revoked"
    text = text_of(client.get(done["Location"]))
    assert "None is in force" in text
    assert client.post(account(org.runner, "secrets"), {"keep_old_seconds": "0"}).status_code == 409
