"""Checks of long ledgers: in the background, step by step, with the result of one in a request."""

from __future__ import annotations

from typing import Any

import pytest

from grants import chain_check, custody, ledger, lines, verification, verification_runs
from grants.custody_models import Verification, VerificationRun
from grants.ledger import Record
from grants.models import Event
from keeptrusts_runners import clock
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.contract.calls import problem
from tests.database import past_the_triggers
from tests.people import Org
from tests.sessions import roads

pytestmark = pytest.mark.proves("evidence.long-check")

STEP = 5
ADDED = 16
# Dispatch, claim and heartbeat come before.
RECORDS = 4 + ADDED


@pytest.fixture
def org() -> Org:
    made = Org()
    assert all((made.auditor, made.operator, made.runner))
    return made


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten records are many, and each pass reads five of one session."""
    monkeypatch.setattr(verification, "MOST_RECORDS", 10)
    monkeypatch.setattr(verification_runs, "PASS_SECONDS", 0.0)
    monkeypatch.setattr(lines, "_CHUNK_ROWS", STEP)


@pytest.fixture
def session(org: Org) -> RunnerSession:
    made = factories.running(org)
    add(org, made, ADDED)
    return made


def add(org: Org, session: RunnerSession, number: int) -> None:
    given = {"events": [{"kind": "log", "message": "more"}] * number}
    epoch = str(session.lease_epoch)
    answer = org.runner.api.post(place(session, "events"), given, Lease_Epoch=epoch)
    assert answer.status_code == 200, answer.content


def place(session: RunnerSession, rest: str = "evidence/verification") -> str:
    return factories.path(session, rest)


def ask(org: Org, session: RunnerSession) -> dict[str, Any]:
    answer = org.auditor.api.post(place(session))
    assert answer.status_code == 202, answer.content
    told: dict[str, Any] = answer.json()
    return told


def told(org: Org, session: RunnerSession) -> dict[str, Any]:
    answer: dict[str, Any] = org.auditor.api.get(place(session)).json()
    return answer


def run(org: Org, session: RunnerSession) -> VerificationRun | None:
    with org.scope():
        return VerificationRun.objects.filter(session_id=session.id).first()


def step(org: Org, session: RunnerSession) -> int | None:
    """Passes until this session had one; where its check stands, None if it is over."""
    before = run(org, session)
    assert before is not None
    for _ in range(100):
        verification_runs.run_once()
        now = run(org, session)
        if now is None or now.stepped_at != before.stepped_at or now.failed_at:
            return now and now.records
    raise AssertionError("no pass came to it")


def to_the_end(org: Org, session: RunnerSession) -> dict[str, Any]:
    while step(org, session) is not None:
        pass
    return told(org, session)


def in_one_go(org: Org, session: RunnerSession) -> dict[str, Any]:
    """What a check within a request says of the same records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "MOST_RECORDS", 1_000)
        patch.setattr(verification, "REQUEST_SECONDS", 600.0)
        answer = org.auditor.api.post(place(session))
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def found(answer: dict[str, Any]) -> dict[str, Any]:
    """All but when."""
    return {name: value for name, value in answer.items() if name != "checked_at"}


def test_a_long_check_answers_at_once_and_tells_how_far_it_is(
    org: Org, session: RunnerSession
) -> None:
    begun = ask(org, session)
    assert (begun["verdict"], begun["checked_at"]) == ("pending", None)
    assert (begun["running"]["records"], begun["running"]["failed_at"]) == (0, None)
    assert begun["running"]["requested_by"] == org.auditor.principal.actor
    for stands in (5, 10, 15):
        assert step(org, session) == stands
        assert told(org, session)["running"]["records"] == stands
    assert step(org, session) is None
    ended = told(org, session)
    assert (ended["verdict"], ended["records"], ended["running"]) == ("verified", RECORDS, None)
    assert found(ended) == found(in_one_go(org, session))


