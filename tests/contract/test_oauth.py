"""POST /v1/auth/token and /v1/auth/revoke, as RFC 6749 and RFC 7009 have them."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import override_settings

from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import RefreshToken, RevokedToken, User
from keeptrusts_runners.identity.scopes import Role
from tests.contract.bearers import forged
from tests.people import PASSWORD, Api, Machine, Org

FORM = "application/x-www-form-urlencoded"


def ask(fields: Any, path: str = "/auth/token", **headers: str) -> Any:
    raw = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    return Api().request("POST", path, raw=raw, **{"Content-Type": FORM, **headers})


@pytest.fixture(scope="module", autouse=True)
def _quick_hashes() -> Iterator[None]:
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(scope="module")
def user(org: Org) -> User:
    made = accounts.create_user(f"{ids.new().hex}@example.test", PASSWORD)
    with org.scope():
        accounts.add_member(org.id, made, "operator")
    return made


@pytest.fixture
def machine(org: Org) -> Machine:
    return org.machine()


def sign_in(user: User, **more: str) -> Any:
    return ask({"grant_type": "password", "username": user.email, "password": PASSWORD, **more})


def refusal(answer: Any, status: int, error: str) -> None:
    assert (answer.status_code, answer.json().get("error")) == (status, error), answer.content
    assert set(answer.json()) == {"error", "error_description"}
    assert answer["Cache-Control"] == "no-store"
    assert answer["Content-Type"] == "application/json"


# --- what is answered ------------------------------------------------------------------------


def test_a_person_signs_in_with_a_password(user: User) -> None:
    answer = sign_in(user)
    assert answer.status_code == 200, answer.content
    token = answer.json()
    assert set(token) == {"access_token", "refresh_token", "token_type", "expires_in", "scope"}
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 900)
    assert token["scope"] == "runners:dispatch runners:read runners:write"
    assert answer["Cache-Control"] == "no-store"
    who = Api(token["access_token"]).get("/auth/whoami").json()
    assert (who["id"], who["role"]) == (ids.encode("user", user.id), "operator")


def test_a_machine_uses_the_form_or_basic(machine: Machine) -> None:
    client_id = ids.encode("sa", machine.account.id)
    basic = base64.b64encode(f"{client_id}:{machine.secret}".encode()).decode()
    grant = {"grant_type": "client_credentials"}
    by_form = ask({**grant, "client_id": client_id, "client_secret": machine.secret})
    by_basic = ask(grant, Authorization=f"Basic {basic}")
    lower_case = ask(grant, Authorization=f"basic {basic}")
    for answer in (by_form, by_basic, lower_case):
        assert answer.status_code == 200, answer.content
        assert "refresh_token" not in answer.json()
        who = Api(answer.json()["access_token"]).get("/auth/whoami").json()
        assert (who["id"], who["role"]) == (client_id, "runner")
    refusal(
        ask({**grant, "client_secret": machine.secret}, Authorization=f"Basic {basic}"),
        400, "invalid_request",
    )  # fmt: skip


def test_a_refresh_token_is_good_once_and_its_second_use_ends_the_family(user: User) -> None:
    first = sign_in(user).json()["refresh_token"]
    second = ask({"grant_type": "refresh_token", "refresh_token": first})
    assert second.status_code == 200, second.content
    assert second.json()["refresh_token"] != first
    refusal(ask({"grant_type": "refresh_token", "refresh_token": first}), 400, "invalid_grant")
    stolen = second.json()["refresh_token"]
    refusal(ask({"grant_type": "refresh_token", "refresh_token": stolen}), 400, "invalid_grant")


def test_a_renewal_never_widens_what_was_narrowed(user: User) -> None:
    narrow = sign_in(user, scope="runners:read").json()
    assert narrow["scope"] == "runners:read"
    grant = {"grant_type": "refresh_token", "refresh_token": narrow["refresh_token"]}
    refusal(ask({**grant, "scope": "runners:read runners:write"}), 400, "invalid_scope")
    narrow = sign_in(user, scope="runners:read").json()
    renewed = ask({"grant_type": "refresh_token", "refresh_token": narrow["refresh_token"]})
    assert renewed.json()["scope"] == "runners:read"


def test_a_scope_that_is_not_held_is_refused(user: User, machine: Machine) -> None:
    refusal(sign_in(user, scope="runners:read members:admin"), 400, "invalid_scope")
    refusal(sign_in(user, scope="nonsense"), 400, "invalid_scope")


def test_a_disabled_or_removed_person_cannot_renew(org: Org) -> None:
    made = accounts.create_user(f"{ids.new().hex}@example.test", PASSWORD)
    with org.scope():
        accounts.add_member(org.id, made, "viewer")
    token = sign_in(made).json()["refresh_token"]
    User.objects.filter(id=made.id).update(is_active=False)
    refusal(ask({"grant_type": "refresh_token", "refresh_token": token}), 400, "invalid_grant")
    refusal(sign_in(made), 400, "invalid_grant")
    User.objects.filter(id=made.id).update(is_active=True)
    token = sign_in(made).json()["refresh_token"]
    with org.scope():
        accounts.remove_member(org.id, made.id)
    refusal(ask({"grant_type": "refresh_token", "refresh_token": token}), 400, "invalid_grant")
    refusal(sign_in(made), 400, "invalid_grant")


def test_a_person_of_several_organizations_names_one(user: User) -> None:
    made = accounts.create_user(f"{ids.new().hex}@example.test", PASSWORD)
    orgs = [Org(), Org()]
    for each in orgs:
        with each.scope():
            accounts.add_member(each.id, made, "viewer")
    refusal(sign_in(made), 400, "invalid_request")
    named = ids.encode("org", orgs[1].id)
    answer = sign_in(made, organization=named)
    who = Api(answer.json()["access_token"]).get("/auth/whoami").json()
    assert who["organization"] == named
    refusal(sign_in(made, organization=ids.encode("org", Org().id)), 400, "invalid_grant")
    refusal(sign_in(made, organization="org_x"), 400, "invalid_grant")


def test_rotation_leaves_no_gap_and_revocation_none_open(org: Org) -> None:
    machine = org.machine()
    path = f"/service-accounts/{ids.encode('sa', machine.account.id)}"
    credentials = {
        "grant_type": "client_credentials",
        "client_id": ids.encode("sa", machine.account.id),
    }
    rotated = org.admin.api.post(f"{path}/secrets", {"keep_old_seconds": 600})
    assert rotated.status_code == 201, rotated.content
    new = rotated.json()["client_secret"]
    for secret in (machine.secret, new):
        assert ask({**credentials, "client_secret": secret}).status_code == 200
    newest = org.admin.api.post(f"{path}/secrets", {"keep_old_seconds": 0}).json()["client_secret"]
    for secret in (machine.secret, new):
        refusal(ask({**credentials, "client_secret": secret}), 401, "invalid_client")
    token = ask({**credentials, "client_secret": newest}).json()["access_token"]
    assert org.admin.api.delete(path).status_code == 204
    refusal(ask({**credentials, "client_secret": newest}), 401, "invalid_client")
    assert Api(token).get("/runners/profiles").status_code == 401


# --- revoke ----------------------------------------------------------------------------------


@pytest.mark.proves("access.next-request")
def test_a_revoked_token_is_dead_on_the_next_request(user: User) -> None:
    token = sign_in(user).json()
    api = Api(token["access_token"])
    assert api.get("/auth/whoami").status_code == 200
    for _ in range(2):
        answer = ask({"token": token["access_token"]}, "/auth/revoke")
        assert (answer.status_code, answer.json()) == (200, {})
        assert answer["Cache-Control"] == "no-store"
    assert api.get("/auth/whoami").status_code == 401
    # The rest of the sign-in lives until its own token is revoked.
    renewed = ask({"grant_type": "refresh_token", "refresh_token": token["refresh_token"]})
    assert renewed.status_code == 200
    assert ask({"token": renewed.json()["refresh_token"]}, "/auth/revoke").status_code == 200
    refused = {"grant_type": "refresh_token", "refresh_token": renewed.json()["refresh_token"]}
    refusal(ask(refused), 400, "invalid_grant")


def test_unknown_tokens_are_answered_like_known_ones(org: Org, user: User) -> None:
    good = sign_in(user).json()["access_token"]
    with org.scope():
        before = RevokedToken.objects.count()
    for token in ("x", "a.b.c", "é", forged(good, exp=int(time.time()) - 60), good + "x"):
        answer = ask({"token": token, "token_type_hint": "nonsense"}, "/auth/revoke")
        assert (answer.status_code, answer.json()) == (200, {}), token
    with org.scope():
        assert RevokedToken.objects.count() == before
    refusal(ask({}, "/auth/revoke"), 400, "invalid_request")
    refusal(ask({"token": ""}, "/auth/revoke"), 400, "invalid_request")


# --- bad input -------------------------------------------------------------------------------

_GOOD = {"grant_type": "password", "username": "a@example.test", "password": "x" * 12}
HOSTILE_FORMS: dict[str, tuple[Any, int, str]] = {
    "nothing": (b"", 400, "invalid_request"),
    "no grant type": ({"username": "a"}, 400, "invalid_request"),
    "unknown grant type": ({"grant_type": "implicit"}, 400, "unsupported_grant_type"),
    "no username": ({"grant_type": "password", "password": "x"}, 400, "invalid_request"),
    "empty password": ({**_GOOD, "password": ""}, 400, "invalid_request"),
    "unknown person": (_GOOD, 400, "invalid_grant"),
    "very long name": ({**_GOOD, "username": "x" * 10_000}, 400, "invalid_grant"),
    "NUL": (b"grant_type=password&username=a%00b&password=x", 400, "invalid_request"),
    "NUL in a name": (b"grant_type=password&a%00b=x", 400, "invalid_request"),
    "not UTF-8": (b"grant_type=password&username=%ff&password=x", 400, "invalid_request"),
    "raw bytes": (b"grant_type=password&username=\xff\xfe&password=x", 400, "invalid_request"),
    "surrogate": (b"grant_type=password&username=%ED%A0%80&password=x", 400, "invalid_request"),
    "twice": (b"grant_type=password&grant_type=refresh_token", 400, "invalid_request"),
    "too many fields": (
        b"&".join(b"f%d=1" % number for number in range(500)), 400, "invalid_request",
    ),
    "too large": (b"a=" + b"x" * 20_000, 413, "invalid_request"),
    "10 MB": (b"a=" + b"x" * 10_000_000, 413, "invalid_request"),
    "JSON as a form": (b'{"grant_type": "password"}', 400, "invalid_request"),
    "no client": ({"grant_type": "client_credentials"}, 401, "invalid_client"),
    "client that is no id": (
        {"grant_type": "client_credentials", "client_id": "x' OR 1=1", "client_secret": "x"},
        401, "invalid_client",
    ),
    "garbage as refresh token": (
        {"grant_type": "refresh_token", "refresh_token": "x"}, 400, "invalid_grant",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_FORMS)
def test_a_hostile_form_is_refused(name: str) -> None:
    fields, status, error = HOSTILE_FORMS[name]
    before = User.objects.count()
    answer = ask(fields)
    refusal(answer, status, error)
    assert (answer.status_code == 401) == answer.has_header("WWW-Authenticate")
    assert User.objects.count() == before


@pytest.mark.parametrize(
    "header",
    ["Basic", "Basic ", "Basic !!!", "Basic " + "A" * 9, "Basic /////w==", "Basic " + "x" * 9000],
)
def test_hostile_basic_credentials_are_refused(header: str) -> None:
    answer = ask({"grant_type": "client_credentials"}, Authorization=header)
    refusal(answer, 401, "invalid_client")
    assert answer["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "text/plain"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
)
def test_only_a_plain_form_is_read(headers: dict[str, str]) -> None:
    refusal(ask(_GOOD, **headers), 400, "invalid_request")


def test_credentials_never_travel_in_the_query(user: User) -> None:
    query = urlencode({"grant_type": "password", "username": user.email, "password": PASSWORD})
    answer = Api().request("POST", f"/auth/token?{query}", **{"Content-Type": FORM})
    refusal(answer, 400, "invalid_request")
    assert PASSWORD not in answer.content.decode()


def test_a_refresh_token_is_stored_under_its_organization_alone(org: Org, user: User) -> None:
    sign_in(user)
    with org.scope():
        assert RefreshToken.objects.filter(user_id=user.id).exists()
    with Org().scope():
        assert not RefreshToken.objects.filter(user_id=user.id).exists()


def test_people_never_hold_machines_roles() -> None:
    org = Org()
    for role in (Role.RUNNER, Role.ENFORCER):
        answer = org.admin.api.post("/members", {"email": "a@example.test", "role": str(role)})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/role"
