"""How grants are asked for, decided, used and read in these tests: at the API's doors."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from grants.models import GrantState, PermissionGrant
from keeptrusts_runners import clock, ids
from sessions.models import RunnerSession
from tests import factories
from tests.factories import path
from tests.people import Api, Org

WANTED = {"operation": "network.egress:packages", "reason": "to fetch", "ttl_seconds": 600}


def under(org: Org, *rules: dict[str, Any], **fields: Any) -> RunnerSession:
    """A running session whose profile has these rules."""
    on = factories.profile(org, grant_policy=list(rules))
    return factories.running(org, factories.pending(org, on, **fields))


def ask(api: Api, session: RunnerSession, **wanted: Any) -> Any:
    return api.post(path(session, "permissions"), WANTED | wanted)


def asked(api: Api, session: RunnerSession, **wanted: Any) -> dict[str, Any]:
    answer = ask(api, session, **wanted)
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


def requested(org: Org, session: RunnerSession, **wanted: Any) -> dict[str, Any]:
    """A request of the code that runs the session."""
    return asked(factories.session_api(org, session), session, **wanted)


def place(grant: dict[str, Any], *more: str) -> str:
    session, own = grant["session_id"], grant["id"]
    return "/".join((f"/runners/sessions/{session}/permissions/{own}", *more))


def approve(api: Api, grant: dict[str, Any], **body: Any) -> Any:
    digest = {"operation_digest": grant["operation_digest"]}
    return api.post(place(grant, "approve"), digest | body)


def use(api: Api, grant: dict[str, Any]) -> dict[str, Any]:
    answer = api.post(place(grant, "use"), {"target": "packages.test:443"})
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def renew(api: Api, grant: dict[str, Any], ttl_seconds: int, **body: Any) -> Any:
    return api.post(place(grant, "renew"), {"ttl_seconds": ttl_seconds} | body)


def introspect(api: Api, **asked_by: str) -> Any:
    answer = api.post("/runners/permissions/introspect", asked_by)
    assert answer.status_code == 200, answer.content
    return answer.json()


def shown(org: Org, grant: dict[str, Any]) -> dict[str, Any]:
    answer = org.viewer.api.get(place(grant))
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def row(org: Org, grant: dict[str, Any]) -> PermissionGrant:
    with org.scope():
        return PermissionGrant.objects.get(id=ids.decode("grant", grant["id"]))


def overdue(org: Org, grant: dict[str, Any], column: str) -> None:
    with org.scope():
        past = clock.now() - timedelta(seconds=1)
        PermissionGrant.objects.filter(id=ids.decode("grant", grant["id"])).update(**{column: past})


def usable(org: Org, grant: dict[str, Any]) -> bool:
    with org.scope():
        found = PermissionGrant.objects.usable().filter(id=ids.decode("grant", grant["id"]))
        return bool(found.exists())


def stored_state(org: Org, grant: dict[str, Any]) -> str:
    """As the row says it, whatever the clock does."""
    return GrantState(row(org, grant).state).value