def test_a_short_one_is_answered_in_its_request(org: Org) -> None:
    answer = org.auditor.api.post(place(factories.running(org)))
    assert (answer.status_code, answer.json()["verdict"]) == (200, "verified")


def test_what_takes_too_long_in_its_request_goes_on_in_the_background(
    org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "MOST_RECORDS", 1_000)
    monkeypatch.setattr(verification, "REQUEST_SECONDS", 0.0)
    assert ask(org, session)["running"]["records"] == STEP
    assert step(org, session) == 2 * STEP
    assert to_the_end(org, session)["verdict"] == "verified"


@pytest.mark.parametrize("dies", ["before it wrote how far it came", "between two steps"])
def test_a_killed_process_costs_the_step_it_was_at(
    org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    ask(org, session)
    assert step(org, session) == 5
    began: list[int] = []
    read, advance = lines.in_batches, chain_check.advance

    def killed(of: RunnerSession, *given: Any) -> Any:
        advance(of, *given)
        raise KeyboardInterrupt

    if dies.startswith("before"):
        with monkeypatch.context() as patch:
            patch.setattr(chain_check, "advance", killed)
            with pytest.raises(KeyboardInterrupt):
                step(org, session)

    def reads(of: RunnerSession, after: int) -> Any:
        if of.id == session.id:
            began.append(after)
        return read(of, after)

    monkeypatch.setattr(lines, "in_batches", reads)
    assert step(org, session) == 10
    assert to_the_end(org, session)["verdict"] == "verified"
    assert began == [5, 10, 15]


TAMPERINGS = {
    "a byte of the first step": ("UPDATE runner_event SET body = body || ' ' WHERE {at}", 3),
    "a byte of a later step": ("UPDATE runner_event SET body = body || ' ' WHERE {at}", 13),
    "a record of a later step": ("DELETE FROM runner_event WHERE {at}", 12),
    "the last record": ("DELETE FROM runner_event WHERE {at}", RECORDS),
    "a content of the first step": (
        "UPDATE runner_event SET body = NULL, salt = NULL WHERE {at}",
        4,
    ),
}


@pytest.mark.parametrize(("change", "seq"), TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_what_was_changed_is_named_as_in_one_go(
    org: Org, session: RunnerSession, change: str, seq: int
) -> None:
    past_the_triggers(change.format(at=f"session_id = '{session.id}' AND seq = {seq}"))
    ask(org, session)
    by_steps = to_the_end(org, session)
    assert (by_steps["verdict"], by_steps["first_bad_seq"]) == ("broken", seq)
    assert by_steps["reason"]
    assert found(by_steps) == found(in_one_go(org, session))


def test_that_a_session_has_ended_is_known_in_later_steps(org: Org, session: RunnerSession) -> None:
    roads.end(org, session, Verb.COMPLETE)
    add_notes(org, session, 7)
    with org.scope():
        ledger.append({session.id: [Record("log", "system", 0)]})
        forged = Event.objects.of_session(org.id, session.id).latest("seq").seq
    ask(org, session)
    by_steps = to_the_end(org, session)
    assert (by_steps["verdict"], by_steps["first_bad_seq"]) == ("broken", forged)
    assert found(by_steps) == found(in_one_go(org, session))


def add_notes(org: Org, session: RunnerSession, number: int) -> None:
    for _ in range(number):
        answer = org.operator.api.post(place(session, "notes"), {"message": "read"})
        assert answer.status_code == 201


@pytest.mark.parametrize("seq", [2, 18], ids=["what was read", "what was not read yet"])
def test_what_is_redacted_meanwhile_breaks_nothing(
    org: Org, session: RunnerSession, seq: int
) -> None:
    ask(org, session)
    assert step(org, session) == 5
    by = org.auditor.principal
    for each in (1, seq):
        with org.scope():
            event = Event.objects.of_session(org.id, session.id).get(seq=each)
            custody.redact(session.id, event.id, "A password", by=by)
    ended = to_the_end(org, session)
    assert (ended["verdict"], ended["records"]) == ("verified", RECORDS + 2)
    ask(org, session)
    assert to_the_end(org, session)["verdict"] == "verified"


def test_what_comes_meanwhile_is_checked_and_what_comes_later_is_newer(
    org: Org, session: RunnerSession
) -> None:
    ask(org, session)
    step(org, session)
    add(org, session, 3)
    assert to_the_end(org, session)["records"] == RECORDS + 3
    add(org, session, 2)
    assert told(org, session)["records"] == RECORDS + 3


def test_a_session_has_one_check_at_a_time(org: Org, session: RunnerSession) -> None:
    first = ask(org, session)["running"]
    assert step(org, session) == 5
    assert ask(org, session)["running"] == first | {"records": 5}
    to_the_end(org, session)
    assert ask(org, session)["running"]["records"] == 0


OTHERS = {
    "has gone on": ("UPDATE runner_verification_run SET records = 17", 17),
    "has come to the end": ("DELETE FROM runner_verification_run", None),
    "has begun the next": ("UPDATE runner_verification_run SET requested_at = now()", 15),
}


@pytest.mark.parametrize(("did", "stands"), OTHERS.values(), ids=OTHERS.keys())
def test_of_two_loops_at_one_step_one_is_heard(
    org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch, did: str, stands: int | None
) -> None:
    ask(org, session)
    assert [step(org, session) for _ in range(3)] == [5, 10, 15]
    real, met = chain_check.advance, []

    def slower_than_another(of: RunnerSession, *given: Any) -> Any:
        """It has read to the end, and would keep what it found."""
        result = real(of, *given)
        if of.id == session.id:
            past_the_triggers(f"{did} WHERE session_id = '{session.id}'")
            met.append(result)
        return result

    monkeypatch.setattr(chain_check, "advance", slower_than_another)
    while not met:
        verification_runs.run_once()
    now = run(org, session)
    assert (now and now.records) == stands
    assert told(org, session)["verdict"] == "pending"


def test_a_check_that_cannot_go_on_says_so_and_goes_on_when_asked_again(
    org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(org, session)
    assert step(org, session) == 5

    def unreadable(*_: Any) -> None:
        raise OSError("could not read block 7")

    with monkeypatch.context() as patch:
        patch.setattr(chain_check, "advance", unreadable)
        step(org, session)
    failed = told(org, session)["running"]
    assert (failed["records"], failed["failed_at"] is not None) == (5, True)
    stopped = run(org, session)
    verification_runs.run_once()
    assert run(org, session) == stopped
    again = ask(org, session)["running"]
    assert (again["records"], again["failed_at"]) == (5, None)
    assert to_the_end(org, session)["verdict"] == "verified"


def test_what_retention_drops_meanwhile_is_expired_and_not_broken(
    org: Org, session: RunnerSession
) -> None:
    ask(org, session)
    assert step(org, session) == 5
    with org.scope():
        RunnerSession.objects.filter(id=session.id).update(evidence_expired_at=clock.now())
    past_the_triggers(f"DELETE FROM runner_event WHERE session_id = '{session.id}'")
    ended = to_the_end(org, session)
    assert (ended["verdict"], ended["first_bad_seq"], ended["running"]) == ("expired", None, None)


def test_it_is_for_auditors_of_this_organization(org: Org, session: RunnerSession) -> None:
    problem(org.operator.api.post(place(session)), 403, "missing_scope")
    problem(Org().auditor.api.post(place(session)), 404)
    assert run(org, session) is None
    ask(org, session)
    problem(org.operator.api.get(place(session)), 403, "missing_scope")
    problem(Org().auditor.api.get(place(session)), 404)


def test_the_result_of_the_check_before_is_told_while_another_runs(
    org: Org, session: RunnerSession
) -> None:
    before = in_one_go(org, session)
    during = ask(org, session)
    assert found(during) | {"running": None} == found(before)
    with org.scope():
        assert Verification.objects.get(session_id=session.id).records == RECORDS
