"""The Evidence tab: how far a session is checked, its holds and gaps; and the log of all of it."""

from __future__ import annotations

import io
from typing import Any

import pytest

from grants import badges, custody, events, lines, queries, verification, verification_runs
from grants.custody_models import Verification, VerificationRun
from keeptrusts_runners import clock
from keeptrusts_runners.evidence import signer
from sessions import outcomes
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browsers import at_most, browser, page_of, text_of
from tests.people import Org, Person


@pytest.fixture
def org() -> Org:
    """With its auditor, who cannot come into being within its scope."""
    made = Org()
    assert made.auditor
    assert made.operator
    return made


def shown(who: Person, session: RunnerSession) -> str:
    response = browser(who).get(page_of(session, "evidence"))
    assert response.status_code == 200
    return text_of(response)


def send(who: Person, session: RunnerSession, verb: str, **data: str) -> Any:
    return browser(who).post(page_of(session, "evidence", verb), data)


def add(org: Org, session: RunnerSession, *given: dict[str, Any]) -> None:
    with org.scope():
        events.ingest(session.id, list(given), by=org.runner.principal, lease_epoch=1)


class TestBadge:
    def test_says_that_nothing_was_checked(self, org: Org) -> None:
        assert "Not checked" in shown(org.viewer, factories.running(org))

    def test_says_what_was_verified_and_when(self, org: Org) -> None:
        session = factories.running(org)
        assert send(org.auditor, session, "verify").status_code == 303
        text = shown(org.viewer, session)
        assert "Verified 4 records, head " in text
        assert "checked 20" in text

    def test_says_how_many_have_come_since(self, org: Org) -> None:
        session = factories.running(org)
        send(org.auditor, session, "verify")
        add(org, session, {"kind": "log"}, {"kind": "log"})
        text = shown(org.viewer, session)
        assert "Verified up to #4" in text
        assert "2 newer" in text

    def test_names_the_first_bad_record_and_the_last_good_one(self, org: Org) -> None:
        session = factories.running(org)
        send(org.auditor, session, "verify")
        with org.scope():
            Verification.objects.filter(session_id=session.id).update(
                verdict="broken", records=1, first_bad_seq=2, reason="its hash is another"
            )
        text = shown(org.viewer, session)
        assert "Broken at record 2" in text
        assert "its hash is another" in text
        assert "Last good record #1" in text

    def test_of_many_sessions_is_one_query(self, org: Org) -> None:
        sessions = [factories.running(org) for _ in range(5)]
        verification.verify(sessions[0].id, by=org.auditor.principal)
        with org.scope():
            rows = list(
                RunnerSession.objects.filter(
                    id__in=[session.id for session in sessions]
                ).select_related("ledger_head")
            )
            with at_most(1):
                found = queries.badges(rows)
        words = [found[session.id].word for session in sessions]
        assert words == ["verified", *["not_checked"] * 4]

    @pytest.mark.parametrize(
        ("verdict", "word", "label"),
        [
            ("verified", "verified", ""),
            ("broken", "broken", "Broken at record 4"),
            ("expired", "expired", "Expired by retention"),
            ("pending", "not_checked", ""),
        ],
    )
    def test_has_a_word_for_every_verdict(self, verdict: str, word: str, label: str) -> None:
        badge = badges.Badge(3, Verification(verdict=verdict, records=3))
        assert (badge.word, badge.label) == (word, label)


class TestVerifying:
    def test_is_for_auditors_of_this_organization(self, org: Org) -> None:
        session = factories.running(org)
        assert "Verify now" in shown(org.auditor, session)
        assert "Verify now" not in shown(org.operator, session)
        assert send(org.operator, session, "verify").status_code == 403
        assert send(Org().auditor, session, "verify").status_code == 404
        assert browser(org.auditor).get(page_of(session, "evidence", "verify")).status_code == 405
        assert "Not checked" in shown(org.viewer, session)

    def test_the_tab_is_not_there_for_others(self, org: Org) -> None:
        session = factories.running(org)
        for page in ("evidence", "evidence/bundle"):
            assert browser(Org().auditor).get(page_of(session, page)).status_code == 404


