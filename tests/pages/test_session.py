"""One session's page: what it says in each state, what it lets people do, what it costs."""

from __future__ import annotations

import io
import re
from datetime import timedelta
from typing import Any

import pytest

from grants import artifacts, events
from grants.artifacts import Description
from grants.drafts import Draft
from grants.storage import Blob
from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity.scopes import Role
from profiles import catalog
from profiles.models import RunnerProfile
from sessions import claims, lifecycle, outcomes
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browsers import at_most, browser, instants, page_of, text_of
from tests.people import Org

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def org() -> Org:
    return Org()


def shown(org: Org, session: RunnerSession) -> str:
    return text_of(browser(org.operator).get(page_of(session)))


def stored(org: Org, content: bytes) -> Blob:
    with Draft(org.id, 1000) as draft:
        draft.write(content)
        return artifacts.keep(draft)


def record(org: Org, session: RunnerSession, *given: dict[str, Any]) -> None:
    with org.scope():
        events.ingest(session.id, list(given), by=org.runner.principal, lease_epoch=1)


def test_a_running_session_shows_lease_and_actions(org: Org) -> None:
    session = factories.running(org)
    text = shown(org, session)
    for words in (
        "Running",
        "attempt 1",
        "Healthy",
        "expected every",
        "Pause session",
        "Cancel session",
    ):
        assert words in text
    assert "Resume session" not in text


def test_a_viewer_is_offered_nothing_to_do(org: Org) -> None:
    response = browser(org.viewer).get(page_of(factories.running(org)))
    assert b"Cancel session" not in response.content
    assert b"Pause session" not in response.content


def test_a_failed_session_begins_with_its_reason(org: Org) -> None:
    session = factories.running(org)
    report = {"error": {"code": "upstream_unreachable", "message": "No answer."}}
    with org.scope():
        outcomes.end(session.id, Verb.FAIL, report, by=org.runner.principal)
    text = shown(org, session)
    assert "Failed: upstream_unreachable" in text
    assert "No answer." in text
    assert "Last event before it (#" in text
    assert "Cancel session" not in text


def test_a_paused_session_may_be_resumed(org: Org) -> None:
    session = factories.pending(org)
    client = browser(org.operator)
    assert client.post(page_of(session, "pause")).status_code == 303
    text = shown(org, session)
    assert "It holds no lease" in text
    assert "Resume session" in text
    assert client.post(page_of(session, "resume")).status_code == 303
    assert "Why is it waiting?" in shown(org, session)


def test_a_wished_pause_can_be_withdrawn(org: Org) -> None:
    session = factories.running(org)
    client = browser(org.operator)
    client.post(page_of(session, "pause"))
    text = shown(org, session)
    assert "Withdraw pause" in text
    assert "has not confirmed yet" in text
    client.post(page_of(session, "resume"))
    assert "Pause session" in shown(org, session)


def test_cancelling_asks_first_and_keeps_the_reason(org: Org) -> None:
    session = factories.running(org)
    client = browser(org.operator)
    assert b"Cancel this session?" in client.get(page_of(session, "cancel")).content
    client.post(page_of(session, "cancel"), {"reason": "Superseded"})
    text = shown(org, session)
    assert "The executor has not been told yet" in text
    factories.session_api(org, session).post(factories.path(session, "heartbeat"))
    assert "and has not confirmed it" in shown(org, session)
    assert org.operator.user.email in text
    assert "Superseded" in text_of(client.get(page_of(session, "events")))


def test_a_reason_that_is_too_long_is_kept_in_the_form(org: Org) -> None:
    session = factories.running(org)
    response = browser(org.operator).post(page_of(session, "cancel"), {"reason": "x" * 2001})
    assert response.status_code == 422
    assert b"<title>Error: " in response.content
    assert b"x" * 2001 in response.content


