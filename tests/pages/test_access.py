"""Who may open each page and send each form, and what everybody else is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from grants import access
from grants.models import PermissionGrant
from keeptrusts_runners import ids
from profiles import catalog
from profiles.models import HarnessRevision
from sessions import lifecycle
from sessions.models import RunnerSession
from tests import factories
from tests.browsers import browser, page_of
from tests.people import Org


class World(NamedTuple):
    """One organization with a running session that waits for an approval."""

    org: Org
    session: RunnerSession
    grant: PermissionGrant
    harness: HarnessRevision

    @property
    def grant_page(self) -> str:
        return page_of(self.session, "grants", ids.encode("grant", self.grant.id))

    @property
    def profile_page(self) -> str:
        return f"/runners/profiles/{ids.encode('prof', self.session.profile_id)}"

    @property
    def harness_page(self) -> str:
        return f"{self.profile_page}/harnesses/{ids.encode('harn', self.harness.id)}"

    @property
    def executor_page(self) -> str:
        assert self.session.executor_id is not None
        return f"/runners/executors/{ids.encode('exec', self.session.executor_id)}"


@pytest.fixture
def world() -> World:
    org = Org()
    on = factories.profile(org)
    with org.scope():
        harness = catalog.publish_harness(
            on.id, {"version": "1", "image_ref": "registry/app:1"}, by=org.admin.principal
        )
    session = factories.running(org, factories.pending(org, on))
    return World(org, session, requested(org, session), harness)


def requested(org: Org, session: RunnerSession, **fields: Any) -> PermissionGrant:
    """By executing code, so that it waits for one approval."""
    given = {
        "operation": "network.egress:host:443",
        "resource": "",
        "constraints": {},
        "reason": "Fetch",
        "ttl_seconds": 1200,
    }
    with org.scope():
        return access.request(
            session.id, given | fields, by=org.runner.principal, lease_epoch=session.lease_epoch
        )


PAGES: dict[str, Callable[[World], str]] = {
    "fleet": lambda world: "/runners",
    "profile": lambda world: world.profile_page,
    "revisions": lambda world: world.profile_page + "/revisions",
    "harness": lambda world: world.harness_page,
    "executors": lambda world: "/runners/executors",
    "executor": lambda world: world.executor_page,
    "sessions": lambda world: "/runners/sessions",
    "queue": lambda world: "/runners/sessions?view=queue",
    "active": lambda world: "/runners/sessions?view=active",
    "attention": lambda world: "/runners/sessions?view=attention",
    "completed": lambda world: "/runners/sessions?view=completed",
    "session": lambda world: page_of(world.session),
    "events": lambda world: page_of(world.session, "events"),
    "event": lambda world: page_of(world.session, "events", "1"),
    "grant": lambda world: world.grant_page,
    "grants": lambda world: page_of(world.session, "grants"),
    "artifacts": lambda world: page_of(world.session, "artifacts"),
    "evidence": lambda world: page_of(world.session, "evidence"),
    "approvals": lambda world: "/runners/approvals",
    "active grants": lambda world: "/runners/approvals?view=active",
    "decided": lambda world: "/runners/approvals?view=decided",
    "lapsed": lambda world: "/runners/approvals?view=lapsed",
}
OWNED = (
    "profile",
    "revisions",
    "harness",
    "executor",
    "session",
    "events",
    "event",
    "grants",
    "grant",
    "artifacts",
    "evidence",
)


def digest(world: World) -> dict[str, str]:
    return {"operation_digest": world.grant.operation_digest, "ttl_seconds": "0"}


def because(world: World) -> dict[str, str]:
    return {"reason": "It is not to be trusted."}


CONFIRMED = {
    "cancel",
    "archive",
    "pause profile",
    "deprecate",
    "recall",
    "drain",
    "evict",
    "redact",
}


class Form(NamedTuple):
    """`may` and `may_not` are roles."""

    address: Callable[[World], str]
    may: str
    may_not: str
    data: Callable[[World], dict[str, str]] = lambda world: {}


FORMS = {
    "cancel": Form(lambda w: page_of(w.session, "cancel"), "operator", "approver"),
    "pause": Form(lambda w: page_of(w.session, "pause"), "operator", "viewer"),
    "archive": Form(lambda w: w.profile_page + "/archive", "operator", "viewer"),
    "pause profile": Form(lambda w: w.profile_page + "/pause", "operator", "viewer"),
    "unpause profile": Form(lambda w: w.profile_page + "/unpause", "operator", "viewer"),
    "deprecate": Form(lambda w: w.harness_page + "/deprecate", "operator", "viewer"),
    "recall": Form(lambda w: w.harness_page + "/recall", "operator", "viewer", because),
    "drain": Form(lambda w: w.executor_page + "/drain", "operator", "approver"),
    "undrain": Form(lambda w: w.executor_page + "/undrain", "operator", "approver"),
    "evict": Form(lambda w: w.executor_page + "/evict", "operator", "approver", because),
    "approve": Form(lambda w: w.grant_page + "/approve", "approver", "operator", digest),
    "deny": Form(
        lambda w: w.grant_page + "/deny",
        "approver",
        "operator",
        lambda w: digest(w) | {"comment": "No."},
    ),
    "revoke": Form(lambda w: w.grant_page + "/revoke", "operator", "approver"),
    "hold": Form(
        lambda w: page_of(w.session, "evidence", "hold"),
        "auditor",
        "operator",
        lambda w: {"reason": "A case."},
    ),
    "verify": Form(lambda w: page_of(w.session, "evidence", "verify"), "auditor", "operator"),
    "redact": Form(
        lambda w: page_of(w.session, "events", "1", "redact"),
        "auditor",
        "operator",
        lambda w: {"reason": "It held a password."},
    ),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_viewer_sees_every_page(world: World, name: str) -> None:
    response = browser(world.org.viewer).get(PAGES[name](world))
    assert response.status_code == 200
    assert response.content.count(b"<h1") == 1


@pytest.mark.parametrize("name", PAGES)
def test_a_stranger_is_sent_to_sign_in(world: World, name: str) -> None:
    response = browser().get(PAGES[name](world))
    assert response.status_code == 302
    assert response["Location"].startswith("/sign-in?next=")


def without_tokens(html: bytes) -> bytes:
    html = re.sub(rb'(csrfmiddlewaretoken"\s+value=")[^"]*', rb"\1", html)
    html = re.sub(rb'(name="next"\s+value=")[^"]*', rb"\1", html)
    return re.sub(rb'(server-time"\s+content=")[^"]*', rb"\1", html)


@pytest.mark.proves("api.not-yours")
@pytest.mark.parametrize("name", OWNED)
def test_not_yours_is_not_there(world: World, name: str) -> None:
    """Another organization's object and one that does not exist are the same page."""
    outsider = browser(Org().admin)
    address = PAGES[name](world)
    unknown = re.sub(
        r"(sess|prof|harn|exec)_\w+", lambda found: ids.encode(found[1], ids.new()), address
    )
    foreign, missing = (
        outsider.get(path, headers={"X-Request-Id": "same"}) for path in (address, unknown)
    )
    assert foreign.status_code == missing.status_code == 404
    assert without_tokens(foreign.content) == without_tokens(missing.content)