@pytest.fixture
def long(org: Org, monkeypatch: pytest.MonkeyPatch) -> RunnerSession:
    """Ten records, of which nobody waits for two, and four are read in each pass."""
    monkeypatch.setattr(verification, "MOST_RECORDS", 1)
    monkeypatch.setattr(verification_runs, "PASS_SECONDS", 0.0)
    monkeypatch.setattr(lines, "_CHUNK_ROWS", 4)
    session = factories.running(org)
    add(org, session, *({"kind": "log"} for _ in range(6)))
    return session


def read_to(org: Org, session: RunnerSession, percent: int | None) -> None:
    """Passes until its check is so far; None: until it is over."""
    for _ in range(100):
        verification_runs.run_once()
        with org.scope():
            now = badges.badge(with_head(session))
        if now.percent == percent or (percent is None and now.run is None):
            return
    raise AssertionError(f"it never came to {percent}")


def with_head(session: RunnerSession) -> RunnerSession:
    return RunnerSession.objects.select_related("ledger_head").get(id=session.id)


@pytest.mark.proves("evidence.long-check")
class TestLongCheck:
    def test_says_how_far_it_is_and_reads_itself_again(self, org: Org, long: RunnerSession) -> None:
        assert send(org.auditor, long, "verify").status_code == 303
        response = browser(org.auditor).get(page_of(long, "evidence"))
        assert b'aria-labelledby="chain" data-refresh="" data-every="3"' in response.content
        text = text_of(response)
        assert "Checking 0 % 0 of 10 records, since 20" in text
        assert f"Asked for by {org.auditor.user.email}" in text
        assert "Verify now" not in text
        read_to(org, long, 40)
        assert "Checking 40 % 4 of 10 records" in shown(org.viewer, long)
        read_to(org, long, None)
        response = browser(org.auditor).get(page_of(long, "evidence"))
        assert b"data-every" not in response.content.split(b'id="chain-card"')[1].split(b">")[0]
        assert "Verified 10 records, head " in text_of(response)
        add(org, long, {"kind": "log"}, {"kind": "log"})
        assert "Verified up to #10 2 newer" in shown(org.viewer, long)

    def test_is_shown_wherever_a_badge_is(self, org: Org, long: RunnerSession) -> None:
        with org.scope():
            outcomes.end(long.id, Verb.COMPLETE, {}, by=org.runner.principal)
        send(org.auditor, long, "verify")
        overview = browser(org.viewer).get(page_of(long))
        assert "Checking 0 % 0 of 11 records" in text_of(overview)
        assert b'id="session" data-topic' in overview.content
        assert "Checking 0 %" in text_of(
            browser(org.viewer).get("/runners/sessions?view=completed")
        )

    def test_hides_no_break_that_was_found_before(self, org: Org, long: RunnerSession) -> None:
        with org.scope():
            Verification.objects.create(
                session_id=long.id, organization_id=org.id, verdict="broken", records=1,
                head_hash=b"", first_bad_seq=2, reason="another hash", checked_at=clock.now(),
            )  # fmt: skip
        send(org.auditor, long, "verify")
        text = shown(org.viewer, long)
        assert "Check before Broken at record 2" in text
        assert "another hash" in text

    def test_that_cannot_go_on_is_asked_for_again(self, org: Org, long: RunnerSession) -> None:
        send(org.auditor, long, "verify")
        read_to(org, long, 40)
        with org.scope():
            VerificationRun.objects.filter(session_id=long.id).update(failed_at=clock.now())
        text = shown(org.auditor, long)
        assert "Cannot check 4 of 10 records, stopped 20" in text
        assert "Go on verifying" in text
        send(org.auditor, long, "verify")
        assert "Checking 40 %" in shown(org.auditor, long)

    def test_is_asked_for_by_auditors_of_this_organization(
        self, org: Org, long: RunnerSession
    ) -> None:
        assert send(org.operator, long, "verify").status_code == 403
        assert send(Org().auditor, long, "verify").status_code == 404
        assert "Not checked" in shown(org.viewer, long)


