"""Ten tasks of an incident, from the Fleet page: at a desk, and by a phone without JavaScript."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.db.models import Min

from grants.models import Event
from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from profiles import catalog
from profiles.models import HarnessRevision, RunnerProfile
from sessions import batch_work, harness_recalls, outcomes
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browser import hands
from tests.browser.driving import DESKTOP, PHONE, Site, expect
from tests.browser.hands import MOST_PRESSES, Entry, Hands, Steps, Task
from tests.factories import path
from tests.grants import asking
from tests.people import Org

# Enough for ten windows; that the links cost the same of a million is measured elsewhere.
LONG = 5_000


@pytest.fixture(scope="module")
def org(django_db_setup: None) -> Org:
    """In which things go wrong. Each task leaves its own trouble to the next."""
    made = Org()
    assert all((made.operator, made.approver, made.auditor, made.admin, made.runner))
    return made


def name(session: RunnerSession) -> str:
    return ids.encode("sess", session.id)


def told(org: Org, session: RunnerSession) -> dict[str, Any]:
    return dict(org.viewer.api.get(path(session)).json())


def failed(org: Org, session: RunnerSession, reason: str = "harness_error") -> RunnerSession:
    body = {"error": {"code": reason, "message": "connection refused"}}
    with org.scope():
        return outcomes.end(session.id, Verb.FAIL, body, by=org.runner.principal)


def published(org: Org, on: RunnerProfile) -> HarnessRevision:
    given = {"version": f"2026.{ids.new().hex[-6:]}", "image_ref": "r/app"}
    with org.scope():
        return catalog.publish_harness(on.id, given, by=org.admin.principal)


def row(hand: Hands, session: RunnerSession) -> Any:
    return hand.page.locator(f"#row-{name(session)}")


def open_failures(hand: Hands) -> None:
    hand.press(hand.page.locator("li.card", has_text="Failed, last 24 h").get_by_role("link"))


def open_queue(hand: Hands) -> None:
    hand.press(hand.page.locator("li.card", has_text="Queued").get_by_role("link"))


def open_session(hand: Hands, session: RunnerSession) -> None:
    hand.press(row(hand, session).get_by_role("rowheader").get_by_role("link"))


# --- the tasks -------------------------------------------------------------------------------


def recall_the_failing_harness(org: Org, hand: Hands) -> Steps:
    on = factories.profile(org)
    harness = published(org, on)
    for _ in range(3):
        failed(org, factories.running(org, factories.pending(org, on)))
    yield
    open_failures(hand)
    hand.link(harness.version, hand.page.locator("#causes"))
    hand.link("Recall")
    hand.type("Reason", "fails at once")
    hand.button("Recall revision")
    expect(hand.page.get_by_text("Recalled", exact=True).first).to_be_visible()
    yield
    with org.scope():
        harness.refresh_from_db()
    assert (harness.status, harness.status_reason) == ("recalled", "fails at once")


def stop_a_profile(org: Org, hand: Hands) -> Steps:
    on = factories.profile(org)
    yield
    hand.link(on.name)
    hand.link("Pause profile")
    hand.button("Pause profile")
    expect(hand.page.locator(".head .state")).to_have_text("Paused")
    yield
    waiting = factories.pending(org, on)
    claimed = org.runner.api.post(path(waiting, "claim"), {})
    assert claimed.status_code == 409, claimed.content
    assert told(org, waiting)["state"] == "pending"


def see_why_a_session_waits(org: Org, hand: Hands) -> Steps:
    on = factories.profile(org)
    harness = published(org, on)
    session = factories.pending(org, on)
    with org.scope():
        harness_recalls.recall(on.id, harness.id, by=org.operator.principal, reason="fails at once")
    yield
    open_queue(hand)
    open_session(hand, session)
    why = hand.page.get_by_role("region", name="Why is it waiting?")
    expect(why).to_contain_text(f"Its harness revision {harness.version} has been recalled.")
    yield
    answer = org.viewer.api.get(path(session, "explain")).json()
    assert answer["waiting"]["code"] == "harness_recalled"


def force_a_stuck_cancellation(org: Org, hand: Hands) -> Steps:
    session = factories.running(org)
    org.operator.api.post(path(session, "cancel"), {"reason": "hangs"})
    with org.scope():
        past = clock.now() - timedelta(seconds=1)
        RunnerSession.objects.filter(id=session.id).update(deadline_at=past)
    yield
    hand.link(re.compile("not confirmed in time"))
    open_session(hand, session)
    hand.link("Force cancel")
    hand.type("Reason", "its host is gone")
    hand.button("Force cancel")
    expect(hand.page.locator(".head .state").first).to_have_text("Cancelled")
    yield
    found = told(org, session)
    assert (found["state"], found["reason"]) == ("cancelled", "cancel_forced")


def approve_a_request(org: Org, hand: Hands) -> Steps:
    rule = {"operation": "network.egress:*", "approvals_required": 1, "risk": "high"}
    grant = asking.requested(org, asking.under(org, rule), operation=_operation("host"))
    yield
    hand.link(re.compile(r"approvals? waiting"))
    hand.link(re.compile(f"^{grant['operation']}"))
    hand.type("Comment", "agreed on the call")
    hand.button("Approve grant")
    expect(hand.page.get_by_text(f"{grant['operation']} approved.")).to_be_visible()
    yield
    assert asking.shown(org, grant)["state"] == "active"
    assert asking.usable(org, grant)


def _operation(word: str) -> str:
    return f"network.egress:{word}-{ids.new().hex[-6:]}"


def revoke_all_grants_of_an_operation(org: Org, hand: Hands) -> Steps:
    operation, rule = _operation("host"), {"operation": "*", "approvals_required": 0}
    grants = [asking.requested(org, asking.under(org, rule), operation=operation) for _ in range(3)]
    assert all(asking.usable(org, each) for each in grants)
    yield
    hand.link(re.compile("^Approvals"))
    hand.link(re.compile("^Active grants"))
    hand.link(re.compile(f"^Revoke all of it.*{operation}"))
    hand.type("Reason", "the host is hostile")
    hand.button(re.compile("^Revoke 3"))
    expect(hand.page.get_by_role("heading", name=re.compile("^3 grants.*revoked$"))).to_be_visible()
    yield
    assert {asking.shown(org, each)["state"] for each in grants} == {"revoked"}


def find_the_first_error(org: Org, hand: Hands) -> Steps:
    session = factories.running(org)
    levels = ["info"] * (LONG - 900) + ["error"] + ["info"] * 500 + ["error"] * 3 + ["info"] * 396
    for at in range(0, LONG, 500):
        events = [
            {"kind": "log", "level": each, "message": "line"} for each in levels[at : at + 500]
        ]
        answer = org.runner.api.post(path(session, "events"), {"events": events})
        assert answer.status_code == 200, answer.content
    failed(org, session)
    yield
    open_failures(hand)
    open_session(hand, session)
    hand.link(re.compile("^Events"), hand.page.locator("#session-tabs"))
    hand.link("Next error")
    with org.scope():
        errors = Event.objects.filter(session_id=session.id, level="error")
        first = errors.aggregate(first=Min("seq"))["first"]
    expect(hand.page.locator(f"#e{first}")).to_be_in_viewport()
    expect(hand.page.locator(f"#e{first} .level")).to_have_text("error")
    yield
    assert first > LONG - 900
    assert hand.page.url.endswith(f"?at={first}#e{first}")


def hand_over_the_evidence(org: Org, hand: Hands) -> Steps:
    session = failed(org, factories.running(org))
    yield
    open_failures(hand)
    open_session(hand, session)
    with hand.page.expect_download() as download:
        hand.link("Export")
    saved = Path(download.value.path())
    yield
    assert verify_bundle(saved, None, None).exit_code == 0
    assert download.value.suggested_filename == f"{name(session)}.evidence.tar"


def retry_what_failed_in_the_last_hour(org: Org, hand: Hands) -> Steps:
    sessions = [failed(org, factories.running(org)) for _ in range(3)]
    yield
    open_failures(hand)
    hand.link("last 1h")
    hand.link(re.compile("^Retry all"))
    hand.type("Reason", "the network was down")
    hand.button(re.compile("^Retry"))
    expect(hand.page.get_by_text("chosen.")).to_be_visible()
    yield
    while batch_work.run_once():
        pass
    with org.scope():
        again = RunnerSession.objects.filter(retry_of_id__in=[each.id for each in sessions])
        assert {each.retry_of_id for each in again} == {each.id for each in sessions}


def see_who_holds_a_limit(org: Org, hand: Hands) -> Steps:
    on = factories.profile(org, max_concurrent_sessions=1)
    holder = factories.running(org, factories.pending(org, on))
    waiting = factories.pending(org, on)
    yield
    open_queue(hand)
    open_session(hand, waiting)
    hand.press(hand.page.get_by_text("The slots are held by").get_by_role("link").first)
    expect(hand.page).to_have_url(re.compile(f"{name(holder)}$"))
    yield
    answer = org.viewer.api.get(path(waiting, "explain")).json()
    assert answer["limit"]["holders"] == [name(holder)]


# --- who does each, and where ----------------------------------------------------------------


class Device(NamedTuple):
    size: tuple[int, int]
    js: bool


DEVICES = {
    "desk, 1440 px": Device(DESKTOP, True),
    "phone, 390 px, no JavaScript": Device(PHONE, False),
}
TASKS: dict[str, tuple[Task, str]] = {
    "Recall the failing harness": (recall_the_failing_harness, "operator"),
    "Stop a profile": (stop_a_profile, "operator"),
    "See why a session waits": (see_why_a_session_waits, "viewer"),
    "Force a stuck cancellation": (force_a_stuck_cancellation, "operator"),
    "Approve a request": (approve_a_request, "approver"),
    "Revoke all grants of an operation": (revoke_all_grants_of_an_operation, "operator"),
    "Find the first error of a long session": (find_the_first_error, "viewer"),
    "Hand over the evidence": (hand_over_the_evidence, "auditor"),
    "Retry what failed in the last hour": (retry_what_failed_in_the_last_hour, "operator"),
    "See who holds a limit": (see_who_holds_a_limit, "viewer"),
}
ROWS = [(task, device) for task in TASKS for device in DEVICES]


@pytest.mark.proves("console.incidents")
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("task", TASKS)
def test_a_task_of_an_incident_takes_four_presses(
    site: Site, org: Org, task: str, device: str, pytestconfig: pytest.Config
) -> None:
    steps, who = TASKS[task]
    hand = Hands(site.page(getattr(org, who), size=DEVICES[device].size, js=DEVICES[device].js))
    taken = steps(org, hand)
    next(taken)
    hand.page.goto("/runners")
    seconds = timed(taken)
    assert next(taken, None) is None
    assert hand.presses <= MOST_PRESSES
    if pytestconfig.getoption("--incidents"):
        hands.write(Entry(task, device, hand.presses, f"{seconds:.1f}"), ROWS)
    assert hands.written()[task, device].presses == hand.presses


def timed(taken: Iterator[None]) -> float:
    began = time.perf_counter()
    next(taken)
    return time.perf_counter() - began


def test_the_document_tells_of_these_tasks_alone(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("--incidents"):
        assert list(hands.written()) == ROWS
