"""What becomes of evidence: notes, holds, redaction, retention, and verification in the product."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error, connection, connections
from django.db.models import F

from grants import retention, verification
from grants.custody_models import Verification
from grants.models import LedgerHead
from keeptrusts_runners import ids
from profiles.models import RunnerProfile
from sessions.models import RunnerSession
from sessions.states import State
from tests import factories
from tests.contract.calls import problem
from tests.database import past_the_triggers
from tests.people import Org
from tests.sessions import roads


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture(autouse=True)
def time_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much other tests have left to do, a pass comes to ours."""
    for module in (retention, verification):
        monkeypatch.setattr(module, "PASS_SECONDS", 600.0)


@pytest.fixture
def as_superuser() -> Callable[[str], None]:
    """What no role of the product can do: pass by the triggers."""
    return past_the_triggers


def path(session: RunnerSession, rest: str = "") -> str:
    return factories.path(session, rest) if rest else factories.path(session)


def said(org: Org, session: RunnerSession, message: str = "the password is hunter2") -> Any:
    """An event with something in it, as the API answered it."""
    answer = org.runner.api.post(
        path(session, "events"), {"kind": "log", "message": message, "step": "s", "client_id": "c"}
    )
    assert answer.status_code == 201, answer.content
    return answer.json()


def listed(org: Org, session: RunnerSession) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = org.viewer.api.get(path(session, "events")).json()["items"]
    return items


def verdict(org: Org, session: RunnerSession) -> dict[str, Any]:
    answer = org.auditor.api.post(path(session, "evidence/verification"))
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def redact(org: Org, session: RunnerSession, event: dict[str, Any], **body: Any) -> Any:
    return org.auditor.api.post(
        path(session, f"events/{event['id']}/redact"), body or {"reason": "it was a secret"}
    )


# --- notes -----------------------------------------------------------------------------------


@pytest.mark.proves("evidence.notes")
@pytest.mark.parametrize("state", list(State))
def test_a_person_annotates_a_session_in_every_state(org: Org, state: State) -> None:
    session = roads.reach(org, state)
    answer = org.operator.api.post(path(session, "notes"), {"message": "asked the vendor"})
    assert answer.status_code == 201, answer.content
    note = answer.json()
    assert (note["kind"], note["message"]) == ("note", "asked the vendor")
    assert note["actor"] == org.operator.principal.actor
    assert listed(org, session)[-1]["id"] == note["id"]
    assert verdict(org, session)["verdict"] == "verified"


def test_a_machine_a_viewer_and_an_outsider_annotate_nothing(org: Org) -> None:
    session = factories.running(org, factories.pending(org))
    body = {"message": "m"}
    problem(org.runner.api.post(path(session, "notes"), body), 403, "permission_denied")
    problem(org.viewer.api.post(path(session, "notes"), body), 403, "missing_scope")
    problem(Org().operator.api.post(path(session, "notes"), body), 404)
    problem(org.operator.api.post(path(session, "notes"), {"message": ""}), 422)


# --- redaction -------------------------------------------------------------------------------


@pytest.mark.proves("evidence.redaction")
def test_a_redacted_record_loses_its_content_and_the_chain_still_verifies(org: Org) -> None:
    session = factories.running(org, factories.pending(org))
    event = said(org, session)
    answer = redact(org, session, event)
    assert answer.status_code == 200, answer.content
    gone = answer.json()
    assert [gone[name] for name in ("message", "data", "step", "level", "client_id")] == [None] * 5
    assert (gone["seq"], gone["kind"], gone["actor"]) == (
        event["seq"],
        "log",
        org.runner.principal.actor,
    )
    tombstone = listed(org, session)[-1]
    assert tombstone["kind"] == "evidence.redacted"
    assert tombstone["actor"] == org.auditor.principal.actor
    assert tombstone["data"] == {"ranges": [[event["seq"]] * 2], "reason": "it was a secret"}
    found = verdict(org, session)
    assert (found["verdict"], found["records"]) == ("verified", tombstone["seq"])
    bundle = org.auditor.api.get(path(session, "evidence"))
    assert b"hunter2" not in b"".join(bundle.streaming_content)


def test_redacting_again_is_the_same_and_a_tombstone_stays(org: Org) -> None:
    session = factories.running(org, factories.pending(org))
    event = said(org, session)
    first = redact(org, session, event).json()
    assert redact(org, session, event).json() == first
    tombstones = [each for each in listed(org, session) if each["kind"] == "evidence.redacted"]
    assert len(tombstones) == 1
    problem(redact(org, session, tombstones[0]), 409, "conflict")


def test_a_kept_answer_with_the_redacted_content_is_forgotten(org: Org) -> None:
    session = factories.running(org, factories.pending(org))
    body, key = {"kind": "log", "message": "hunter2"}, {"Idempotency-Key": "k"}
    event = org.runner.api.post(path(session, "events"), body, **key).json()
    assert redact(org, session, event).status_code == 200
    with org.scope(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM api_idempotency_key WHERE position('hunter2'::bytea in body) > 0"
        )
        assert cursor.fetchone() == (0,)


