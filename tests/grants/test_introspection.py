"""Introspection: what is in force, and one answer for everything else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from grants import introspection
from keeptrusts_runners import ids
from keeptrusts_runners.identity.scopes import Role
from sessions.models import DesiredState
from tests import factories
from tests.grants.asking import (
    approve,
    asked,
    introspect,
    overdue,
    place,
    requested,
    row,
    under,
    use,
)
from tests.people import Api, Org
from tests.sessions import records, roads

INACTIVE = b'{"active":false}'
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PATH = "/runners/permissions/introspect"


@pytest.fixture(scope="module")
def org() -> Org:
    org = Org()
    assert all((org.operator.principal, org.approver.principal, org.runner.principal))
    return org


@pytest.fixture(scope="module")
def enforcer(org: Org) -> Api:
    return org.machine(Role.ENFORCER).api


@pytest.mark.proves("grant.introspection")
def test_what_is_in_force_is_told_with_who_approved_it(org: Org, enforcer: Api) -> None:
    session = under(org, {"operation": "*", "approvals_required": 2})
    grant = requested(org, session, resource="a", constraints={"methods": ["GET"]})
    approvers = [org.person(Role.APPROVER), org.person(Role.APPROVER)]
    for approver in approvers:
        assert approve(approver.api, grant).status_code == 200
    before = records.stored(org, session)
    told = introspect(enforcer, grant_id=grant["id"])
    lease_ends = records.fresh(org, session).lease_expires_at
    held = row(org, grant)
    assert lease_ends is not None
    assert held.expires_at is not None
    assert told == {
        "active": True,
        "grant_id": grant["id"],
        "session_id": grant["session_id"],
        "operation": grant["operation"],
        "resource": "a",
        "constraints": {"methods": ["GET"]},
        "single_use": False,
        "lease_epoch": 1,
        "exp": int(min(held.expires_at, lease_ends).timestamp()),
        "approvers": [approver.principal.account for approver in approvers],
    }
    assert records.stored(org, session) == before, "it only looks"
    assert row(org, grant).uses == 0


def test_json_and_the_form_of_rfc_7662_are_answered_alike(org: Org, enforcer: Api) -> None:
    grant = asked(org.operator.api, under(org))
    told = introspect(enforcer, grant_id=grant["id"])
    assert introspect(enforcer, token=grant["id"]) == told
    form = f"token={grant['id']}&token_type_hint=access_token&client_id=x".encode()
    answer = enforcer.request("POST", PATH, raw=form, **FORM)
    assert (answer.status_code, answer.json()) == (200, told)
    assert answer["Content-Type"] == "application/json"
    assert answer["Cache-Control"] == "no-store"


def _expired(org: Org) -> str:
    grant = asked(org.operator.api, under(org))
    overdue(org, grant, "expires_at")
    return str(grant["id"])


def _revoked(org: Org) -> str:
    grant = asked(org.operator.api, under(org))
    assert org.operator.api.delete(place(grant)).status_code == 204
    return str(grant["id"])


def _waiting(org: Org) -> str:
    return str(requested(org, under(org))["id"])


def _consumed(org: Org) -> str:
    session = under(org, {"operation": "*", "auto": True, "single_use": True})
    grant = requested(org, session)
    assert use(factories.session_api(org, session), grant)["allowed"]
    return str(grant["id"])


def _before_the_lease(org: Org) -> str:
    return str(asked(org.operator.api, factories.pending(org))["id"])


def _session(how: Callable[[Org, Any], Any]) -> Callable[[Org], str]:
    def prepare(org: Org) -> str:
        session = under(org)
        grant = asked(org.operator.api, session)
        how(org, session)
        return str(grant["id"])

    return prepare


def _paused(org: Org, session: Any) -> None:
    roads.pause(org, session)
    roads.acknowledge(org, session, DesiredState.PAUSED)


NOT_IN_FORCE: dict[str, Callable[[Org], str]] = {
    "unknown": lambda org: ids.encode("grant", ids.new()),
    "foreign": lambda org: str(asked(_other().operator.api, under(_other()))["id"]),
    "malformed": lambda org: "grant_x",
    "another object": lambda org: ids.encode("sess", factories.running(org).id),
    "no token": lambda org: "eyJhbGciOiJub25lIn0.e30.",
    "expired": _expired,
    "revoked": _revoked,
    "requested": _waiting,
    "consumed": _consumed,
    "before the lease": _before_the_lease,
    "cancelled": _session(roads.cancel),
    "paused": _session(_paused),
    "lease run out": _session(lambda org, s: roads.overdue(org, s, "lease_expires_at")),
}
_others: list[Org] = []


def _other() -> Org:
    if not _others:
        _others.append(Org())
    return _others[0]


@pytest.mark.proves("grant.introspection")
@pytest.mark.parametrize("name", NOT_IN_FORCE)
def test_what_is_not_in_force_is_answered_alike_whatever_it_is(
    name: str, org: Org, enforcer: Api
) -> None:
    text = NOT_IN_FORCE[name](org)
    unknown = enforcer.post(PATH, {"grant_id": "x"}, X_Request_Id="the-same")
    for body in ({"grant_id": text}, {"token": text}):
        answer = enforcer.post(PATH, body, X_Request_Id="the-same")
        assert (answer.status_code, answer.content) == (200, INACTIVE)
        assert dict(answer.items()) == dict(unknown.items())
    form = enforcer.request("POST", PATH, raw=f"token={text}".encode(), **FORM)
    assert (form.status_code, form.content) == (200, INACTIVE)


def test_another_organizations_enforcer_is_told_nothing(org: Org) -> None:
    grant = asked(org.operator.api, under(org))
    assert introspect(_other().machine(Role.ENFORCER).api, grant_id=grant["id"]) == {
        "active": False
    }


def test_it_takes_one_query_whatever_is_asked(org: Org) -> None:
    grants = [asked(org.operator.api, under(org))["id"], ids.encode("grant", ids.new())]
    by = org.machine(Role.ENFORCER).principal
    for grant_id in grants:
        with org.scope(), CaptureQueriesContext(connection) as queries:
            introspection.of_grant(grant_id, by=by)
        assert len(queries) == 1


def test_a_grant_ends_for_introspection_with_the_second_epoch(org: Org, enforcer: Api) -> None:
    session = under(org, max_attempts=2)
    grant = asked(org.operator.api, session)
    roads.requeue(org, session)
    factories.running(org, session)
    assert introspect(enforcer, grant_id=grant["id"]) == {"active": False}


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.AUDITOR, Role.APPROVER])
def test_whoever_may_read_may_ask(org: Org, role: Role) -> None:
    grant = asked(org.operator.api, under(org))
    assert introspect(org.person(role).api, grant_id=grant["id"])["active"] is True


def test_an_enforcer_may_ask_and_nothing_else(org: Org, enforcer: Api) -> None:
    grant = asked(org.operator.api, under(org))
    for answer in (
        enforcer.get(place(grant)),
        enforcer.get("/runners/permissions"),
        enforcer.post(place(grant, "use"), {}),
        enforcer.delete(place(grant)),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def test_a_session_token_asks_about_nobodys_grants(org: Org) -> None:
    session = under(org)
    answer = factories.session_api(org, session).post(PATH, {"grant_id": "x"})
    assert (answer.status_code, answer.json()["code"]) == (403, "outside_session")


@pytest.mark.parametrize("body", [{}, {"grant_id": "x", "token": "x"}, {"grant_id": ""}])
def test_one_thing_is_asked_about(enforcer: Api, body: dict[str, str]) -> None:
    assert enforcer.post(PATH, body).status_code == 422


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (b"", 422), (b"token=", 422), (b"grant=x", 422), (b"token=a&token=b", 400),
        (b"token=%00", 400), (b"token=%ff", 400), (b"token=" + b"x" * 20_000, 413),
    ],
)  # fmt: skip
def test_forms_that_cannot_be_are_refused(enforcer: Api, form: bytes, status: int) -> None:
    answer = enforcer.request("POST", PATH, raw=form, **FORM)
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"


def test_the_end_is_never_later_than_what_is_true(org: Org, enforcer: Api) -> None:
    grant = asked(org.operator.api, under(org), ttl_seconds=5)
    told = introspect(enforcer, grant_id=grant["id"])
    assert told["exp"] <= datetime.fromisoformat(grant["expires_at"]).timestamp()