class TestWhyItWaits:
    def test_position(self, org: Org) -> None:
        factories.pending(org)
        last = factories.pending(org)
        factories.asking(org)
        text = shown(org, last)
        assert "It goes to the next executor that asks." in text
        assert "Position in the queue2" in text

    def test_labels(self, org: Org) -> None:
        session = factories.pending(org, labels={"gpu": "a100"})
        assert "No executor has asked for work of its profile" in shown(org, session)
        org.runner.api.post("/runners/sessions/claim", {"labels": {"gpu": "t4"}})
        assert "none of them offers gpu=a100" in shown(org, session)
        with org.scope():
            RunnerExecutor.objects.update(labels={"gpu": "a100"})
        assert "the next executor that offers gpu=a100" in shown(org, session)

    def test_not_yet_time(self, org: Org) -> None:
        later = clock.now() + timedelta(hours=1)
        text = shown(org, factories.pending(org, not_before=later))
        assert "It is not yet time." in text

    def test_limit(self, org: Org) -> None:
        on = factories.profile(org, max_concurrent_sessions=1)
        factories.running(org, factories.pending(org, on))
        assert "runs 1 of at most 1 sessions" in shown(org, factories.pending(org, on))


def test_artifacts_are_downloads(org: Org) -> None:
    session = factories.running(org)
    blob = stored(org, b"<h1>hello</h1>")
    with org.scope():
        made = artifacts.seal(
            session.id, blob, Description("report.html", "report", "text/html"),
            by=org.runner.principal, lease_epoch=1,
        )  # fmt: skip
    client = browser(org.viewer)
    assert "report.html" in text_of(client.get(page_of(session)))
    address = page_of(session, "artifacts", ids.encode("art", made.id))
    response = client.get(address)
    assert b"".join(response.streaming_content) == b"<h1>hello</h1>"
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response["Content-Security-Policy"]
    assert browser(Org().admin).get(address).status_code == 404


def test_the_evidence_bundle_is_for_auditors(org: Org) -> None:
    session = factories.running(org)
    address = page_of(session, "evidence", "bundle")
    export = f'href="{address}">Export'
    assert export not in browser(org.operator).get(page_of(session)).content.decode()
    assert browser(org.operator).get(address).status_code == 403
    auditor = browser(org.auditor)
    assert export in auditor.get(page_of(session)).content.decode()
    response = auditor.get(address)
    assert b"events.ndjson" in io.BytesIO(b"".join(response.streaming_content)).read()
    assert browser(Org().auditor).get(address).status_code == 404


def test_whatever_people_and_code_send_is_shown_as_text(org: Org) -> None:
    on = factories.profile(
        org,
        name=HOSTILE + "p",
        description=HOSTILE,
        execution_target=HOSTILE,
        labels={"a": HOSTILE},
    )
    with org.scope():
        catalog.publish_harness(
            on.id,
            {"version": HOSTILE, "image_ref": HOSTILE, "notes": HOSTILE},
            by=org.admin.principal,
        )
    session = factories.pending(
        org, on, task_id=HOSTILE, labels={HOSTILE: HOSTILE}, metadata={HOSTILE: [HOSTILE]},
        input={HOSTILE: {"deep": HOSTILE}},
    )  # fmt: skip
    runner = org.runner.principal
    blob = stored(org, b"x")
    with org.scope():
        executor = {"name": HOSTILE, "version": HOSTILE}
        claims.claim(session.id, claims.ClaimRequest(executor=executor), by=runner)
        claims.heartbeat(session.id, by=runner, progress={"message": HOSTILE, "unit": HOSTILE})
        claims.checkpoint(session.id, {HOSTILE: HOSTILE}, by=runner, label=HOSTILE)
        artifacts.seal(session.id, blob, Description(HOSTILE), by=runner, lease_epoch=1)
    record(
        org, session,
        {"kind": "log", "level": "error", "message": HOSTILE, "step": HOSTILE,
         "data": {"x": HOSTILE}},
    )  # fmt: skip
    client = browser(org.admin)
    profile = f"/runners/profiles/{ids.encode('prof', on.id)}"
    for address in (
        "/runners", profile, f"{profile}/archive", "/runners/sessions",
        "/runners/sessions?view=active", page_of(session), page_of(session, "events"),
    ):  # fmt: skip
        response = client.get(address)
        assert response.status_code == 200, address
        assert b"<script>alert" not in response.content, address
        assert b"&lt;script&gt;alert(1)" in response.content, address
    with org.scope():
        outcomes.end(session.id, Verb.FAIL, {"error": {"code": "x", "message": HOSTILE}}, by=runner)
    assert b"<script>alert" not in client.get(page_of(session)).content