def test_who_may_not_redact_changes_nothing(org: Org) -> None:
    session = factories.running(org, factories.pending(org))
    event = said(org, session)
    where, body = path(session, f"events/{event['id']}/redact"), {"reason": "r"}
    problem(org.operator.api.post(where, body), 403, "missing_scope")
    problem(Org().auditor.api.post(where, body), 404)
    problem(org.auditor.api.post(where, {}), 422)
    unknown = {"id": ids.encode("evt", ids.new())}
    problem(redact(org, session, unknown), 404)
    other = factories.running(org, factories.pending(org))
    problem(redact(org, other, event), 404)
    assert listed(org, session)[-1]["message"] == "the password is hunter2"


@pytest.mark.proves("evidence.redaction")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runner_event SET body = 'x' WHERE session_id = %s",
        "UPDATE runner_event SET body = NULL, salt = NULL, kind = 'x' WHERE session_id = %s",
        "UPDATE runner_event SET body = NULL, salt = NULL, seq = seq + 99 WHERE session_id = %s",
        "DELETE FROM runner_event WHERE session_id = %s",
    ],
)
def test_even_the_owner_can_do_nothing_else_to_a_record(org: Org, change: str) -> None:
    session = factories.pending(org)
    with connections["migrate"].cursor() as owner, pytest.raises(Error, match="append-only"):
        owner.execute(change, [session.id])
    assert verdict(org, session)["verdict"] == "verified"


def test_the_function_redacts_within_the_callers_organization_alone(org: Org) -> None:
    session = factories.pending(org)
    other = Org()
    with other.scope(), connection.cursor() as cursor:
        cursor.execute("SELECT kt_redact_events(%s, 1, 9)", [session.id])
        assert cursor.fetchone() == (0,)
    assert listed(org, session)[0]["data"] is not None


# --- holds -----------------------------------------------------------------------------------


@pytest.mark.proves("evidence.hold")
def test_under_a_hold_nothing_is_redacted_by_anybody(org: Org) -> None:
    session = factories.running(org, factories.pending(org))
    event = said(org, session)
    placed = org.auditor.api.put(path(session, "hold"), {"reason": "a law suit"})
    assert placed.status_code == 200, placed.content
    assert placed.json()["placed_by"] == org.auditor.principal.actor
    assert org.viewer.api.get(path(session, "hold")).json() == placed.json()
    problem(redact(org, session, event), 409, "evidence_held")
    with pytest.raises(Error), org.scope(), connection.cursor() as cursor:
        cursor.execute("SELECT kt_redact_events(%s, 1, 9)", [session.id])
    assert org.auditor.api.delete(path(session, "hold")).status_code == 204
    problem(org.viewer.api.get(path(session, "hold")), 404)
    problem(org.auditor.api.delete(path(session, "hold")), 404)
    assert redact(org, session, event).status_code == 200
    kinds = [each["kind"] for each in listed(org, session)]
    assert [kind for kind in kinds if kind.startswith("hold.")] == ["hold.placed", "hold.lifted"]


def test_a_hold_is_placed_once_and_its_reason_can_be_another(org: Org) -> None:
    session = factories.pending(org)
    for reason in ("a law suit", "a law suit", "another"):
        answer = org.auditor.api.put(path(session, "hold"), {"reason": reason})
        assert answer.json()["reason"] == reason
    assert [each["kind"] for each in listed(org, session)].count("hold.placed") == 2


# --- retention -------------------------------------------------------------------------------


def ended_days_ago(org: Org, days: int, retention_days: int | None) -> RunnerSession:
    session = roads.reach(org, State.COMPLETED)
    with org.scope():
        RunnerProfile.objects.filter(id=session.profile_id).update(retention_days=retention_days)
        RunnerSession.objects.filter(id=session.id).update(
            ended_at=F("ended_at") - timedelta(days=days)
        )
    return session


@pytest.mark.proves("evidence.retention")
def test_what_was_kept_long_enough_expires_and_still_verifies(org: Org) -> None:
    session = ended_days_ago(org, 31, retention_days=30)
    others = [ended_days_ago(Org(), 29, 30), ended_days_ago(Org(), 999, None)]
    assert retention.run_once()["sessions_expired"] == 1
    assert retention.run_once()["sessions_expired"] == 0
    events = listed(org, session)
    assert all(each["data"] is None for each in events[:-1])
    assert events[-1]["data"] == {"ranges": [[1, len(events) - 1]], "reason": "retention"}
    assert verdict(org, session)["verdict"] == "verified"
    problem(
        org.operator.api.post(path(session, "notes"), {"message": "m"}), 409, "evidence_expired"
    )
    problem(org.auditor.api.put(path(session, "hold"), {"reason": "r"}), 409, "evidence_expired")
    for other in others:
        assert RunnerSession.objects.using("forensics").get(id=other.id).evidence_expired_at is None


