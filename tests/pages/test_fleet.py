"""What the fleet page says, and what it costs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from grants.custody_models import Verdict, Verification
from keeptrusts_runners import clock, ids
from profiles import catalog
from profiles.models import RunnerProfile
from profiles.pages.fleet import BARS_HEIGHT, bars
from sessions import fleet, lifecycle, outcomes
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browsers import at_most, browser, text_of
from tests.grants.asking import requested
from tests.people import Org

PAST_TARGET = "/runners/sessions?view=queue&past_queue_target=true"


@pytest.fixture
def org() -> Org:
    return Org()


def names(response: Any) -> list[str]:
    return [row.figures.name for row in response.context["profiles"]]


def concerns(org: Org) -> list[tuple[str, str]]:
    found = browser(org.viewer).get("/runners").context["concerns"]
    return [(each.text, each.url) for each in found]


def figures(org: Org, on: RunnerProfile) -> fleet.ProfileFigures:
    by = org.viewer.principal
    with org.scope():
        (found,) = fleet.figures(by=by, now=clock.now(), profile_id=on.id)
    return found


def end(org: Org, session: RunnerSession, verb: Verb = Verb.COMPLETE) -> None:
    fields = {} if verb is Verb.COMPLETE else {"error": {"code": "broken"}}
    by = org.runner.principal
    with org.scope():
        outcomes.end(session.id, verb, fields, by=by)


def moved(org: Org, session: RunnerSession, **by: timedelta) -> None:
    """These instants of its row, so much earlier."""
    with org.scope():
        changes = {name: F(name) - length for name, length in by.items()}
        RunnerSession.objects.filter(id=session.id).update(**changes)


def test_an_empty_fleet_says_what_to_do(org: Org) -> None:
    response = browser(org.operator).get("/runners")
    assert "No profiles yet." in text_of(response)
    assert b'href="/runners/profiles/new"' in response.content
    assert "Needs attention" not in text_of(response)
    assert b'href="/runners/profiles/new"' not in browser(org.viewer).get("/runners").content


def test_the_counters_are_exact(org: Org) -> None:
    on = factories.profile(org)
    for _ in range(3):
        factories.pending(org, on)
    factories.running(org, factories.pending(org, on))
    end(org, factories.running(org, factories.pending(org, on)), Verb.FAIL)
    text = text_of(browser(org.viewer).get("/runners"))
    assert "Queued 3 " in text
    assert "Active 1 " in text
    assert "Failed, last 24 h 1 " in text


def test_another_organizations_fleet_is_not_counted(org: Org) -> None:
    factories.pending(Org())
    assert "Queued 0 " in text_of(browser(org.viewer).get("/runners"))


def test_a_mutable_tag_is_pointed_out(org: Org) -> None:
    on, by = factories.profile(org), org.admin.principal
    with org.scope():
        catalog.publish_harness(on.id, {"version": "1", "image_ref": "r/app:latest"}, by=by)
    assert "Mutable tag" in text_of(browser(org.viewer).get("/runners"))


def test_what_runs_an_older_revision_is_behind(org: Org) -> None:
    on, by = factories.profile(org), org.admin.principal
    with org.scope():
        catalog.publish_harness(on.id, {"version": "1", "image_ref": "r/app"}, by=by)
    factories.running(org, factories.pending(org, on))
    factories.pending(org, on)
    assert figures(org, on).behind == 0
    with org.scope():
        catalog.publish_harness(on.id, {"version": "2", "image_ref": "r/app"}, by=by)
    assert figures(org, on).behind == 1
    assert "2 Mutable tag 1 behind" in text_of(browser(org.viewer).get("/runners"))


def test_who_asks_and_who_holds_are_there_each_once(org: Org) -> None:
    on, other = factories.profile(org), factories.profile(org)
    factories.asking(org, "any")
    factories.asking(org, "other alone", profile_ids=(other.id,))
    gone = factories.asking(org, "gone")
    with org.scope():
        RunnerExecutor.objects.filter(id=gone.id).update(
            polled_at=F("polled_at") - timedelta(hours=1)
        )
    assert figures(org, on).executors == 1
    factories.running(org, factories.pending(org, on))
    factories.running(org, factories.pending(org, on))
    assert figures(org, on).executors == 2


def test_waits_and_ends_are_told_by_the_hour(org: Org) -> None:
    on = factories.profile(org)
    for hours, verb in ((0, Verb.COMPLETE), (0, Verb.FAIL), (5, Verb.COMPLETE), (25, Verb.FAIL)):
        session = factories.running(org, factories.pending(org, on))
        end(org, session, verb)
        moved(org, session, ended_at=timedelta(hours=hours), created_at=timedelta(seconds=10))
    found = figures(org, on)
    assert (found.failed, found.hours[23], found.hours[18]) == (1, [1, 1], [1, 0])
    assert sum(map(sum, found.hours)) == 3
    assert found.waits is not None
    assert all(10 <= wait < 60 for wait in found.waits)
    assert "2 ok, 1 failed" in browser(org.viewer).get("/runners").content.decode()


def test_more_than_is_looked_at_is_said(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "SAMPLE", 1)
    on = factories.profile(org)
    for _ in range(2):
        end(org, factories.running(org, factories.pending(org, on)), Verb.FAIL)
    assert figures(org, on).capped
    assert re.search(r"Failed, last 24 h \d\+", text_of(browser(org.viewer).get("/runners")))


def test_bars_stand_on_each_other_and_stay_within_their_drawing() -> None:
    (good, green), (bad, red) = bars([(0, 0), (1000, 1), (0, 1)])
    assert (good, bad) == ("completed", "failed")
    assert green == f"M4 {BARS_HEIGHT}v-{BARS_HEIGHT}h3v{BARS_HEIGHT}z"
    assert red.startswith("M4 0v-0h3v0z")
    assert red.endswith(f"M8 {BARS_HEIGHT}v-2h3v2z")
    assert bars([(0, 0)] * 24) == []


# --- what needs attention --------------------------------------------------------------------


def test_what_is_well_needs_no_attention(org: Org) -> None:
    factories.asking(org)
    factories.running(org)
    factories.pending(org)
    assert concerns(org) == []


def test_work_that_nobody_comes_for_is_named(org: Org) -> None:
    on = factories.profile(org, name="lonely")
    session = factories.pending(org, on)
    moved(org, session, created_at=timedelta(minutes=11))
    profile = ids.encode("prof", on.id)
    queue = f"/runners/sessions?view=queue&profile_id={profile}"
    assert concerns(org) == [
        ("lonely has no live executor, with 1 session queued", queue),
        ("1 session queued for longer than 10 min", PAST_TARGET),
    ]
    factories.asking(org)
    assert [text for text, _ in concerns(org)] == ["1 session queued for longer than 10 min"]


def test_late_and_silent_heartbeats_are_told_apart(org: Org) -> None:
    late, silent = factories.running(org), factories.running(org)
    moved(org, late, heartbeat_at=timedelta(seconds=40))
    moved(org, silent, heartbeat_at=timedelta(seconds=90), lease_expires_at=timedelta(seconds=90))
    texts = [text for text, _ in concerns(org)]
    assert texts == ["1 session silent: the lease has run out", "1 heartbeat late"]


def test_approvals_and_broken_evidence_are_led_to(org: Org) -> None:
    session = factories.running(org)
    requested(org, session)
    broken(org, session)
    named = ids.encode("sess", session.id)
    (damage, damage_url), (approvals, approvals_url) = concerns(org)
    assert damage == f"Evidence of {named} is broken"
    assert damage_url == f"/runners/sessions/{named}"
    assert approvals.startswith("1 approval waiting, the oldest for ")
    assert approvals_url == "/runners/approvals?view=waiting"


def test_a_cancellation_that_nobody_confirms_is_told(org: Org) -> None:
    session, by = factories.running(org), org.operator.principal
    with org.scope():
        lifecycle.cancel(session.id, by=by)
    assert concerns(org) == []
    moved(org, session, deadline_at=timedelta(minutes=2))
    assert "1 cancellation not confirmed in time" in [text for text, _ in concerns(org)]


def broken(org: Org, session: RunnerSession) -> None:
    with org.scope():
        Verification.objects.create(
            session=session, organization_id=org.id, verdict=Verdict.BROKEN, records=3,
            head_hash=bytes(32), first_bad_seq=2, checked_at=clock.now(),
        )  # fmt: skip


def everything_that_needs_attention(org: Org) -> None:
    """More than one of each, beside what is well."""
    hasty, by = (
        factories.profile(org, name="hasty", queue_target_seconds=60),
        org.operator.principal,
    )
    factories.running(org)
    for number in range(5):
        lonely = factories.profile(org, name=f"lonely {number}")
        moved(org, factories.pending(org, lonely), created_at=timedelta(minutes=11))
        factories.pending(org, lonely)
    for _ in range(2):
        moved(org, factories.pending(org, hasty), created_at=timedelta(minutes=2))
        moved(org, factories.running(org), heartbeat_at=timedelta(seconds=40))
        beaten = {"heartbeat_at": timedelta(seconds=90), "lease_expires_at": timedelta(seconds=90)}
        moved(org, factories.running(org), **beaten)
        requested(org, factories.running(org))
        ended, cancelled = factories.running(org), factories.running(org)
        with org.scope():
            RunnerSession.objects.filter(id=ended.id).update(
                state="lost", lease_expires_at=None, ended_at=F("updated_at")
            )
            lifecycle.cancel(cancelled.id, by=by)
        moved(org, cancelled, deadline_at=timedelta(minutes=2))
    for _ in range(5):
        broken(org, factories.running(org))


SAID = {
    "silent: the lease has run out": 2,
    "late": 2,
    "lost, outcome undecided": 2,
    "queued for longer than their profiles allow": 7,
    "cancellations not confirmed in time": 2,
    "profiles with work queued and no live executor": 6,
    "approvals waiting": 2,
    "more sessions": 2,
}


def test_each_count_leads_to_just_these(org: Org) -> None:
    everything_that_needs_attention(org)
    client, seen = browser(org.viewer), set()
    for text, url in concerns(org):
        page = client.get(url)
        assert page.status_code == 200, url
        counted = re.match(r"(?:Evidence of )?(\d+) ", text)
        if counted is None:
            assert page.context["session"]
            continue
        (said,) = [each for each in SAID if each in text.removeprefix(counted[0])]
        rows = page.context["profiles" if "profiles with" in text else "rows"]
        assert len(rows) == int(counted[1]) == SAID[said], text
        seen.add(said)
    assert seen == SAID.keys()


# --- the list --------------------------------------------------------------------------------


def test_trouble_comes_first(org: Org) -> None:
    factories.profile(org, name="a quiet")
    factories.pending(org, factories.profile(org, name="b busy"))
    failing = factories.profile(org, name="c failing")
    end(org, factories.running(org, factories.pending(org, failing)), Verb.FAIL)
    factories.asking(org)
    found = names(browser(org.viewer).get("/runners"))
    assert found == ["c failing", "b busy", "a quiet"]


def test_filters_narrow_the_list_and_not_the_counters(org: Org) -> None:
    factories.profile(org, name="blue", execution_target="vm")
    red = factories.profile(org, name="red")
    factories.pending(org, red)
    client = browser(org.viewer)
    assert names(client.get("/runners?target=vm")) == ["blue"]
    assert names(client.get("/runners?q=RED")) == ["red"]
    assert names(client.get(f"/runners?q={ids.encode('prof', red.id)}")) == ["red"]
    assert names(client.get("/runners?status=paused")) == []
    response = client.get("/runners?q=blu")
    assert "Queued 1 " in text_of(response)
    assert "Name: blu" in text_of(response)
    assert client.get("/runners?q=&status=")["Location"] == "/runners"


@pytest.mark.parametrize("query", ["x=1", "q=a&q=b", "q=%00", "trouble=x"])
def test_a_wrong_filter_is_explained(org: Org, query: str) -> None:
    factories.profile(org)
    response = browser(org.viewer).get(f"/runners?{query}")
    assert response.status_code == 400
    assert b'role="alert"' in response.content


def test_the_cost_does_not_depend_on_how_much_there_is(org: Org) -> None:
    client = browser(org.viewer)
    with at_most(9):
        client.get("/runners")
    for _ in range(5):
        factories.running(org)
        factories.pending(org)
    with at_most(9):
        assert client.get("/runners").status_code == 200