def test_every_instant_says_that_it_is_utc(org: Org) -> None:
    response = browser(org.operator).get(page_of(factories.running(org)))
    found = instants(response)
    assert len(found) > 10
    for machine, tip, text in found:
        assert machine.endswith("Z")
        assert tip.endswith("Z")
        assert text.endswith("Z") or not text[:4].isdigit()


def _everything(org: Org, **fields: Any) -> RunnerSession:
    """The most expensive page: retried, waiting, with errors, checkpoints, grants and artifacts."""
    on = factories.profile(org, max_attempts=3, max_concurrent_sessions=9)
    machine = org.machine(Role.ADMIN, owner=org.person(Role.ADMIN))
    with org.scope():
        wanted = {"profile_id": on.id, "task_id": "t"} | fields
        session = lifecycle.dispatch(wanted, by=machine.principal)
    factories.running(org, session)
    record(org, session, *({"kind": "log", "level": "error", "message": "no"} for _ in range(9)))
    with org.scope():
        for number in range(5):
            claims.checkpoint(session.id, {"n": number}, by=org.runner.principal, lease_epoch=1)
        outcomes.end(
            session.id, Verb.FAIL, {"retryable": True}, by=org.runner.principal, lease_epoch=1
        )
    return session


def held_up(org: Org) -> RunnerSession:
    """Tried once, with a grant on record, refused since, and behind two limits that are reached,
    its profile's and its key's."""
    session = _everything(org, concurrency_key="deploy/eu")
    grant = {"operation": "x", "reason": "y", "ttl_seconds": 60}
    org.operator.api.post(factories.path(session, "permissions"), grant)
    with org.scope():
        RunnerProfile.objects.filter(id=session.profile_id).update(max_concurrent_sessions=1)
        on = RunnerProfile.objects.get(id=session.profile_id)
    factories.running(org, factories.pending(org, on, concurrency_key="deploy/eu"))
    org.runner.api.post(factories.path(session, "claim"))
    return session


def test_the_page_costs_the_same_whatever_happened(org: Org) -> None:
    waiting, running = _everything(org), factories.running(org)
    grant = {"operation": "x", "reason": "y", "ttl_seconds": 60}
    for _ in range(2):
        factories.session_api(org, running).post(factories.path(running, "permissions"), grant)
    full = held_up(org)
    client = browser(org.approver)
    for session in (waiting, running, full):
        with at_most(16):
            assert client.get(page_of(session)).status_code == 200


def test_the_executor_leads_to_all_that_it_has_had(org: Org) -> None:
    session = factories.pending(org, concurrency_key="deploy/eu")
    body = {"executor": {"name": "gateway-7"}}
    org.runner.api.post(factories.path(session, "claim"), body)
    page = browser(org.viewer).get(page_of(session))
    assert "Executor gateway-7" in text_of(page)
    assert "deploy/eu, at most 1 at once" in text_of(page)
    link = re.compile(r'href="(/runners/sessions\?executor_id=exec_[^"]+)"')
    (address,) = link.findall(page.content.decode())
    listed = text_of(browser(org.viewer).get(address))
    assert session.task_id in listed
    assert "Executor" in listed
