"""Who may call what: every operation × every kind of bearer, compared with one table."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from keeptrusts_runners import ids
from keeptrusts_runners.identity import tokens
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role
from sessions import claims, lifecycle, outcomes
from sessions.claims import ClaimRequest
from sessions.models import DesiredState
from tests import factories
from tests.contract import bearers
from tests.contract.calls import call, content, problem, session_token
from tests.contract.routes import SCOPES_OF_ROLE, TABLE, Objects, Route
from tests.people import Api, Org, client, token_of

every_route = pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)

PEOPLE = ("viewer", "operator", "approver", "auditor", "admin")
MACHINES = ("viewer", "operator", "approver", "auditor", "admin", "runner", "enforcer")


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(scope="module")
def other() -> Org:
    return Org()


@pytest.fixture(scope="module")
def tokens_of_roles(org: Org) -> dict[str, str]:
    people = {f"person {role}": token_of(org.person(Role(role)).principal) for role in PEOPLE}
    machines = {f"machine {role}": token_of(org.machine(Role(role)).principal) for role in MACHINES}
    return people | machines


@pytest.fixture(scope="module")
def invalid_tokens(org: Org) -> dict[str, str]:
    return bearers.invalid(org)


@pytest.fixture(scope="module")
def prepared(org: Org) -> dict[str, Objects]:
    """One set of objects for each route, for the calls that change nothing."""
    return {}


def objects_of(route: Route, org: Org, prepared: dict[str, Objects]) -> Objects:
    if route.name not in prepared:
        prepared[route.name] = route.prepare(org)
    return prepared[route.name]


def expected(route: Route, kind: str, role: str) -> tuple[int, str | None]:
    if route.scope and not SCOPES_OF_ROLE[role].intersection(route.opened_by):
        return 403, "missing_scope"
    if kind == "machine":
        if route.configures and role != "admin":
            return 403, "permission_denied"
        if route.decides or (route.operates and role == "runner"):
            return 403, "permission_denied"
        if route.executes and role == "runner":
            return 403, "not_lease_holder"
    return route.succeeds, None


def check(answer: Any, status: int, code: str | None) -> None:
    if code is not None:
        problem(answer, status, code)
    else:
        assert answer.status_code == status, content(answer)[:500]


def test_roles_have_the_scopes_that_the_contract_gives_them() -> None:
    assert {str(role): {str(s) for s in scopes} for role, scopes in ROLE_SCOPES.items()} == (
        SCOPES_OF_ROLE
    )


# --- nobody ----------------------------------------------------------------------------------


@pytest.mark.proves("access.bad-tokens")
@every_route
def test_without_a_good_token_nothing_is_answered(
    route: Route, org: Org, prepared: dict[str, Objects], invalid_tokens: dict[str, str]
) -> None:
    objects = objects_of(route, org, prepared)
    refused = problem(call(Api(), route, objects), 401, "not_authenticated")
    assert "error=" not in call(Api(), route, objects)["WWW-Authenticate"]
    assert "errors" not in refused
    for name, token in invalid_tokens.items():
        answer = call(Api(token), route, objects)
        assert answer.status_code == 401, name
        problem(answer, 401, "invalid_token")
        assert 'error="invalid_token"' in answer["WWW-Authenticate"]


@every_route
def test_other_ways_to_bear_a_token_are_none(
    route: Route, org: Org, prepared: dict[str, Objects]
) -> None:
    objects = objects_of(route, org, prepared)
    good = token_of(org.admin.principal)
    for header in (f"Basic {good}", f"Token {good}", good, f"Bearer{good}"):
        problem(call(Api(), route, objects, Authorization=header), 401, "not_authenticated")
    for header in ("Bearer", "Bearer ", f"Bearer {good} {good}", f"Bearer {good},{good}"):
        assert call(Api(), route, objects, Authorization=header).status_code == 401
    joint = "&" if "?" in route.address(objects) else "?"
    path = f"/v1{route.address(objects)}{joint}access_token={good}"
    assert client().generic(route.method, path).status_code == 401


@pytest.mark.proves("access.cookies")
@every_route
def test_a_browser_cookie_is_no_token(route: Route, org: Org, prepared: dict[str, Objects]) -> None:
    objects = objects_of(route, org, prepared)
    browser = client()
    browser.force_login(org.admin.user)
    assert browser.cookies[settings.SESSION_COOKIE_NAME].value
    answer = browser.generic(route.method, f"/v1{route.address(objects)}")
    problem(answer, 401, "not_authenticated")
    assert not answer.cookies


# --- roles -----------------------------------------------------------------------------------


@pytest.mark.proves("access.table")
@every_route
def test_a_role_opens_exactly_its_routes(
    route: Route, org: Org, prepared: dict[str, Objects], tokens_of_roles: dict[str, str]
) -> None:
    for who, token in tokens_of_roles.items():
        kind, _, role = who.partition(" ")
        status, code = expected(route, kind, role)
        fresh = code is None and (route.method != "GET")
        objects = route.prepare(org) if fresh else objects_of(route, org, prepared)
        answer = call(Api(token), route, objects)
        try:
            check(answer, status, code)
        except AssertionError as failure:
            raise AssertionError(f"{who}: {failure}") from None
        if code == "missing_scope":
            assert f'scope="{route.scope}"' in answer["WWW-Authenticate"]
            assert answer.json()["scope"] == route.scope


@pytest.mark.proves("access.table")
@every_route
def test_a_token_never_has_more_scopes_than_it_was_given(
    route: Route, org: Org, prepared: dict[str, Objects]
) -> None:
    if not route.scope:
        return
    objects = objects_of(route, org, prepared)
    rest = frozenset(s for s in org.admin.principal.scopes if str(s) not in route.opened_by)
    problem(call(Api(token_of(org.admin.principal, rest)), route, objects), 403, "missing_scope")
    none = token_of(org.admin.principal, frozenset())
    problem(call(Api(none), route, objects), 403, "missing_scope")
    claimed = bearers.forged(token_of(org.person(Role.VIEWER).principal), scope=route.scope)
    if "runners:read" not in route.opened_by:
        problem(call(Api(claimed), route, objects), 403, "missing_scope")


@every_route
def test_the_lease_holder_may_write_and_what_is_its_own(route: Route, org: Org) -> None:
    if not route.executes:
        return
    objects = route.prepare(org)
    leased = objects.holder is not None
    answer = call(org.runner.api, route, objects)
    check(answer, *((route.succeeds, None) if leased else (403, "not_lease_holder")))


# --- session tokens --------------------------------------------------------------------------


@pytest.mark.proves("access.table", "fence.session-token")
@every_route
def test_a_session_token_opens_its_own_session_and_nothing_else(
    route: Route, org: Org, other: Org
) -> None:
    objects = route.prepare(org)
    elsewhere = factories.running(org)
    abroad = factories.running(other)
    for token in (
        tokens.issue_session(elsewhere.id, org.runner.principal, 1, 60),
        tokens.issue_session(abroad.id, other.runner.principal, 1, 60),
    ):
        problem(call(Api(token), route, objects), 403, "outside_session")
    if "session_id" not in objects.path:
        return
    answer = call(Api(session_token(org, objects)), route, objects)
    check(answer, *((route.succeeds, None) if route.session_token else (403, "outside_session")))


@pytest.mark.proves("fence.every-write")
@every_route
def test_a_stale_epoch_reads_and_never_writes(route: Route, org: Org) -> None:
    objects = route.prepare(org)
    if "session_id" not in objects.path or objects.holder is None:
        return
    stale = session_token(org, objects)
    _claim_again(org, objects.path["session_id"])
    answer = call(Api(stale), route, objects)
    if not route.session_token:
        problem(answer, 403, "outside_session")
    elif route.executes:
        problem(answer, 409, "lease_lost")
        if not route.fences_people:
            return
        named = call(org.operator.api, route, objects, Lease_Epoch="1")
        problem(named, 409, "lease_lost")
        problem(call(org.operator.api, route, objects), 409, "lease_epoch_required")
    else:
        check(answer, route.succeeds, None)


def _claim_again(org: Org, session: str) -> None:
    """Paused, resumed and claimed: the second epoch."""
    session_id = ids.decode("sess", session)
    runner, operator = org.runner.principal, org.operator.principal
    with org.scope():
        lifecycle.pause(session_id, by=operator)
        outcomes.acknowledge(session_id, DesiredState.PAUSED, by=runner, lease_epoch=1)
        lifecycle.resume(session_id, by=operator)
        claims.claim(session_id, ClaimRequest(), by=runner)


# --- other organizations ---------------------------------------------------------------------


@pytest.mark.proves("api.not-yours")
@every_route
def test_an_outsider_with_every_scope_finds_nothing(route: Route, org: Org, other: Org) -> None:
    objects = route.prepare(org)
    answer = call(other.admin.api, route, objects)
    if route.outsider == 404:
        problem(answer, 404, "not_found")
    elif route.outsider == 422:
        assert problem(answer, 422, "invalid")["errors"][0]["code"] == "unknown_reference"
    else:
        check(answer, route.outsider, None)
        for own in objects.path.values():
            assert own not in content(answer).decode()


_MALFORMED = ("{prefix}_x", "{prefix}_00000000000000000000000000x", "{other}", "%00", "..%2f..")


@pytest.mark.proves("api.not-yours")
@every_route
def test_not_yours_is_answered_like_not_there(route: Route, org: Org, other: Org) -> None:
    """Status, body and headers tell nothing apart: foreign, unknown, and no id at all."""
    names = list(objects.path) if (objects := route.prepare(org)) else []
    if not names or route.name == "GET /v1/runners/profiles":
        return
    own = route.prepare(other)
    for name in names:
        if f"{{{name}}}" not in route.template:
            continue
        prefix = objects.path[name].partition("_")[0]
        unknown = ids.encode(prefix, ids.new())
        outcomes_ = {
            "foreign": _answer(other, route, own, {name: objects.path[name]}),
            "unknown": _answer(other, route, own, {name: unknown}),
        }
        for text in _MALFORMED:
            malformed = text.format(prefix=prefix, other=unknown.replace(prefix, "evt", 1))
            outcomes_[malformed] = _answer(other, route, own, {name: malformed})
        assert len(set(outcomes_.values())) == 1, outcomes_


def _answer(by: Org, route: Route, own: Objects, changed: dict[str, str]) -> tuple[Any, ...]:
    answer = call(
        by.admin.api, route, Objects(by, own.path | changed, own.body), X_Request_Id="the-same"
    )
    problem(answer, 404, "not_found")
    return answer.status_code, answer.content, frozenset(answer.items())


@every_route
def test_an_id_of_the_same_organization_in_the_wrong_place_is_not_there(
    route: Route, org: Org
) -> None:
    """A grant or an artifact of one session is nothing below another."""
    inner = {"artifact_id", "grant_id"} & set(route.prepare(org).path)
    if not inner or any(f"{{{name}}}" not in route.template for name in inner):
        return
    first, second = route.prepare(org), route.prepare(org)
    second.path["session_id"] = first.path["session_id"]
    problem(call(org.admin.api, route, second), 404, "not_found")
