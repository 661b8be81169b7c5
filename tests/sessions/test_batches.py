"""Many sessions by one request: what a filter chooses, how it is worked off, and what stops it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError

from keeptrusts_runners import ids
from keeptrusts_runners.api import filter_bodies
from keeptrusts_runners.api.filters import TypeIDFilter
from keeptrusts_runners.clock import rfc3339
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.scopes import Role
from profiles.models import RunnerProfile
from sessions import batch_work, batches, lifecycle, retries
from sessions.batch_serializers import BulkIn
from sessions.filters import SessionFilters
from sessions.models import RunnerSession
from sessions.states import FINAL, OPEN, State, Verb
from tests import factories
from tests.contract.calls import content, problem, stored
from tests.factories import path
from tests.people import Api, Machine, Org, Person
from tests.races.threads import at_once
from tests.sessions import records, roads

REASON = "wrong input"
CANCEL, RETRY = "/runners/sessions/bulk/cancel", "/runners/sessions/bulk/retry"


@pytest.fixture(autouse=True)
def _nothing_of_other_tests_is_left() -> None:
    while batch_work.run_once():
        pass


@pytest.fixture
def org() -> Org:
    made = Org()
    # Here before anything is counted.
    assert all((made.operator, made.runner, made.viewer))
    return made


@pytest.fixture
def on(org: Org) -> RunnerProfile:
    return factories.profile(org)


def name(session: RunnerSession) -> str:
    return ids.encode("sess", session.id)


def filter_of(on: RunnerProfile, **more: Any) -> dict[str, Any]:
    return {"profile_id": ids.encode("prof", on.id), **more}


def pending(org: Org, on: RunnerProfile, number: int) -> list[RunnerSession]:
    return [factories.pending(org, on) for _ in range(number)]


def ended(org: Org, on: RunnerProfile, **fields: Any) -> RunnerSession:
    session = factories.running(org, factories.pending(org, on, **fields))
    return roads.end(org, session, Verb.FAIL)


def ask(by: Person | Machine, place: str, filter_: Any, **more: Any) -> Any:
    return by.api.post(place, {"filter": filter_, "reason": REASON, **more})


def started(org: Org, place: str, filter_: Any, **more: Any) -> str:
    answer = ask(org.operator, place, filter_, **more)
    assert answer.status_code == 201, answer.content
    return f"/runners/batches/{answer.json()['id']}"


def dry(org: Org, place: str, filter_: Any, **more: Any) -> dict[str, Any]:
    answer = ask(org.operator, place, filter_, dry_run=True, **more)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def items(org: Org, batch: str, query: str = "limit=200") -> dict[str, dict[str, Any]]:
    answer = org.viewer.api.get(f"{batch}/items?{query}")
    return {item["session_id"]: item for item in answer.json()["items"]}


def outcomes(org: Org, batch: str) -> Counter[tuple[str, str]]:
    return Counter((item["outcome"], item["code"]) for item in items(org, batch).values())


def worked_off(org: Org, batch: str) -> dict[str, Any]:
    """The batch when it is done; each pass must bring it nearer."""
    while batch_work.run_once():
        pass
    found: dict[str, Any] = org.viewer.api.get(batch).json()
    assert found["state"] == "done", found
    return found


def progress(total: int, done: int, skipped: int = 0, refused: int = 0) -> dict[str, int]:
    return {"total": total, "done": done, "skipped": skipped, "refused": refused}


# --- what is chosen --------------------------------------------------------------------------


def test_a_dry_run_tells_what_it_would_be_and_writes_nothing(org: Org, on: RunnerProfile) -> None:
    waiting = pending(org, on, 2)
    running = factories.running(org, factories.pending(org, on))
    ended(org, on)
    before = stored(org)
    found = dry(org, CANCEL, filter_of(on))
    assert (found["matched"], found["capped"]) == (3, False)
    assert found["by_state"] == {"pending": 2, "running": 1}
    assert found["sample"] == [name(each) for each in (running, *reversed(waiting))]
    assert stored(org) == before
    assert not batch_work.run_once()
    assert records.fresh(org, waiting[0]).state == State.PENDING


def test_what_was_created_since_the_dry_run_is_left_alone(org: Org, on: RunnerProfile) -> None:
    first = factories.pending(org, on)
    as_of = dry(org, CANCEL, filter_of(on))["as_of"]
    later = factories.pending(org, on)
    assert dry(org, CANCEL, filter_of(on))["matched"] == 2
    again = dry(org, CANCEL, filter_of(on), as_of=as_of)
    assert (again["matched"], again["as_of"]) == (1, as_of)
    batch = worked_off(org, started(org, CANCEL, filter_of(on), as_of=as_of))
    assert (batch["as_of"], batch["progress"]) == (as_of, progress(1, 1))
    assert records.fresh(org, first).state == State.CANCELLED
    assert records.fresh(org, later).state == State.PENDING


@pytest.mark.proves("life.bulk")
def test_what_begins_to_match_after_the_start_is_left_alone(org: Org, on: RunnerProfile) -> None:
    pending(org, on, 2)
    batch = started(org, CANCEL, filter_of(on))
    late = factories.pending(org, on)
    assert worked_off(org, batch)["progress"] == progress(2, 2)
    assert records.fresh(org, late).state == State.PENDING


@pytest.mark.parametrize("state", sorted(State))
def test_cancel_means_what_is_open_and_force_what_is_ending(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    filter_ = {"task_id": session.task_id}
    assert dry(org, CANCEL, filter_)["matched"] == (state in OPEN - {State.CANCELLING})
    assert dry(org, CANCEL, filter_, force=True)["matched"] == (state in OPEN)


@pytest.mark.parametrize("state", sorted(State))
def test_retry_means_what_ended_and_what_was_meant_to_only_by_name(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    filter_ = {"task_id": session.task_id}
    meant = {State.COMPLETED, State.CANCELLED}
    assert dry(org, RETRY, filter_)["matched"] == (state in FINAL - meant)
    assert dry(org, RETRY, filter_ | {"state": [state]})["matched"] == (state in FINAL)


def test_every_filter_of_the_list_is_a_member_and_finds_the_same(
    org: Org, on: RunnerProfile
) -> None:
    one = factories.pending(org, on, task_id="one", labels={"team": "blue", "n": "1"})
    other = factories.running(org, factories.pending(org, labels={"team": "blue", "n": "2"}))
    after, before = rfc3339(one.created_at), rfc3339(other.created_at)
    members = {
        "state": (["pending"], "pending"),
        "view": ("queue", "queue"),
        "profile_id": (ids.encode("prof", on.id), ids.encode("prof", on.id)),
        "task_id": ("one", "one"),
        "reason": ("none", "none"),
        "label": ({"n": "1", "team": "blue"}, "n:1&label=team:blue"),
        "created_after": (after, after),
        "created_before": (before, before),
    }
    for member, (value, parameter) in members.items():
        listed = org.viewer.api.get(f"/runners/sessions?{member}={parameter}").json()["items"]
        assert len(listed) == (0 if member == "reason" else 1), member
        found = dry(org, CANCEL, {member: value})
        assert found["sample"] == [each["id"] for each in listed], member
    assert BulkIn().fields["filter"].fields.keys() == SessionFilters.base_filters.keys()


def test_a_filter_that_the_list_gets_is_a_member_by_itself() -> None:
    class More(SessionFilters):
        retry_of = TypeIDFilter("sess")

    members = filter_bodies.shape_of(More)().fields
    assert members.keys() - SessionFilters.base_filters.keys() == {"retry_of"}


def test_harness_executor_and_time_of_the_end_choose_too(org: Org, on: RunnerProfile) -> None:
    place = f"/runners/profiles/{ids.encode('prof', on.id)}/harnesses"
    harness = org.operator.api.post(place, {"version": "1", "image_ref": "x"}).json()["id"]
    first, second = ended(org, on), ended(org, on)
    executor = ids.encode("exec", records.fresh(org, first).executor_id)
    assert dry(org, RETRY, {"executor_id": executor})["matched"] == 2
    refused = ask(org.operator, RETRY, {"executor_id": ids.encode("exec", ids.new())})
    assert problem(refused, 422)["errors"][0]["pointer"] == "/filter/executor_id"
    at = rfc3339(first.ended_at)
    assert dry(org, RETRY, {"harness_id": harness})["matched"] == 2
    assert dry(org, RETRY, {"ended_after": at})["sample"] == [name(second)]
    assert dry(org, RETRY, {"ended_before": rfc3339(second.ended_at)})["sample"] == [name(first)]


@pytest.mark.parametrize(
    ("filter_", "pointer", "code"),
    [
        ({}, "/filter", "empty"),
        (None, "/filter", "null"),
        ([], "/filter", "not_an_object"),
        ({"states": ["pending"]}, "/filter/states", "unknown_field"),
        ({"state": "pending", "id": "x"}, "/filter/id", "unknown_field"),
        ({"state": []}, "/filter/state", "empty"),
        ({"state": "pending"}, "/filter/state", "not_a_list"),
        ({"state": ["pending", "x"]}, "/filter/state/1", "invalid_choice"),
        ({"label": {}}, "/filter/label", "empty"),
        ({"label": "team:blue"}, "/filter/label", "not_a_dict"),
        ({"view": ["queue"]}, "/filter/view", "invalid"),
        ({"task_id": ""}, "/filter/task_id", "blank"),
        ({"profile_id": "prof_x"}, "/filter/profile_id", "unknown_reference"),
        ({"created_before": "2999-01-01T00:00:00Z"}, "/filter/created_before", "in_the_future"),
        ({"ended_before": "yesterday"}, "/filter/ended_before", "invalid"),
    ],
)
def test_a_filter_that_says_nothing_or_nonsense_is_refused(
    org: Org, filter_: Any, pointer: str, code: str
) -> None:
    before = stored(org)
    for place in (CANCEL, RETRY):
        for dry_run in (True, False):
            answer = ask(org.operator, place, filter_, dry_run=dry_run)
            errors = problem(answer, 422, "invalid")["errors"]
            assert (pointer, code) in [(each["pointer"], each["code"]) for each in errors], errors
    assert stored(org) == before


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"filter": {"state": ["pending"]}}, "/reason"),
        ({"filter": {"state": ["pending"]}, "reason": "  "}, "/reason"),
        ({"reason": REASON}, "/filter"),
        ({"filter": {"state": ["pending"]}, "reason": REASON, "dry_run": 1}, "/dry_run"),
        (
            {"filter": {"state": ["pending"]}, "reason": REASON, "as_of": "2999-01-01T00:00:00Z"},
            "/as_of",
        ),
    ],
)
def test_what_else_is_missing_or_wrong_is_named(org: Org, body: Any, pointer: str) -> None:
    for place in (CANCEL, RETRY):
        (error,) = problem(org.operator.api.post(place, body), 422, "invalid")["errors"]
        assert error["pointer"] == pointer


def test_each_verb_takes_its_own_option_alone(org: Org, on: RunnerProfile) -> None:
    refused = ask(org.operator, CANCEL, filter_of(on), same_harness=True)
    assert problem(refused, 422)["errors"][0]["pointer"] == "/same_harness"
    refused = ask(org.operator, RETRY, filter_of(on), force=True)
    assert problem(refused, 422)["errors"][0]["pointer"] == "/force"


def test_more_than_a_batch_takes_is_refused_and_nothing_is_cut(
    org: Org, on: RunnerProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_SESSIONS", 3)
    pending(org, on, 3)
    assert dry(org, CANCEL, filter_of(on))["capped"] is False
    factories.pending(org, on)
    found = dry(org, CANCEL, filter_of(on))
    assert (found["matched"], found["capped"], found["by_state"]) == (3, True, {"pending": 3})
    before = stored(org)
    (error,) = problem(ask(org.operator, CANCEL, filter_of(on)), 422)["errors"]
    assert (error["pointer"], error["code"]) == ("/filter", "too_many")
    assert "created_before" in error["detail"]
    assert stored(org) == before


def test_an_organization_has_few_batches_at_work_at_once(
    org: Org, on: RunnerProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_RUNNING", 1)
    factories.pending(org, on)
    batch = started(org, CANCEL, filter_of(on))
    refused = problem(ask(org.operator, CANCEL, filter_of(on)), 409, "limit_reached")
    assert refused["limit"] == "running_batches"
    worked_off(org, batch)
    started(org, CANCEL, filter_of(on))


def test_nothing_to_do_is_done_at_once(org: Org, on: RunnerProfile) -> None:
    batch = org.viewer.api.get(started(org, CANCEL, filter_of(on))).json()
    assert (batch["state"], batch["progress"]) == ("done", progress(0, 0))
    assert batch["ended_at"] is not None


def test_nothing_of_another_organization_is_chosen(org: Org, on: RunnerProfile) -> None:
    other = Org()
    theirs = factories.pending(other, labels={"team": "blue"})
    filter_ = filter_of(on) | {"profile_id": ids.encode("prof", theirs.profile_id)}
    (error,) = problem(ask(org.operator, CANCEL, filter_), 422)["errors"]
    assert (error["pointer"], error["code"]) == ("/filter/profile_id", "unknown_reference")
    assert dry(org, CANCEL, {"label": {"team": "blue"}})["matched"] == 0
    batch = started(org, CANCEL, {"label": {"team": "blue"}})
    assert worked_off(org, batch)["progress"]["total"] == 0
    for place in (batch, f"{batch}/items"):
        problem(other.admin.api.get(place), 404, "not_found")
    problem(other.admin.api.post(f"{batch}/stop"), 404, "not_found")
    assert other.admin.api.get("/runners/batches").json()["items"] == []


def test_a_runner_and_a_reader_ask_for_none(org: Org, on: RunnerProfile) -> None:
    factories.pending(org, on)
    batch = started(org, CANCEL, filter_of(on))
    for dry_run in (True, False):
        problem(ask(org.runner, CANCEL, filter_of(on), dry_run=dry_run), 403, "permission_denied")
        problem(ask(org.viewer, CANCEL, filter_of(on), dry_run=dry_run), 403, "missing_scope")
    problem(org.runner.api.post(f"{batch}/stop"), 403, "permission_denied")
    problem(org.viewer.api.post(f"{batch}/stop"), 403, "missing_scope")
    problem(Api().get(batch), 401)


# --- cancel ----------------------------------------------------------------------------------


@pytest.mark.proves("life.bulk")
def test_a_batch_tells_who_asked_for_what_and_how_far_it_is(org: Org, on: RunnerProfile) -> None:
    sessions = pending(org, on, 3)
    batch = started(org, CANCEL, filter_of(on, state=["pending"]))
    found = org.viewer.api.get(batch).json()
    assert (found["verb"], found["reason"], found["state"]) == ("cancel", REASON, "running")
    assert (found["by"], found["options"]) == (org.operator.principal.account, {"force": False})
    assert found["filter"] == filter_of(on, state=["pending"])
    assert (found["progress"], found["ended_at"]) == (progress(3, 0), None)
    assert list(items(org, batch)) == [name(session) for session in sessions]
    assert batch_work.run_once(most=2) == {"done": 2}
    unchanged = org.viewer.api.get(batch)["ETag"]
    assert org.viewer.api.get(batch, If_None_Match=unchanged).status_code == 304
    running = org.viewer.api.get(batch).json()
    assert (running["state"], running["progress"]) == ("running", progress(3, 2))
    assert org.viewer.api.get("/runners/batches").json()["items"] == [running]
    assert list(items(org, batch, "outcome=pending")) == [name(sessions[2])]
    assert list(items(org, batch, "outcome=done,skipped&limit=1")) == [name(sessions[0])]
    assert batch_work.run_once() == {"done": 1, "batches": 1}
    done = org.viewer.api.get(batch, If_None_Match=unchanged).json()
    assert (done["state"], done["progress"]) == ("done", progress(3, 3))
    assert done["ended_at"] > done["created_at"]
    assert org.viewer.api.get("/runners/batches?state=running").json()["items"] == []
    assert org.viewer.api.get("/runners/batches?verb=cancel").json()["items"] == [done]


def test_each_ledger_names_the_reason_the_batch_and_who_asked(org: Org, on: RunnerProfile) -> None:
    waiting = factories.pending(org, on)
    running = factories.running(org, factories.pending(org, on))
    batch = started(org, CANCEL, filter_of(on))
    assert worked_off(org, batch)["progress"] == progress(2, 2)
    for session, state in ((waiting, State.CANCELLED), (running, State.CANCELLING)):
        record = records.last(org, session, f"state.{state}")
        assert record.actor == org.operator.principal.account
        assert (record.data["comment"], record.data["reason"]) == (REASON, "cancel_requested")
        assert record.data["batch_id"] == batch.rpartition("/")[2]
        records.assert_sound(org, session)


def test_force_ends_leases_now_those_of_cancelling_sessions_too(
    org: Org, on: RunnerProfile
) -> None:
    running = factories.running(org, factories.pending(org, on))
    cancelling = roads.cancel(org, factories.running(org, factories.pending(org, on)))
    waiting = factories.pending(org, on)
    batch = worked_off(org, started(org, CANCEL, filter_of(on), force=True))
    assert (batch["options"], batch["progress"]) == ({"force": True}, progress(3, 3))
    for session, reason in (
        (running, "cancel_forced"), (cancelling, "cancel_forced"), (waiting, "cancel_requested"),
    ):  # fmt: skip
        row = records.fresh(org, session)
        assert (row.state, row.reason) == (State.CANCELLED, reason)
        records.assert_sound(org, session)


@pytest.mark.proves("life.bulk")
def test_what_ended_meanwhile_is_skipped(org: Org, on: RunnerProfile) -> None:
    done = factories.running(org, factories.pending(org, on))
    asked = factories.running(org, factories.pending(org, on))
    left = factories.pending(org, on)
    batch = started(org, CANCEL, filter_of(on))
    roads.end(org, done, Verb.COMPLETE, result={})
    roads.cancel(org, asked)
    assert worked_off(org, batch)["progress"] == progress(3, 1, skipped=2)
    found = items(org, batch)
    assert found[name(done)]["code"] == "already_ended"
    assert "completed" in found[name(done)]["detail"]
    assert found[name(asked)]["code"] == "already_cancelling"
    assert found[name(left)]["outcome"] == "done"
    assert records.fresh(org, done).state == State.COMPLETED


# --- retry -----------------------------------------------------------------------------------


def test_what_failed_is_tried_again_with_the_reason_on_record(org: Org, on: RunnerProfile) -> None:
    failed = ended(org, on, task_id="t", input={"a": 1})
    before = org.viewer.api.get(path(failed)).json()
    batch = started(org, RETRY, filter_of(on, state=["failed"]))
    assert worked_off(org, batch)["progress"] == progress(1, 1)
    item = items(org, batch)[name(failed)]
    new = org.viewer.api.get(f"/runners/sessions/{item['retry_id']}").json()
    assert (new["state"], new["retry_of"], new["input"]) == ("pending", name(failed), {"a": 1})
    assert new["dispatched_by"] == org.operator.principal.account
    (first,) = org.viewer.api.get(f"/runners/sessions/{new['id']}/events").json()["items"]
    assert (first["data"]["comment"], first["data"]["retry_of"]) == (REASON, name(failed))
    assert first["data"]["batch_id"] == batch.rpartition("/")[2]
    assert org.viewer.api.get(path(failed)).json() == before
    claimed = org.runner.api.post(f"/runners/sessions/{new['id']}/claim")
    assert claimed.status_code == 200, claimed.content


def test_what_has_been_retried_is_skipped_whoever_did_it(org: Org, on: RunnerProfile) -> None:
    by_hand, by_batch = ended(org, on), ended(org, on)
    made = org.operator.api.post(path(by_hand, "retry")).json()["id"]
    first = started(org, RETRY, filter_of(on))
    assert worked_off(org, first)["progress"] == progress(2, 1, skipped=1)
    assert items(org, first)[name(by_hand)]["code"] == "already_retried"
    assert made in items(org, first)[name(by_hand)]["detail"]
    second = started(org, RETRY, filter_of(on))
    assert worked_off(org, second)["progress"] == progress(2, 0, skipped=2)
    assert items(org, second)[name(by_batch)]["retry_id"] is None


def test_the_same_harness_is_pinned_if_asked_for_and_refused_once_recalled(
    org: Org, on: RunnerProfile
) -> None:
    place = f"/runners/profiles/{ids.encode('prof', on.id)}/harnesses"
    old = org.operator.api.post(place, {"version": "1", "image_ref": "x"}).json()["id"]
    first = ended(org, on)
    org.operator.api.post(place, {"version": "2", "image_ref": "y"})
    batch = started(org, RETRY, {"task_id": first.task_id}, same_harness=True)
    worked_off(org, batch)
    made = items(org, batch)[name(first)]["retry_id"]
    assert org.viewer.api.get(f"/runners/sessions/{made}").json()["harness_id"] == old
    again = roads.cancel(org, factories.pending(org, on, harness_id=ids.decode("harn", old)))
    assert org.operator.api.post(f"{place}/{old}/recall", {"reason": "b"}).status_code == 200
    filter_ = {"task_id": again.task_id, "state": ["cancelled"]}
    batch = started(org, RETRY, filter_, same_harness=True)
    assert worked_off(org, batch)["progress"] == progress(1, 0, refused=1)
    item = items(org, batch)[name(again)]
    assert item["code"] == "conflict"
    assert "recalled" in item["detail"]


def test_an_archived_profile_refuses_one_by_one(org: Org, on: RunnerProfile) -> None:
    ended(org, on)
    ended(org, on)
    assert org.admin.api.delete(f"/runners/profiles/{ids.encode('prof', on.id)}").status_code == 204
    batch = started(org, RETRY, filter_of(on))
    assert worked_off(org, batch)["progress"] == progress(2, 0, refused=2)
    assert outcomes(org, batch) == {("refused", "profile_archived"): 2}


def test_a_lost_session_is_decided_on_by_its_retry(
    org: Org, on: RunnerProfile, tmp_path: Path
) -> None:
    lost = roads.reach(org, State.LOST)
    batch = started(org, RETRY, {"view": "attention"})
    assert worked_off(org, batch)["progress"] == progress(1, 1)
    found = org.viewer.api.get(path(lost)).json()
    assert found["disposition"]["decision"] == "retry"
    assert found["disposition"]["by"] == org.operator.principal.account
    note = records.last(org, lost, "note")
    assert (note.data["comment"], note.data["batch_id"]) == (REASON, batch.rpartition("/")[2])
    assert note.data["retry_id"] == items(org, batch)[name(lost)]["retry_id"]
    assert org.viewer.api.get("/runners/sessions?view=attention").json()["items"] == []
    records.assert_sound(org, lost)
    for session in (name(lost), note.data["retry_id"]):
        bundle = tmp_path / session
        answer = org.auditor.api.get(f"/runners/sessions/{session}/evidence")
        bundle.write_bytes(content(answer))
        assert verify_bundle(bundle, None, None).exit_code == 0


@pytest.mark.parametrize("decision", ["accept", "abandon"])
def test_what_a_person_has_decided_on_is_left_at_that(org: Org, decision: str) -> None:
    lost = roads.reach(org, State.LOST)
    body = {"decision": decision, "comment": "looked it up"}
    assert org.operator.api.post(path(lost, "disposition"), body).status_code == 200
    batch = started(org, RETRY, {"task_id": lost.task_id})
    assert worked_off(org, batch)["progress"] == progress(1, 0, skipped=1)
    assert items(org, batch)[name(lost)]["code"] == "already_decided"


def test_what_may_have_had_its_only_effect_is_refused(org: Org, on: RunnerProfile) -> None:
    once = {"side_effects": "at_most_once"}
    reported = ended(org, on, **once)
    lost = factories.running(org, factories.pending(org, on, **once))
    roads.settled(org, lost, "lease_expires_at")
    late = factories.running(org, factories.pending(org, on, **once))
    roads.settled(org, late, "deadline_at")
    unclaimed = roads.settled(org, factories.pending(org, on, **once), "deadline_at")
    batch = started(org, RETRY, filter_of(on))
    assert worked_off(org, batch)["progress"] == progress(4, 2, refused=2)
    found = items(org, batch)
    for session in (lost, late):
        assert found[name(session)]["code"] == "outcome_unknown"
        assert found[name(session)]["retry_id"] is None
    for session in (reported, unclaimed):
        assert found[name(session)]["outcome"] == "done"


# --- working off -----------------------------------------------------------------------------


@pytest.mark.proves("life.bulk")
def test_a_batch_of_a_thousand_is_done(org: Org, on: RunnerProfile) -> None:
    by = org.operator.principal
    with org.scope():
        for _ in range(1000):
            lifecycle.dispatch({"profile_id": on.id, "task_id": "t"}, by=by)
    batch = started(org, CANCEL, filter_of(on))
    passes = 0
    while batch_work.run_once():
        passes += 1
    assert passes == 1000 / batch_work.MOST
    assert org.viewer.api.get(batch).json()["progress"] == progress(1000, 1000)
    with org.scope():
        assert RunnerSession.objects.filter(state=State.CANCELLED).count() == 1000
    seen, cursor = set(), ""
    while True:
        page = org.viewer.api.get(f"{batch}/items?limit=200{cursor}").json()
        seen |= {item["session_id"] for item in page["items"]}
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(seen) == 1000


@pytest.mark.proves("life.bulk", "stuck.two-loops")
def test_passes_at_the_same_time_do_nothing_twice(org: Org, on: RunnerProfile) -> None:
    sessions = [ended(org, on) for _ in range(30)]
    batch = started(org, RETRY, filter_of(on))
    passes = at_once([batch_work.run_once] * 4)
    assert sum(passes, Counter()) == {"done": len(sessions), "batches": 1}
    assert org.viewer.api.get(batch).json()["progress"] == progress(30, 30)
    with org.scope():
        made = list(RunnerSession.objects.exclude(retry_of=None).values_list("retry_of", flat=True))
    assert sorted(made) == sorted(session.id for session in sessions)


def test_two_batches_at_once_retry_a_session_once(org: Org, on: RunnerProfile) -> None:
    for _ in range(12):
        ended(org, on)
    first, second = (started(org, RETRY, filter_of(on)) for _ in range(2))
    at_once([batch_work.run_once] * 4)
    both = outcomes(org, first) + outcomes(org, second)
    assert both == {("done", ""): 12, ("skipped", "already_retried"): 12}


def test_a_stop_against_a_pass_leaves_nothing_half_done(org: Org, on: RunnerProfile) -> None:
    for _ in range(5):
        sessions = pending(org, on, 8)
        batch = started(org, CANCEL, filter_of(on))
        calls: list[Callable[[], Any]] = [
            batch_work.run_once,
            lambda batch=batch: org.operator.api.post(f"{batch}/stop").status_code,
        ]
        _, status = at_once(calls)
        found = org.viewer.api.get(batch).json()
        assert (found["state"], status) in {("done", 200), ("done", 409)}
        for session in sessions:
            done = items(org, batch)[name(session)]["outcome"] == "done"
            assert (records.fresh(org, session).state == State.CANCELLED) == done
        assert found["progress"]["done"] + found["progress"]["skipped"] == 8
        worked_off(org, started(org, CANCEL, filter_of(on)))


def test_a_session_that_stumbles_holds_up_no_other(
    org: Org, on: RunnerProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, well = pending(org, on, 2)
    batch = started(org, CANCEL, filter_of(on))
    cancel = lifecycle.cancel

    def stumbling(session_id: Any, **how: Any) -> RunnerSession:
        done = cancel(session_id, **how)
        if session_id == poison.id:
            raise RuntimeError("a defect")
        return done

    monkeypatch.setattr(lifecycle, "cancel", stumbling)
    assert worked_off(org, batch)["progress"] == progress(2, 1, refused=1)
    assert items(org, batch)[name(poison)]["code"] == "internal_error"
    assert records.fresh(org, poison).state == State.PENDING
    assert records.fresh(org, well).state == State.CANCELLED
    records.assert_sound(org, poison)


def test_what_the_database_cannot_do_now_is_done_later(
    org: Org, on: RunnerProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, free = pending(org, on, 2)
    batch = started(org, CANCEL, filter_of(on))
    cancel = lifecycle.cancel

    def locked_out(session_id: Any, **how: Any) -> RunnerSession:
        if session_id == busy.id:
            raise OperationalError("canceling statement due to lock timeout")
        return cancel(session_id, **how)

    with monkeypatch.context() as patch:
        patch.setattr(lifecycle, "cancel", locked_out)
        assert batch_work.run_once() == {"done": 1, "postponed": 1}
    assert records.fresh(org, free).state == State.CANCELLED
    assert org.viewer.api.get(batch).json()["progress"] == progress(2, 1)
    assert worked_off(org, batch)["progress"] == progress(2, 2)


class Killed(BaseException):
    """What takes a process away between two statements."""


@pytest.mark.proves("life.bulk")
def test_a_loop_that_dies_at_an_item_leaves_it_as_it_was_and_another_goes_on(
    org: Org, on: RunnerProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ended(org, on), ended(org, on)
    batch = started(org, RETRY, filter_of(on))
    retry = retries.retry

    def dying(session_id: Any, **how: Any) -> RunnerSession:
        made = retry(session_id, **how)
        if session_id == second.id:
            raise Killed
        return made

    with monkeypatch.context() as patch:
        patch.setattr(retries, "retry", dying)
        with pytest.raises(Killed):
            batch_work.run_once()
    assert outcomes(org, batch) == {("done", ""): 1, ("pending", ""): 1}
    assert worked_off(org, batch)["progress"] == progress(2, 2)
    with org.scope():
        assert RunnerSession.objects.exclude(retry_of=None).count() == 2
    assert items(org, batch)[name(first)]["retry_id"] is not None


def test_a_loop_that_dies_before_it_closes_a_batch_leaves_that_to_the_next(
    org: Org, on: RunnerProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.pending(org, on)
    batch = started(org, CANCEL, filter_of(on))
    with monkeypatch.context() as patch:
        patch.setattr(batches, "close", lambda _: False)
        batch_work.run_once()
    assert org.viewer.api.get(batch).json()["state"] == "running"
    assert batch_work.run_once() == {"batches": 1}
    assert org.viewer.api.get(batch).json()["state"] == "done"


def test_a_large_batch_holds_up_neither_another_organization_nor_a_small_one(
    org: Org, on: RunnerProfile
) -> None:
    other = Org()
    theirs = factories.pending(other)
    pending(org, on, 6)
    small = factories.pending(org)
    started(org, CANCEL, filter_of(on))
    started(org, CANCEL, {"task_id": small.task_id})
    started(other, CANCEL, {"task_id": theirs.task_id})
    assert batch_work.run_once(most=3)["done"] == 3
    assert records.fresh(org, small).state == State.CANCELLED
    assert records.fresh(other, theirs).state == State.CANCELLED


# --- on behalf of whom -----------------------------------------------------------------------


def _removed(org: Org, by: Any) -> None:
    with org.scope():
        accounts.remove_member(org.id, by.user.id)


def _made_viewer(org: Org, by: Any) -> None:
    with org.scope():
        accounts.change_role(org.id, by.user.id, Role.VIEWER)


def _disabled(org: Org, by: Any) -> None:
    by.user.is_active = False
    by.user.save(update_fields=["is_active"])


def _revoked(org: Org, by: Any) -> None:
    with org.scope():
        accounts.revoke_service_account(org.id, by.account.id)


@pytest.mark.proves("life.bulk")
@pytest.mark.parametrize("how", [_removed, _made_viewer, _disabled, _revoked])
def test_who_loses_the_right_midway_has_the_rest_refused(
    org: Org, on: RunnerProfile, how: Callable[[Org, Any], None]
) -> None:
    by = org.machine(Role.OPERATOR) if how is _revoked else org.person(Role.OPERATOR)
    sessions = pending(org, on, 4)
    asked = ask(by, CANCEL, filter_of(on)).json()
    other = started(org, CANCEL, filter_of(factories.profile(org)))
    assert batch_work.run_once(most=1) == {"done": 1}
    how(org, by)
    batch = f"/runners/batches/{asked['id']}"
    assert worked_off(org, batch)["progress"] == progress(4, 1, refused=3)
    assert outcomes(org, batch) == {("done", ""): 1, ("refused", "permission_denied"): 3}
    assert records.fresh(org, sessions[0]).state == State.CANCELLED
    assert records.fresh(org, sessions[3]).state == State.PENDING
    assert org.viewer.api.get(other).json()["state"] == "done"


# --- stop ------------------------------------------------------------------------------------


def test_a_stopped_batch_skips_what_is_left(org: Org, on: RunnerProfile) -> None:
    sessions = pending(org, on, 3)
    batch = started(org, CANCEL, filter_of(on))
    batch_work.run_once(most=1)
    stopped = org.admin.api.post(f"{batch}/stop").json()
    assert (stopped["state"], stopped["progress"]) == ("done", progress(3, 1, skipped=2))
    assert stopped["stopped_by"] == org.admin.principal.account
    assert outcomes(org, batch) == {("done", ""): 1, ("skipped", "batch_stopped"): 2}
    assert org.operator.api.post(f"{batch}/stop").json() == stopped
    assert not batch_work.run_once()
    assert records.fresh(org, sessions[2]).state == State.PENDING


def test_what_came_to_its_end_is_not_stopped(org: Org, on: RunnerProfile) -> None:
    factories.pending(org, on)
    batch = started(org, CANCEL, filter_of(on))
    before = worked_off(org, batch)
    refused = problem(org.operator.api.post(f"{batch}/stop"), 409, "conflict")
    assert refused["current_state"] == "done"
    assert org.viewer.api.get(batch).json() == before
    unknown = f"/runners/batches/{ids.encode('batch', ids.new())}"
    problem(org.operator.api.post(f"{unknown}/stop"), 404, "not_found")