class TestHold:
    def test_is_placed_changed_and_lifted_with_reasons(self, org: Org) -> None:
        session = factories.running(org)
        assert "Place a hold" in shown(org.auditor, session)
        assert send(org.auditor, session, "hold", reason="Case 7").status_code == 303
        text = shown(org.auditor, session)
        assert f"by {org.auditor.user.email}: Case 7" in text
        send(org.auditor, session, "hold", reason="Cases 7 and 8")
        assert "Cases 7 and 8" in shown(org.viewer, session)
        assert send(org.auditor, session, "lift", reason="Settled").status_code == 303
        assert "None. Retention and redaction are possible." in shown(org.viewer, session)
        with org.scope():
            last = queries.last_events(session, 1)[0]
        assert (last.kind, last.data) == ("hold.lifted", {"reason": "Settled"})

    @pytest.mark.parametrize("verb", ["hold", "lift"])
    def test_needs_a_reason_and_an_auditor(self, org: Org, verb: str) -> None:
        session = factories.running(org)
        response = send(org.auditor, session, verb, reason=" ")
        assert response.status_code == 422
        assert b"<title>Error: " in response.content
        assert send(org.operator, session, verb, reason="x").status_code == 403
        assert send(Org().auditor, session, verb, reason="x").status_code == 404

    def test_that_is_not_there_cannot_be_lifted(self, org: Org) -> None:
        assert send(org.auditor, factories.running(org), "lift", reason="x").status_code == 404


def test_what_a_runner_numbered_and_did_not_deliver_is_said(org: Org) -> None:
    session = factories.running(org)
    add(org, session, *({"kind": "log", "client_seq": seq} for seq in (1, 2, 5)))
    with org.scope():
        outcomes.end(session.id, Verb.COMPLETE, {"event_count": 7}, by=org.runner.principal)
    assert "1 7 3 3 to 4, 6 to 7" in shown(org.viewer, session)
    assert "unknown: its runner did not number" in shown(org.viewer, factories.running(org))


def test_redactions_are_listed_with_who_and_why(org: Org) -> None:
    session = factories.running(org)
    with org.scope():
        event = queries.last_events(session, 1)[0]
        custody.redact(session.id, event.id, "A password", by=org.auditor.principal)
    text = shown(org.viewer, session)
    assert "A password" in text
    assert f"#{event.seq}" in text


class TestLog:
    def test_says_where_a_session_is_anchored(self, org: Org) -> None:
        session = factories.running(org)
        assert "Not yet. The signer is" in shown(org.viewer, session)
        signer.anchor(org.id)
        text = shown(org.viewer, session)
        assert "Up to record #4, the newest" in text
        add(org, session, {"kind": "log"})
        assert "Up to record #4; 5 to 5 are pending" in shown(org.viewer, session)

    def test_lists_checkpoints_to_keep_and_what_is_broken(self, org: Org) -> None:
        session = factories.running(org)
        signer.anchor(org.id)
        verification.verify(session.id, by=org.auditor.principal)
        with org.scope():
            Verification.objects.filter(session_id=session.id).update(
                verdict="broken", first_bad_seq=2, reason="its hash is another"
            )
        client = browser(org.auditor)
        response = client.get("/runners/evidence")
        text = text_of(response)
        assert "at record 2" in text
        assert "its hash is another" in text
        (size,) = {
            part.split(b".txt")[0]
            for part in response.content.split(b"/runners/evidence/checkpoints/")[1:]
        }
        note = client.get(f"/runners/evidence/checkpoints/{int(size)}.txt")
        assert note["Content-Disposition"].startswith("attachment")
        assert note.content.splitlines()[1] == size
        assert client.get("/runners/evidence/checkpoints/999999.txt").status_code == 404

    def test_is_for_auditors(self, org: Org) -> None:
        for address in ("/runners/evidence", "/runners/evidence/checkpoints/1.txt"):
            assert browser(org.operator).get(address).status_code == 403


def test_the_bundle_is_a_download(org: Org) -> None:
    session = factories.running(org)
    response = browser(org.auditor).get(page_of(session, "evidence", "bundle"))
    assert b"events.ndjson" in io.BytesIO(b"".join(response.streaming_content)).read()


def test_its_cost_is_bounded(org: Org) -> None:
    session = factories.running(org)
    client = browser(org.auditor)
    with at_most(16):
        assert client.get(page_of(session, "evidence")).status_code == 200
