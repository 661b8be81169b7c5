"""`seed`: invented sessions that hold everything that real ones do."""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from hypothesis import given
from hypothesis import strategies as st

from grants import access, bundle
from grants.models import Event, LedgerHead, PermissionGrant
from keeptrusts_runners import clock, ids
from keeptrusts_runners.evidence.verifier.verification import verify_bundle
from keeptrusts_runners.identity import principal
from keeptrusts_runners.seeding import cast, plan, seeder
from keeptrusts_runners.seeding.cast import Cast
from keeptrusts_runners.seeding.plan import COURSES, Plan
from keeptrusts_runners.seeding.story import Story
from sessions import reaper
from sessions.models import RunnerSession
from sessions.states import OPEN, State
from tests.browsers import browser, page_of
from tests.people import Org
from tests.sessions import records

SESSIONS, EVENTS = 160, 2400
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def seeded() -> tuple[Org, dict[str, Any]]:
    """An organization as the command leaves it, and what the command says."""
    org, out = Org(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        # Each ledger in several pieces, and several transactions.
        patch.setattr(seeder, "_CHAINED_AT_ONCE", 7)
        patch.setattr(seeder, "PART_SESSIONS", 50)
        call_command(
            "seed", "--sessions", str(SESSIONS), "--events", str(EVENTS), "--seed", "4",
            "--org", ids.encode("org", org.id), "--json", stdout=out,
        )  # fmt: skip
    return org, json.loads(out.getvalue())


@pytest.fixture(scope="module")
def org(seeded: tuple[Org, dict[str, Any]]) -> Org:
    return seeded[0]


def sessions_of(org: Org) -> list[RunnerSession]:
    with org.scope():
        found = RunnerSession.objects.in_organization(org.id).select_related("profile", "harness")
        return list(found.order_by("id"))


def test_it_says_what_it_has_made_and_that_is_there(
    org: Org, seeded: tuple[Org, dict[str, Any]]
) -> None:
    answer = seeded[1]
    with org.scope():
        said = Event.objects.filter(organization_id=org.id)
        recorded = said.count()
        sources = Counter(event.source for event in said)
    assert (answer["sessions"], answer["events"]) == (SESSIONS, EVENTS)
    assert (answer["records"], sources["client"]) == (recorded, EVENTS)
    assert len(sessions_of(org)) == SESSIONS
    assert {session.state for session in sessions_of(org)} >= OPEN - {
        State.DISPATCHED, State.CANCELLING
    } | {State.COMPLETED, State.FAILED, State.CANCELLED, State.TIMED_OUT}  # fmt: skip


@pytest.mark.proves("run.seed")
def test_every_seeded_session_holds_what_is_promised_of_real_ones(org: Org) -> None:
    for session in sessions_of(org):
        records.assert_sound(org, session)
        with org.scope(), connection.cursor() as cursor:
            head = LedgerHead.objects.get(session_id=session.id)
            cursor.execute("SELECT * FROM kt_ledger_buckets(%s)", [session.id])
            counted = cursor.fetchone()
        assert (head.began_at, head.bucket_seconds, head.buckets) == counted


@pytest.mark.proves("run.seed")
def test_a_seeded_sessions_evidence_verifies_offline(org: Org, tmp_path: Path) -> None:
    by_state: dict[str, RunnerSession] = {each.state: each for each in sessions_of(org)}
    assert len(by_state) >= 7
    for session in by_state.values():
        file = tmp_path / bundle.filename(session.id)
        file.write_bytes(b"".join(bundle.stream(session.id, by=org.auditor.principal)))
        report = verify_bundle(file, bundle.signing_key().kid)
        assert report.exit_code == 0, (session.state, str(report))


@pytest.mark.proves("run.seed")
def test_time_demands_nothing_of_what_was_seeded(org: Org) -> None:
    by = principal.system(org.id)
    for session in sessions_of(org):
        with org.scope():
            assert reaper.settle(session.id, by=by) is None, session.state
    with org.scope():
        for grant in PermissionGrant.objects.filter(organization_id=org.id):
            assert access.current_state(grant, clock.now()) == grant.state


def test_what_was_numbered_and_declared_has_arrived(org: Org) -> None:
    found = [session for session in sessions_of(org) if session.state == State.COMPLETED]
    entries = [
        entry for session in found[:40]
        for entry in org.viewer.api.get(f"/runners/sessions/{session}").json()["completeness"]
    ]  # fmt: skip
    declared = [entry for entry in entries if entry["declared"]]
    assert len(declared) > 5
    for entry in declared:
        assert (entry["received"], entry["missing"]) == (entry["declared"], [])


def test_pages_and_routes_show_them(org: Org) -> None:
    client = browser(org.auditor)
    for address in ("/runners/sessions", "/runners/approvals", "/runners"):
        assert client.get(address, follow=True).status_code == 200, address
    for session in {each.state: each for each in sessions_of(org)}.values():
        for page in (page_of(session), page_of(session, "events")):
            assert client.get(page).status_code == 200, page
        for route in ("", "/events", "/events/histogram", "/events/facets", "/attempts",
                      "/artifacts", "/permissions", "/explain"):  # fmt: skip
            answer = org.viewer.api.get(f"/runners/sessions/{session}{route}")
            assert answer.status_code == 200, (route, answer.content)


def test_an_artifact_has_its_bytes(org: Org) -> None:
    for session in sessions_of(org):
        listed = org.viewer.api.get(f"/runners/sessions/{session}/artifacts").json()["items"]
        if listed:
            break
    content = f"/runners/sessions/{session}/artifacts/{listed[0]['id']}/content"
    answer = org.viewer.api.get(content)
    assert len(b"".join(answer.streaming_content)) == listed[0]["size_bytes"]


def test_seeding_again_adds_to_the_same_profiles(org: Org) -> None:
    before = org.viewer.api.get("/runners/profiles").json()["items"]
    arguments = ["--sessions", "1", "--events", "30", "--org", ids.encode("org", org.id)]
    call_command("seed", *arguments, stdout=io.StringIO())
    assert org.viewer.api.get("/runners/profiles").json()["items"] == before
    assert len(sessions_of(org)) > SESSIONS


def test_months_that_retention_drops_before_they_are_filled_are_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dropped: list[int] = []

    def drop(*_: Any) -> None:
        with connections["maintain"].cursor() as cursor:
            cursor.execute("SELECT kt_drop_expired_event_partitions()")
            dropped.append(cursor.fetchone()[0])

    monkeypatch.setattr(seeder, "MONTHS", 24)
    monkeypatch.setattr(seeder, "_age", drop)
    org = Org()
    seeder.seed(org.id, sessions=6, events=60, seed=1, now=clock.now())
    assert dropped[0] > 12
    for session in sessions_of(org):
        records.assert_sound(org, session)


# --- by the seed -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everybody(org: Org) -> Cast:
    return cast.assemble(org.id)


@pytest.mark.parametrize("course", COURSES)
def test_the_same_seed_tells_the_same_story(everybody: Cast, course: str) -> None:
    def rows(seed: str) -> Any:
        planned = Plan(7, course, NOW - timedelta(hours=5), 600.0, 60)
        story = Story(everybody, planned, Random(seed), NOW)
        heads: list[LedgerHead] = []
        rows = list(seeder._rows(story, heads))
        steps = [(step.id, step.seq, step.target, step.at) for step in story.transitions]
        return rows, steps, heads[0].hash, heads[0].buckets, story.session.state

    first = rows("a")
    assert first == rows("a")
    assert first != rows("b")
    assert first[4] == course.split()[0].replace("timed", "timed_out")


@given(
    st.integers(1, 300), st.integers(0, 5000), st.integers(0, 99),
)  # fmt: skip
def test_as_many_sessions_and_events_are_planned_as_were_asked_for(
    sessions: int, events: int, seed: int
) -> None:
    planned = list(plan.plans(Random(seed), sessions, events, NOW, 6))
    assert [each.number for each in planned] == list(range(sessions))
    assert sum(each.events for each in planned) == events
    assert min(each.events for each in planned) >= 0
    assert all(one.created_at <= two.created_at for one, two in itertools.pairwise(planned))
    assert planned[-1].created_at < NOW


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sessions", "0", "--events", "1"], "a whole number from 1"),
        (["--sessions", "-1", "--events", "1"], "a whole number from 1"),
        (["--sessions", "1e3", "--events", "1"], "a whole number from 1"),
        (["--sessions", "1", "--events", "99999999999999999999"], "a whole number from 1"),
        (["--sessions", "1", "--events", "1", "--org", "org_nonsense"], "--org takes"),
        (["--sessions", "1", "--events", "1", "--org", "org_01h455vb4pex5vsknk084sn02q"],
         "no such organization"),
        (["--events", "1"], "--sessions"),
    ],
)  # fmt: skip
def test_what_cannot_be_seeded_is_said_in_a_line(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError) as error:
        call_command("seed", *arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