@pytest.mark.proves("evidence.hold")
def test_a_hold_overrides_retention_until_it_is_lifted(org: Org) -> None:
    session = ended_days_ago(org, 31, retention_days=30)
    assert org.auditor.api.put(path(session, "hold"), {"reason": "r"}).status_code == 200
    assert retention.run_once()["sessions_expired"] == 0
    assert org.auditor.api.delete(path(session, "hold")).status_code == 204
    assert retention.run_once()["sessions_expired"] == 1


def test_one_session_that_cannot_expire_holds_up_no_other(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, good = ended_days_ago(org, 40, 30), ended_days_ago(Org(), 31, 30)
    real = retention.custody.expire

    def fails(session: RunnerSession, **given: Any) -> int:
        if session.id == poison.id:
            raise RuntimeError("poison")
        return real(session, **given)

    monkeypatch.setattr(retention.custody, "expire", fails)
    counts = retention.run_once()
    assert (counts["failed"], counts["sessions_expired"]) == (1, 1)
    assert RunnerSession.objects.using("forensics").get(id=good.id).evidence_expired_at
    monkeypatch.undo()
    assert retention.run_once()["sessions_expired"] == 1


_MONTH = "SELECT to_regclass('runner_event_2020_01') IS NOT NULL"


def dropped() -> bool:
    retention.run_once()
    with connections["maintain"].cursor() as cursor:
        cursor.execute(_MONTH)
        return not cursor.fetchone()[0]


@pytest.mark.proves("evidence.retention")
def test_a_month_is_dropped_once_nothing_of_it_is_kept(
    org: Org, as_superuser: Callable[[str], None]
) -> None:
    session = roads.reach(org, State.COMPLETED)
    with connections["maintain"].cursor() as cursor:
        cursor.execute("SELECT kt_make_event_partitions('2020-01-05', '2020-01-05')")
    old = "kt_uuid7_floor('2020-01-15')"
    as_superuser(f"UPDATE runner_session SET id = {old} WHERE id = '{session.id}'")
    try:
        assert not dropped()
        as_superuser(f"UPDATE runner_session SET evidence_expired_at = now() WHERE id = {old}")
        assert dropped()
    finally:
        back = f"id = '{session.id}', evidence_expired_at = NULL"
        as_superuser(f"UPDATE runner_session SET {back} WHERE id = {old}")


# --- verification ----------------------------------------------------------------------------


@pytest.mark.proves("evidence.self-check")
def test_a_check_is_kept_and_told_until_the_next(org: Org) -> None:
    session = factories.pending(org)
    never = org.auditor.api.get(path(session, "evidence/verification")).json()
    assert (never["verdict"], never["checked_at"]) == ("pending", None)
    found = verdict(org, session)
    with org.scope():
        head = LedgerHead.objects.get(session_id=session.id)
    assert (found["verdict"], found["records"]) == ("verified", 1)
    assert found["head_hash"] == bytes(head.hash).hex()
    assert org.auditor.api.get(path(session, "evidence/verification")).json() == found
    problem(org.operator.api.get(path(session, "evidence/verification")), 403, "missing_scope")
    problem(Org().auditor.api.post(path(session, "evidence/verification")), 404)


TAMPERINGS = {
    "a body is changed": "UPDATE runner_event SET body = body || ' ' WHERE {third}",
    "an actor is changed": "UPDATE runner_event SET actor = 'system' WHERE {third}",
    "a record is gone": "DELETE FROM runner_event WHERE {third}",
    "its content is gone": "UPDATE runner_event SET body = NULL, salt = NULL WHERE {third}",
}


PASSES = 30


@pytest.mark.proves("evidence.self-check")
@pytest.mark.parametrize("change", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_what_a_superuser_changed_is_found_and_named_by_the_background_check(
    org: Org, change: str, as_superuser: Any
) -> None:
    session = roads.reach(org, State.COMPLETED)
    checks = Verification.objects.using("forensics").filter(session_id=session.id)
    # A pass takes a few; others may have left sessions that are due as well.
    assert any(checks.exists() for _ in range(PASSES) if verification.run_once())
    assert checks.get().verdict == "verified"
    third = f"session_id = '{session.id}' AND seq = 3"
    as_superuser(change.format(third=third))
    assert verdict(org, session)["first_bad_seq"] == 3
    with org.scope():
        Verification.objects.update(checked_at=F("checked_at") - timedelta(days=31))
    assert any(verification.run_once()["broken"] for _ in range(PASSES))
    told = org.auditor.api.get(path(session, "evidence/verification")).json()
    assert (told["verdict"], told["first_bad_seq"]) == ("broken", 3)
    assert told["reason"]
