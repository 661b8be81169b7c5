"""What was refused is on record: beside the chain, counted by the minute, and in the log."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from keeptrusts_runners import clock, ids
from profiles.models import RunnerProfile
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession
from sessions.refusal_models import Refusal
from tests import factories
from tests.factories import path, session_api
from tests.people import Api, Org
from tests.sessions import records, roads


@pytest.fixture
def org() -> Org:
    return Org()


def refusals(org: Org, session: RunnerSession) -> list[dict[str, Any]]:
    answer = org.viewer.api.get(path(session, "refusals"))
    assert answer.status_code == 200, answer.content
    return list(answer.json()["items"])


def stale(org: Org) -> tuple[RunnerSession, Api]:
    """A session under its second lease, and the token of the first."""
    on = factories.profile(org, max_attempts=5, backoff_seconds=0)
    first = factories.running(org, factories.pending(org, on))
    token = session_api(org, first)
    return factories.running(org, roads.requeue(org, first)), token


@pytest.mark.proves("fence.stale-on-record")
def test_a_stale_write_is_on_record_and_not_in_the_chain(org: Org) -> None:
    session, token = stale(org)
    before = records.kinds(org, session)
    answer = token.post(path(session, "heartbeat"))
    assert (answer.json()["code"], answer.json()["named_epoch"]) == ("lease_lost", 1)
    (kept,) = refusals(org, session)
    assert kept["actor"] == f"{ids.encode('sess', session.id)}#1"
    assert (
        kept
        | {
            "operation": "heartbeat",
            "code": "lease_lost",
            "named_epoch": 1,
            "lease_epoch": 2,
            "count": 1,
            "request_id": answer["X-Request-Id"],
        }
        == kept
    )
    assert records.kinds(org, session) == before


@pytest.mark.proves("fence.stale-on-record")
def test_every_kind_of_write_has_a_row_of_its_own(org: Org) -> None:
    session, token = stale(org)
    grant = ids.encode("grant", ids.new())
    token.post(path(session, "events"), {"kind": "log"})
    token.post(path(session, "checkpoint"), {"data": {}})
    token.patch(path(session), {"state": "completed"})
    token.post(path(session, f"permissions/{grant}/use"))
    asked = {"operation": "network.egress", "reason": "r", "ttl_seconds": 60}
    token.post(path(session, "permissions"), asked)
    query = f"{path(session, 'artifacts')}?name=a.txt"
    token.request("POST", query, raw=b"late", **{"Content-Type": "text/plain"})
    found = {each["operation"] for each in refusals(org, session)}
    assert found == {"events", "checkpoint", "patch", "use", "permissions", "artifacts"}


@pytest.mark.proves("fence.stale-on-record")
def test_repeats_within_a_minute_are_counted(org: Org) -> None:
    session, token = stale(org)
    for _ in range(3):
        last = token.post(path(session, "heartbeat"))
    found = refusals(org, session)
    # A minute may have ended meanwhile.
    assert len(found) <= 2
    assert sum(each["count"] for each in found) == 3
    assert found[0]["request_id"] == last["X-Request-Id"]
    assert found[0]["first_at"] <= found[0]["last_at"]


@pytest.mark.proves("explain.why")
def test_a_refused_claim_says_why_in_explain_and_in_the_log(org: Org) -> None:
    on: RunnerProfile = factories.profile(org, max_concurrent_sessions=1)
    factories.running(org, factories.pending(org, on))
    session = factories.pending(org, on)
    with capture_logs() as lines:
        org.runner.api.post(path(session, "claim"))
    (line,) = [each for each in lines if each["event"] == "claim.refused"]
    assert (line["session"], line["code"], line["reason"]) == (
        ids.encode("sess", session.id),
        "not_claimable",
        "limit_reached",
    )
    (told,) = org.viewer.api.get(path(session, "explain")).json()["refusals"]
    assert (told["operation"], told["code"], told["reason"]) == (
        "claim",
        "not_claimable",
        "limit_reached",
    )


def test_a_refused_claim_of_the_next_session_is_in_the_log(org: Org) -> None:
    executor = factories.asking(org, "gateway-1")
    with org.scope():
        RunnerExecutor.objects.filter(id=executor.id).update(draining_at=clock.now())
    with capture_logs() as lines:
        org.runner.api.post("/runners/sessions/claim", {"executor": {"name": "gateway-1"}})
    (line,) = [each for each in lines if each["event"] == "claim.refused"]
    assert (line["code"], line["session"], line["executor"]) == (
        "executor_draining",
        None,
        ids.encode("exec", executor.id),
    )


def test_a_claim_of_what_is_taken_is_on_record(org: Org) -> None:
    session = factories.claimed(org)
    other = org.machine()
    other.api.post(path(session, "claim"))
    (kept,) = refusals(org, session)
    assert (kept["code"], kept["reason"], kept["actor"]) == (
        "state_conflict",
        "dispatched",
        other.principal.actor,
    )


def test_another_runners_write_is_on_record(org: Org) -> None:
    session = factories.running(org)
    other = org.machine()
    other.api.post(path(session, "heartbeat"), {"lease_epoch": 1})
    assert [each["code"] for each in refusals(org, session)] == ["not_lease_holder"]


def test_what_is_no_matter_of_the_lease_is_not_kept(org: Org) -> None:
    session = factories.pending(org)
    org.operator.api.post(path(session, "resume"))
    org.viewer.api.post(path(session, "cancel"))
    assert refusals(org, session) == []


def test_an_outsider_leaves_no_trace_and_sees_none(org: Org) -> None:
    session = factories.claimed(org)
    outsider = Org()
    assert outsider.runner.api.post(path(session, "claim")).status_code == 404
    assert outsider.viewer.api.get(path(session, "refusals")).status_code == 404
    assert refusals(org, session) == []
    with outsider.scope():
        assert not Refusal.objects.exists()


def test_a_refusal_that_cannot_be_recorded_is_answered_all_the_same(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, token = stale(org)
    monkeypatch.setattr("sessions.refusals._COUNT", "SELECT no_such_function()")
    assert token.post(path(session, "heartbeat")).json()["code"] == "lease_lost"


@pytest.mark.parametrize(
    ("verb", "columns", "reason"),
    [
        ("lose", ("lease_expires_at",), "lease_expired"),
        ("time_out", ("deadline_at",), "timeout"),
        ("force", (), "cancel_forced"),
    ],
)
def test_what_ends_a_session_from_outside_is_one_line_of_the_log(
    org: Org, verb: str, columns: tuple[str, ...], reason: str
) -> None:
    session = factories.running(org)
    with capture_logs() as lines:
        if columns:
            roads.settled(org, session, *columns)
        else:
            org.operator.api.post(path(session, "cancel"), {"force": True})
    (line,) = [each for each in lines if each["event"] == "session.settled"]
    name = ids.encode("sess", session.id)
    assert (line["verb"], line["session"], line["epoch"], line["reason"]) == (verb, name, 1, reason)


# --- the way of a cancellation ---------------------------------------------------------------


def cancellation(org: Org, session: RunnerSession) -> dict[str, Any]:
    return dict(org.viewer.api.get(path(session)).json()["cancel"])


@pytest.mark.proves("life.cancel-ladder")
def test_a_cancellation_is_followed_from_the_request_to_the_acknowledgement(org: Org) -> None:
    session = factories.running(org)
    assert org.viewer.api.get(path(session)).json()["cancel"] is None
    org.operator.api.post(path(session, "cancel"))
    asked = cancellation(org, session)
    assert asked["requested_by"] == org.operator.principal.actor
    assert asked["force_at"] > asked["requested_at"]
    assert (asked["delivered_at"], asked["acknowledged_at"], asked["forced_at"]) == (None,) * 3
    token = session_api(org, session)
    assert token.post(path(session, "events"), {"kind": "log"}).status_code == 201
    told = cancellation(org, session)
    assert told["delivered_at"] > asked["requested_at"]
    token.post(path(session, "heartbeat"))
    assert cancellation(org, session)["delivered_at"] == told["delivered_at"]
    assert records.kinds(org, session).count("cancel.delivered") == 1
    token.patch(path(session), {"state": "cancelled"})
    ended = cancellation(org, session)
    assert ended["acknowledged_at"] > told["delivered_at"]
    assert (ended["force_at"], ended["forced_at"]) == (None, None)
    records.assert_sound(org, session)


@pytest.mark.parametrize("column", ["deadline_at", "lease_expires_at"])
def test_one_that_nobody_acknowledges_is_forced(org: Org, column: str) -> None:
    session = factories.running(org)
    roads.cancel(org, session)
    roads.settled(org, session, column)
    ended = cancellation(org, session)
    assert (ended["delivered_at"], ended["acknowledged_at"]) == (None, None)
    assert ended["forced_at"] == org.viewer.api.get(path(session)).json()["ended_at"]


def test_without_a_lease_there_is_nobody_to_tell(org: Org) -> None:
    session = factories.pending(org)
    roads.cancel(org, session)
    ended = cancellation(org, session)
    assert ended["requested_at"] is not None
    assert {ended[name] for name in ("delivered_at", "acknowledged_at", "forced_at")} == {None}


def test_who_asked_first_stays_on_record_when_it_is_forced(org: Org) -> None:
    session = factories.running(org)
    roads.cancel(org, session)
    org.admin.api.post(path(session, "cancel"), {"force": True})
    ended = cancellation(org, session)
    assert ended["requested_by"] == org.operator.principal.actor
    assert ended["forced_at"] is not None
