"""Grant tokens: for enforcement points that cannot ask, and good for a minute at most."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from django.conf import settings

from keeptrusts_runners.identity import tokens
from keeptrusts_runners.identity.scopes import Role
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.contract.bearers import confused, forged, unsigned
from tests.factories import session_api
from tests.grants.asking import approve, introspect, overdue, place, requested, row, under, use
from tests.people import Api, Org, client
from tests.sessions import records, roads

OFFLINE = {"operation": "*", "auto": True, "offline": True}
AUDIENCE = "proxy.test"


@pytest.fixture(scope="module")
def org() -> Org:
    org = Org()
    assert all((org.operator.principal, org.approver.principal, org.runner.principal))
    return org


@pytest.fixture(scope="module")
def enforcer(org: Org) -> Api:
    return org.machine(Role.ENFORCER).api


def sign(api: Api, grant: dict[str, Any], audience: str = AUDIENCE) -> Any:
    return api.post(place(grant, "token"), {"audience": audience})


def signed(org: Org, session: RunnerSession, grant: dict[str, Any]) -> str:
    answer = sign(session_api(org, session), grant)
    assert answer.status_code == 200, answer.content
    return str(answer.json()["token"])


def verified(token: str, audience: str = AUDIENCE) -> dict[str, Any]:
    """As an enforcement point has it: by what is published, and nothing else."""
    published = client().get("/.well-known/jwks.json").json()
    key = jwt.PyJWKSet.from_dict(published)[jwt.get_unverified_header(token)["kid"]]
    issuer = settings.SIMPLE_JWT["ISSUER"]
    return jwt.decode(token, key, algorithms=["EdDSA"], audience=audience, issuer=issuer)


@pytest.mark.proves("grant.offline")
def test_a_token_says_what_was_granted_and_verifies_by_the_published_keys(org: Org) -> None:
    session = under(org, {"operation": "*", "offline": True})
    grant = requested(org, session, resource="a", constraints={"methods": ["GET"]})
    approve(org.approver.api, grant)
    answer = sign(session_api(org, session), grant)
    assert answer["Cache-Control"] == "no-store"
    issued, claims = answer.json(), verified(answer.json()["token"])
    expected = {
        "sub": grant["id"],
        "session_id": grant["session_id"],
        "lease_epoch": 1,
        "operation": grant["operation"],
        "resource": "a",
        "constraints": {"methods": ["GET"]},
        "approvers": [org.approver.principal.account],
        "token_type": "grant",
    }
    assert {name: claims[name] for name in expected} == expected
    assert issued["grant_id"] == grant["id"]
    assert datetime.fromisoformat(issued["expires_at"]).timestamp() == claims["exp"]
    assert issued["expires_in"] == claims["exp"] - claims["iat"]
    with pytest.raises(jwt.InvalidAudienceError):
        verified(issued["token"], "somebody-else")


@pytest.mark.proves("grant.offline")
@pytest.mark.parametrize("shortest", ["minute", "grant", "lease"])
def test_a_token_ends_with_the_first_of_a_minute_the_grant_and_the_lease(
    org: Org, shortest: str
) -> None:
    lease = 30 if shortest == "lease" else 900
    on = factories.profile(org, grant_policy=[OFFLINE], lease_ttl_seconds=lease)
    session = factories.running(org, factories.pending(org, on))
    grant = requested(org, session, ttl_seconds=20 if shortest == "grant" else 600)
    claims = verified(signed(org, session, grant))
    held, leased = row(org, grant), records.fresh(org, session)
    assert held.expires_at is not None
    assert leased.lease_expires_at is not None
    ends = {
        "minute": datetime.fromtimestamp(claims["iat"] + 60, UTC),
        "grant": held.expires_at,
        "lease": leased.lease_expires_at,
    }
    assert claims["exp"] == int(ends[shortest].timestamp())
    assert all(claims["exp"] <= end.timestamp() for end in ends.values())


@pytest.mark.proves("grant.recorded")
def test_every_token_is_on_record_and_no_token_is(org: Org) -> None:
    session = under(org, OFFLINE)
    grant = requested(org, session)
    token = signed(org, session, grant)
    record = records.last(org, session, "grant.token_issued")
    claims = verified(token)
    assert record.data["grant_id"] == grant["id"]
    assert (record.data["audience"], record.data["token_id"]) == (AUDIENCE, claims["jti"])
    assert token.rpartition(".")[2] not in str(record.content)
    records.assert_sound(org, session)


@pytest.mark.parametrize(
    "rule",
    [{"offline": False}, {"offline": True, "single_use": True}],
    ids=["not offline", "single use"],
)
def test_only_a_rule_that_says_so_gives_tokens_and_never_for_a_single_use(
    org: Org, rule: dict[str, Any]
) -> None:
    session = under(org, {"operation": "*", "auto": True} | rule)
    answer = sign(session_api(org, session), requested(org, session))
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert "grant.token_issued" not in records.kinds(org, session)


def test_without_a_rule_there_are_no_tokens(org: Org) -> None:
    session = under(org)
    grant = requested(org, session)
    approve(org.approver.api, grant)
    assert sign(session_api(org, session), grant).status_code == 403


def test_what_is_not_in_force_is_not_signed(org: Org) -> None:
    session = under(org, OFFLINE)
    expired, revoked = requested(org, session), requested(org, session)
    overdue(org, expired, "expires_at")
    assert org.operator.api.delete(place(revoked)).status_code == 204
    for grant in (expired, revoked):
        assert sign(session_api(org, session), grant).json()["code"] == "conflict"
    lively = requested(org, session)
    roads.overdue(org, session, "lease_expires_at")
    assert sign(session_api(org, session), lively).json()["reason"] == "lease_expired"


def test_a_token_is_for_somebody_else_than_this_server(org: Org) -> None:
    session = under(org, OFFLINE)
    answer = sign(session_api(org, session), requested(org, session), "keeptrusts-runners")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/audience")


@pytest.mark.proves("access.bad-tokens")
def test_a_grant_token_opens_nothing_here(org: Org) -> None:
    session = under(org, OFFLINE)
    token = signed(org, session, requested(org, session))
    for raw in (token, forged(token, aud="keeptrusts-runners")):
        answer = Api(raw).get(factories.path(session))
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")


# --- introspected ----------------------------------------------------------------------------


def test_introspection_takes_a_token_and_tells_its_end(org: Org, enforcer: Api) -> None:
    session = under(org, OFFLINE)
    grant = requested(org, session)
    token = signed(org, session, grant)
    told = introspect(enforcer, token=token)
    assert (told["active"], told["grant_id"]) == (True, grant["id"])
    assert told["exp"] <= verified(token)["exp"]


@pytest.mark.proves("grant.introspection")
@pytest.mark.parametrize("how", ["revoke", "end", "over", "epoch"])
def test_a_token_outlives_its_grant_for_nobody_who_asks(org: Org, enforcer: Api, how: str) -> None:
    session = under(org, OFFLINE)
    grant = requested(org, session)
    token = signed(org, session, grant)
    if how == "revoke":
        assert org.operator.api.delete(place(grant)).status_code == 204
    elif how == "end":
        roads.end(org, session, Verb.COMPLETE)
    elif how == "over":
        token = _typed(token, exp=1)
    else:
        token = _typed(token, lease_epoch=2)
    assert introspect(enforcer, token=token) == {"active": False}


def _typed(token: str, **claims: Any) -> str:
    """With other claims, signed by our own key as what it is."""
    payload = jwt.decode(token, options={"verify_signature": False}) | claims
    own = tokens.signing_key()
    headers = {"kid": own.kid, "typ": "kt-grant+jwt"}
    return jwt.encode(payload, own.private, "EdDSA", headers=headers)


def test_forged_tokens_are_no_tokens(org: Org, enforcer: Api) -> None:
    session = under(org, OFFLINE)
    token = signed(org, session, requested(org, session))
    assert introspect(enforcer, token=_typed(token))["active"] is True
    public = tokens.signing_key().public_raw
    for wrong in (
        forged(token),  # signed by us, and not as a grant token
        unsigned(token),
        confused(token, public),
        _typed(token, iss="https://elsewhere.test"),
        _typed(token, token_type="access"),
        _typed(token, sub="x"),
        _typed(token, exp="x"),
        _typed(token, exp=10**30),
        _typed(token, lease_epoch=None),
        session_api(org, session).token or "",
        org.operator.api.token or "",
    ):
        assert introspect(enforcer, token=wrong) == {"active": False}


def test_another_organizations_token_is_unknown(org: Org) -> None:
    session = under(org, OFFLINE)
    token = signed(org, session, requested(org, session))
    assert introspect(Org().admin.api, token=token) == {"active": False}


def test_a_token_is_no_use(org: Org) -> None:
    session = under(org, OFFLINE)
    grant = requested(org, session)
    signed(org, session, grant)
    assert use(session_api(org, session), grant)["uses"] == 1