@pytest.mark.parametrize("name", FORMS)
def test_who_may_does(world: World, name: str) -> None:
    form = FORMS[name]
    client = browser(getattr(world.org, form.may))
    response = client.post(form.address(world), form.data(world))
    assert response.status_code == 303, response.content.decode()
    followed = client.get(response["Location"])
    assert followed.status_code == 200
    assert b'class="notice completed"' in followed.content


@pytest.mark.parametrize("name", FORMS)
def test_who_lacks_the_scope_is_told_which(world: World, name: str) -> None:
    form = FORMS[name]
    client = browser(getattr(world.org, form.may_not))
    response = client.post(form.address(world), form.data(world))
    assert response.status_code == 403
    assert b"runners:" in response.content


@pytest.mark.parametrize("name", FORMS)
def test_an_outsider_changes_nothing(world: World, name: str) -> None:
    form = FORMS[name]
    response = browser(Org().admin).post(form.address(world), form.data(world))
    assert response.status_code == 404
    with world.org.scope():
        world.session.refresh_from_db()
        world.grant.refresh_from_db()
    assert (world.session.desired_state, world.grant.state) == ("running", "requested")


@pytest.mark.proves("access.cookies")
@pytest.mark.parametrize("name", FORMS)
def test_a_form_without_its_token_does_nothing(world: World, name: str) -> None:
    form = FORMS[name]
    client = browser(getattr(world.org, form.may), csrf=True)
    response = client.post(form.address(world), form.data(world))
    assert response.status_code == 403
    assert b"form is out of date" in response.content


@pytest.mark.parametrize("name", FORMS)
def test_nothing_is_done_by_get(world: World, name: str) -> None:
    form = FORMS[name]
    response = browser(getattr(world.org, form.may)).get(form.address(world))
    assert response.status_code == (200 if name in CONFIRMED else 405)
    with world.org.scope():
        world.session.refresh_from_db()
    assert world.session.state == "running"


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_a_session_in_the_wrong_state_says_what_stands(world: World, verb: str) -> None:
    session = factories.pending(world.org)
    with world.org.scope():
        lifecycle.cancel(session.id, by=world.org.operator.principal)
    client = browser(world.org.operator)
    response = client.post(page_of(session, verb))
    if verb == "cancel":
        # Cancelling what is cancelled is the same answer again.
        assert response.status_code == 303
        response = client.get(page_of(session, verb))
    assert response.status_code == 409
    assert b"Cancelled" in response.content


@pytest.mark.parametrize("verb", ["approve", "deny"])
def test_a_request_is_decided_once(world: World, verb: str) -> None:
    with world.org.scope():
        access.revoke(world.session.id, world.grant.id, by=world.org.operator.principal)
    form = FORMS[verb]
    response = browser(world.org.approver).post(form.address(world), form.data(world))
    assert response.status_code == 409
    assert b"Revoked" in response.content


def test_fragments_hold_the_part_alone(world: World) -> None:
    client = browser(world.org.viewer)
    for name in ("fleet", "profile", "executors", "executor", "sessions", "approvals"):
        response = client.get(PAGES[name](world), headers={"HX-Request": "true"})
        assert response.status_code == 200
        assert b"<html" not in response.content
        assert b"data-refresh=" in response.content
