"""Executors: known from their claims, drained so that they finish, evicted so that they cannot."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from grants.models import PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity import accounts
from sessions import evictions
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession
from sessions.states import State
from tests import factories
from tests.factories import path
from tests.people import Api, Machine, Org
from tests.sessions import records, roads

NEXT = "/runners/sessions/claim"


@pytest.fixture
def org() -> Org:
    return Org()


def claim(org: Org, name: str = "gateway-1", by: Machine | None = None, **body: Any) -> Any:
    said = {"executor": {"name": name, "version": "2.1"}} | body
    return (by or org.runner).api.post(NEXT, said)


def executors(org: Org, query: str = "") -> list[dict[str, Any]]:
    answer = org.viewer.api.get(f"/runners/executors{query}")
    assert answer.status_code == 200, answer.content
    return list(answer.json()["items"])


def asked(org: Org, executor: dict[str, Any], verb: str, **body: Any) -> Any:
    return org.operator.api.post(f"/runners/executors/{executor['id']}/{verb}", body)


def holding(org: Org, sessions: int = 1, **fields: Any) -> tuple[dict[str, Any], list[Any]]:
    """An executor that has claimed and runs so many sessions; their tokens."""
    for _ in range(sessions):
        factories.pending(org, **fields)
    claimed = claim(org, max=50).json()["items"]
    assert len(claimed) == sessions
    for each in claimed:
        Api(each["session_token"]).post(f"/runners/sessions/{each['id']}/heartbeat")
    (executor,) = executors(org)
    return executor, claimed


def row(org: Org, claimed: dict[str, Any]) -> RunnerSession:
    with org.scope():
        return RunnerSession.objects.get(id=ids.decode("sess", claimed["id"]))


# --- known from claims -----------------------------------------------------------------------


@pytest.mark.proves("life.executors")
def test_an_executor_is_known_from_its_first_question_for_work(org: Org) -> None:
    profile = ids.encode("prof", factories.profile(org).id)
    assert claim(org, labels={"zone": "a"}, profiles=[profile]).status_code == 204
    (known,) = executors(org)
    assert (known["name"], known["version"], known["account"]) == (
        "gateway-1",
        "2.1",
        org.runner.principal.account,
    )
    assert (known["labels"], known["profiles"]) == ({"zone": "a"}, [profile])
    assert (known["status"], known["sessions_held"], known["draining"]) == ("available", 0, None)
    assert org.viewer.api.get(f"/runners/executors/{known['id']}").json() == known


def test_it_is_the_same_executor_by_account_and_name(org: Org) -> None:
    for name in ("a", "a", "b"):
        claim(org, name)
    claim(org, "a", org.machine())
    assert sorted(each["name"] for each in executors(org)) == ["a", "a", "b"]
    assert len(executors(org, "?name=a")) == 2
    assert len(executors(org, f"?account={org.runner.principal.account}")) == 2


def test_what_it_says_of_itself_is_followed_at_once(org: Org) -> None:
    claim(org, labels={"zone": "a"})
    claim(org, labels={"zone": "b"}, executor={"name": "gateway-1", "version": "3"})
    (known,) = executors(org)
    assert (known["labels"], known["version"]) == ({"zone": "b"}, "3")


def test_asking_again_and_again_writes_only_now_and_then(org: Org) -> None:
    def written() -> Any:
        with org.scope():
            return RunnerExecutor.objects.values_list("polled_at", flat=True).get()

    claim(org)
    first = written()
    claim(org)
    assert written() == first
    with org.scope():
        past = clock.now() - timedelta(seconds=20)
        RunnerExecutor.objects.update(polled_at=past, last_seen_at=past)
    claim(org)
    assert written() > first


def test_a_session_knows_its_executor_and_lists_are_filtered_by_it(org: Org) -> None:
    executor, (claimed,) = holding(org)
    assert claimed["executor_id"] == executor["id"]
    claim(org, "other")
    factories.pending(org)
    listed = org.viewer.api.get(f"/runners/sessions?executor_id={executor['id']}").json()
    assert [each["id"] for each in listed["items"]] == [claimed["id"]]
    assert executors(org, "?name=gateway-1")[0]["sessions_held"] == 1


def test_one_that_holds_leases_is_busy_and_one_that_is_silent_is_offline(org: Org) -> None:
    holding(org)
    with org.scope():
        RunnerExecutor.objects.update(polled_at=clock.now() - timedelta(hours=1))
    assert executors(org)[0]["status"] == "busy"
    (session,) = _sessions(org)
    org.operator.api.post(path(session, "cancel"), {"force": True})
    assert executors(org)[0]["status"] == "offline"


def _sessions(org: Org) -> list[RunnerSession]:
    with org.scope():
        return list(RunnerSession.objects.all())


def test_a_claim_by_id_makes_an_executor_known_too(org: Org) -> None:
    session = factories.pending(org)
    org.runner.api.post(path(session, "claim"), {"executor": {"name": "by-hand"}})
    (known,) = executors(org)
    assert (known["name"], known["sessions_held"], known["status"]) == ("by-hand", 1, "busy")


# --- drain -----------------------------------------------------------------------------------


@pytest.mark.proves("life.executors")
def test_a_drained_executor_is_handed_nothing_and_told_so(org: Org) -> None:
    executor, (claimed,) = holding(org)
    waiting = factories.pending(org)
    drained = asked(org, executor, "drain", reason="kernel update").json()
    assert drained["draining"]["by"] == org.operator.principal.actor
    assert drained["draining"]["reason"] == "kernel update"
    for place in (NEXT, path(waiting, "claim")):
        answer = org.runner.api.post(place, {"executor": {"name": "gateway-1"}})
        assert (answer.status_code, answer.json()["code"]) == (409, "executor_draining")
        assert answer.json()["executor_id"] == executor["id"]
        assert answer["Retry-After"] == "30"
    # What it holds goes on to its end.
    token = Api(claimed["session_token"])
    assert token.post(f"/runners/sessions/{claimed['id']}/heartbeat").status_code == 200
    done = token.patch(f"/runners/sessions/{claimed['id']}", {"state": "completed"})
    assert done.json()["state"] == "completed"
    assert claim(org, "another").json()["items"][0]["id"] == ids.encode("sess", waiting.id)


def test_a_claim_repeated_while_draining_still_answers_its_lease(org: Org) -> None:
    factories.pending(org)
    first = claim(org, claim_id="c-1").json()
    (executor,) = executors(org)
    asked(org, executor, "drain")
    assert claim(org, claim_id="c-1").json()["items"][0]["lease"] == first["items"][0]["lease"]


def test_draining_can_be_taken_back_and_both_may_be_repeated(org: Org) -> None:
    executor, _ = holding(org)
    first = asked(org, executor, "drain", reason="one").json()
    assert asked(org, executor, "drain", reason="two").json() == first
    assert [each["id"] for each in executors(org, "?draining=true")] == [executor["id"]]
    for _ in range(2):
        assert asked(org, executor, "undrain").json()["draining"] is None
    assert executors(org, "?draining=true") == []
    assert claim(org).status_code == 204


def test_a_drained_executor_is_not_counted_among_those_who_ask(org: Org) -> None:
    claim(org)
    session = factories.pending(org)
    (executor,) = executors(org)
    asked(org, executor, "drain")
    found = org.viewer.api.get(path(session, "explain")).json()
    assert found["waiting"]["code"] == "no_executor"


# --- evict -----------------------------------------------------------------------------------


@pytest.mark.proves("life.executors")
def test_eviction_ends_every_lease_now_and_with_it_what_it_allowed(org: Org) -> None:
    on = factories.profile(org, max_attempts=2, backoff_seconds=0)
    for _ in range(2):
        factories.pending(org, on)
    claimed = claim(org, max=2).json()["items"]
    wanted = {"operation": "network.egress", "reason": "fetch", "ttl_seconds": 600}
    place = f"/runners/sessions/{claimed[0]['id']}"
    assert org.operator.api.post(f"{place}/permissions", wanted).json()["state"] == "active"
    (executor,) = executors(org)
    evicted = asked(org, executor, "evict", reason="compromised").json()
    assert (evicted["sessions_held"], evicted["draining"]["reason"]) == (0, "compromised")
    for each in claimed:
        session = row(org, each)
        assert (session.state, session.reason, session.failures) == (
            State.PENDING,
            "executor_evicted",
            1,
        )
        ended = records.last(org, session, "lease.revoked")
        assert (ended.actor, ended.level) == (org.operator.principal.actor, "warning")
        assert records.last(org, session, "state.pending").data["comment"] == "compromised"
        late = Api(each["session_token"]).post(f"/runners/sessions/{each['id']}/heartbeat")
        assert (late.status_code, late.json()["code"]) == (409, "lease_lost")
        records.assert_sound(org, session)
    with org.scope():
        assert not PermissionGrant.objects.filter(state="active").exists()
    assert claim(org).json()["code"] == "executor_draining"
    assert len(claim(org, "another", max=5).json()["items"]) == 2


@pytest.mark.parametrize(
    ("fields", "state"),
    [({}, State.LOST), ({"side_effects": "at_most_once", "max_attempts": 5}, State.LOST)],
)
def test_what_cannot_be_tried_again_is_lost_with_its_executor(
    org: Org, fields: dict[str, Any], state: State
) -> None:
    executor, (claimed,) = holding(org, **fields)
    asked(org, executor, "evict", reason="compromised")
    assert row(org, claimed).state == state
    attention = org.viewer.api.get("/runners/sessions?view=attention").json()["items"]
    assert [each["id"] for each in attention] == [claimed["id"]]


def test_a_cancelling_session_is_cancelled_by_the_eviction(org: Org) -> None:
    executor, (claimed,) = holding(org)
    roads.cancel(org, row(org, claimed))
    asked(org, executor, "evict", reason="compromised")
    assert (row(org, claimed).state, row(org, claimed).reason) == ("cancelled", "executor_evicted")


def test_eviction_goes_on_where_it_stopped(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evictions, "MAX_EVICTED", 2)
    executor, _ = holding(org, 3)
    assert asked(org, executor, "evict", reason="r").json()["sessions_held"] == 1
    assert asked(org, executor, "evict", reason="r").json()["sessions_held"] == 0


@pytest.mark.proves("life.executors")
def test_revoking_an_account_ends_what_it_holds_under_any_name(org: Org) -> None:
    on = factories.profile(org, max_attempts=2, backoff_seconds=0)
    machine = org.machine()
    for name in ("one", "two"):
        factories.pending(org, on)
        claim(org, name, machine)
    kept = factories.running(org)
    account = ids.encode("sa", machine.account.id)
    assert org.admin.api.delete(f"/service-accounts/{account}").status_code == 204
    sessions = {each.reason: each.state for each in _sessions(org) if each.profile_id == on.id}
    assert sessions == {"account_revoked": State.PENDING}
    assert records.fresh(org, kept).state == State.RUNNING
    assert machine.api.post(NEXT).status_code == 401


def test_revoking_an_account_that_holds_much_leaves_nothing(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evictions, "MAX_EVICTED", 2)
    holding(org, 5)
    with org.scope():
        accounts.revoke_service_account(org.id, org.runner.account.id)
        assert not RunnerSession.objects.leased().exists()


# --- who may ---------------------------------------------------------------------------------


def test_who_may_not_decide_about_executors(org: Org) -> None:
    executor, _ = holding(org)
    place = f"/runners/executors/{executor['id']}"
    body = {"reason": "r"}
    for verb in ("drain", "undrain", "evict"):
        said = {} if verb == "undrain" else body
        assert org.viewer.api.post(f"{place}/{verb}", said).json()["code"] == "missing_scope"
        assert org.runner.api.post(f"{place}/{verb}", said).json()["code"] == "permission_denied"
        assert Org().operator.api.post(f"{place}/{verb}", said).status_code == 404
    assert executors(org)[0]["draining"] is None


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": 7}, {"reason": "x" * 2001}])
def test_an_eviction_says_why(org: Org, body: dict[str, Any]) -> None:
    executor, (claimed,) = holding(org)
    refused = asked(org, executor, "evict", **body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/reason")
    assert row(org, claimed).state == State.RUNNING


def test_lists_refuse_what_they_do_not_know(org: Org) -> None:
    for query in ("?draining=perhaps", "?state=x", "?seen_after=yesterday"):
        assert org.viewer.api.get(f"/runners/executors{query}").status_code == 400
    assert org.viewer.api.get("/runners/sessions?executor_id=exec_1").status_code == 400
