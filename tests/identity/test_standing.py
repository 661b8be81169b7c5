"""What a token says is who the bearer was; what counts is who they are now."""

from __future__ import annotations

import pytest

from keeptrusts_runners import ids
from keeptrusts_runners.errors import Invalid, InvalidToken
from keeptrusts_runners.identity import accounts, tokens
from keeptrusts_runners.identity.models import Membership, ServiceAccountSecret, User
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role, Scope
from tests import factories
from tests.factories import path
from tests.people import Api, Org, Person, token_of


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def whoami(api: Api) -> tuple[int, str | None]:
    answer = api.get("/auth/whoami")
    return answer.status_code, answer.json().get("role", answer.json().get("code"))


def member(org: Org, person: Person) -> str:
    return f"/members/{ids.encode('user', person.user.id)}"


@pytest.mark.proves("access.next-request")
def test_a_disabled_user_is_refused_on_the_next_request(org: Org) -> None:
    person = org.person(Role.OPERATOR)
    assert whoami(person.api) == (200, "operator")
    User.objects.filter(id=person.user.id).update(is_active=False)
    assert whoami(person.api) == (401, "invalid_token")
    User.objects.filter(id=person.user.id).update(is_active=True)
    assert whoami(person.api) == (200, "operator")


@pytest.mark.proves("access.next-request")
def test_a_removed_member_is_refused_on_the_next_request_and_there_alone(org: Org) -> None:
    person, other = org.person(Role.OPERATOR), Org()
    with other.scope():
        accounts.add_member(other.id, person.user, Role.VIEWER)
    elsewhere = Api(
        tokens.issue_access(
            person.principal.kind, person.user.id, other.id, ROLE_SCOPES[Role.VIEWER]
        )
    )
    assert org.admin.api.delete(member(org, person)).status_code == 204
    assert whoami(person.api) == (401, "invalid_token")
    assert whoami(elsewhere) == (200, "viewer")


def test_a_changed_role_counts_from_the_next_request(org: Org) -> None:
    person = org.person(Role.OPERATOR)
    body = {"profile_id": ids.encode("prof", factories.profile(org).id), "task_id": "t"}
    assert person.api.post("/runners/sessions", body).status_code == 201
    assert org.admin.api.patch(member(org, person), {"role": "viewer"}).status_code == 200
    refused = person.api.post("/runners/sessions", body)
    assert (refused.status_code, refused.json()["scope"]) == (403, "runners:dispatch")
    assert person.api.get("/runners/sessions").status_code == 200


def test_a_token_never_has_more_than_it_was_given_whatever_the_role_becomes(org: Org) -> None:
    person = org.person(Role.OPERATOR)
    narrow = Api(token_of(person.principal, frozenset({Scope.READ})))
    assert org.admin.api.patch(member(org, person), {"role": "admin"}).status_code == 200
    assert narrow.get("/runners/sessions").status_code == 200
    assert narrow.get("/members").json()["code"] == "missing_scope"
    assert narrow.post("/runners/sessions/claim").json()["code"] == "missing_scope"


@pytest.mark.proves("access.next-request")
def test_a_revoked_machine_is_refused_on_the_next_request(org: Org) -> None:
    machine = org.machine()
    session = factories.running(org, by=machine)
    assert whoami(machine.api) == (200, "runner")
    place = f"/service-accounts/{ids.encode('sa', machine.account.id)}"
    for _ in range(2):
        assert org.admin.api.delete(place).status_code == 204
        assert whoami(machine.api) == (401, "invalid_token")
    answer = machine.api.post(path(session, "heartbeat"))
    assert answer.status_code == 401


def test_a_token_of_one_organization_is_none_in_another(org: Org) -> None:
    person, other = org.person(Role.ADMIN), Org()
    foreign = tokens.issue_access(person.principal.kind, person.user.id, other.id, frozenset(Scope))
    assert whoami(Api(foreign)) == (401, "invalid_token")
    with pytest.raises(InvalidToken):
        tokens.authenticate(foreign)


def test_a_secret_is_stored_only_as_its_digest(org: Org) -> None:
    machine = org.machine()
    with org.scope():
        stored = ServiceAccountSecret.objects.filter(service_account=machine.account).values().get()
    assert machine.secret.encode() not in b"".join(
        bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
        for value in stored.values()
    )
    assert machine.secret.endswith(stored["hint"])


@pytest.mark.parametrize("role", [Role.RUNNER, Role.ENFORCER, "owner", ""])
def test_people_hold_only_peoples_roles(org: Org, role: str) -> None:
    person = org.person(Role.VIEWER)
    with org.scope(), pytest.raises(Invalid):
        accounts.change_role(org.id, person.user.id, role)
    with org.scope():
        assert Membership.objects.get(user=person.user).role == Role.VIEWER


def test_a_machines_owner_is_a_member(org: Org) -> None:
    stranger = Org().person(Role.ADMIN)
    with org.scope(), pytest.raises(Invalid) as refusal:
        accounts.create_service_account(
            org.id, ids.new().hex, Role.RUNNER, owner_id=stranger.user.id
        )
    assert refusal.value.errors[0].code == "unknown_reference"
