"""What failed in a window, by what it has in common: exact, bounded, and one's own alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from keeptrusts_runners import clock, ids
from sessions import queries, summary
from sessions.executor_models import RunnerExecutor
from sessions.models import RunnerSession
from sessions.states import FAILURES, State, Verb
from sessions.summary import Window
from tests import factories
from tests.browsers import at_most
from tests.people import Org
from tests.sessions import roads


@pytest.fixture
def org() -> Org:
    return Org()


def ask(org: Org, query: str = "") -> Any:
    return org.viewer.api.get(f"/runners/sessions/summary{query}")


def told(org: Org, query: str = "") -> Any:
    answer = ask(org, query)
    assert answer.status_code == 200, answer.content
    return answer.json()


def by_key(found: Any) -> dict[str | None, Any]:
    return {group["key"]: group for group in found["groups"]}


def listed(org: Org, group: Any) -> list[str]:
    """The ids that the group's query lists."""
    answer = org.viewer.api.get(f"/runners/sessions?limit=200&{group['query']}")
    assert answer.status_code == 200, answer.content
    return [each["id"] for each in answer.json()["items"]]


def failed(org: Org, code: str = "oom", **fields: Any) -> RunnerSession:
    session = factories.running(org, factories.pending(org, **fields))
    return roads.end(org, session, Verb.FAIL, error={"code": code})


def ended(org: Org, session: RunnerSession, ago: timedelta) -> datetime:
    with org.scope():
        at = clock.now() - ago
        RunnerSession.objects.filter(id=session.id).update(ended_at=at)
    return at


@pytest.mark.proves("life.summary")
def test_what_failed_is_grouped_by_its_reason(org: Org) -> None:
    failed(Org())
    first, second = failed(org), failed(org)
    lost = roads.reach(org, State.LOST)
    for state in (State.TIMED_OUT, State.EXPIRED, State.COMPLETED, State.CANCELLED, State.RUNNING):
        roads.reach(org, state)
    found = told(org)
    assert (found["group_by"], found["total"], found["truncated"]) == ("reason", 5, False)
    groups = by_key(found)
    assert {key: group["states"] for key, group in groups.items()} == {
        "oom": {"failed": 2},
        "lease_expired": {"lost": 1},
        "timeout": {"timed_out": 1},
        "queue_timeout": {"expired": 1},
    }
    oom = groups["oom"]
    assert found["groups"][0] == oom, "the largest first"
    assert (oom["count"], oom["name"]) == (2, None)
    assert oom["samples"] == [ids.encode("sess", each.id) for each in (second, first)]
    assert oom["first_ended_at"] == clock.rfc3339(first.ended_at)
    assert oom["last_ended_at"] == clock.rfc3339(second.ended_at)
    assert groups["lease_expired"]["samples"] == [ids.encode("sess", lost.id)]


def test_each_grouping_names_its_groups_and_the_query_that_lists_them(org: Org) -> None:
    one, other = factories.profile(org), factories.profile(org)
    place = f"/runners/profiles/{ids.encode('prof', one.id)}/harnesses"
    body = {"version": "2026.05", "image_ref": "registry.test/harness:2026.05"}
    harness = org.operator.api.post(place, body).json()["id"]
    for profile in (one, one, other):
        roads.settled(
            org, factories.running(org, factories.pending(org, profile)), "lease_expires_at"
        )
    failed(org)
    roads.reach(org, State.EXPIRED)
    with org.scope():
        executor = RunnerExecutor.objects.get(organization_id=org.id)
    expected = {
        "reason": ("lease_expired", None, 3),
        "profile_id": (ids.encode("prof", one.id), one.name, 2),
        "harness_id": (harness, "2026.05", 2),
        "executor": (ids.encode("exec", executor.id), executor.name, 4),
    }
    for group_by, (key, name, count) in expected.items():
        found = told(org, f"?group_by={group_by}")
        assert found["total"] == sum(group["count"] for group in found["groups"]) == 5
        group = by_key(found)[key]
        assert (group["name"], group["count"]) == (name, count), group_by
        for each in found["groups"]:
            if each["query"] is None:
                assert each["key"] is None
                continue
            assert len(listed(org, each)) == each["count"]
            assert set(each["samples"]) <= set(listed(org, each))
    assert by_key(told(org, "?group_by=executor"))[None]["states"] == {"expired": 1}


def test_the_window_is_the_last_day_unless_another_is_named(org: Org) -> None:
    failed(org)
    old = failed(org)
    at = ended(org, old, timedelta(hours=25))
    assert told(org)["total"] == 1
    since = clock.rfc3339(at - timedelta(seconds=1))
    wider = told(org, f"?ended_after={since}")
    assert (wider["total"], wider["ended_after"]) == (2, since)
    # Both ends are exclusive, as in the list.
    assert told(org, f"?ended_after={clock.rfc3339(at)}")["total"] == 1
    before = clock.rfc3339(at + timedelta(seconds=1))
    found = told(org, f"?ended_before={before}")
    assert found["groups"][0]["samples"] == [ids.encode("sess", old.id)]
    assert found["ended_before"] == before
    assert found["ended_after"] == clock.rfc3339(at + timedelta(seconds=1) - summary.WINDOW)
    assert listed(org, found["groups"][0]) == [ids.encode("sess", old.id)]


def test_filters_of_the_list_narrow_it_and_stay_in_the_query(org: Org) -> None:
    on = factories.profile(org)
    wanted = failed(org, on=on, labels={"team": "blue", "tier": "1"})
    failed(org, on=on, labels={"team": "red"})
    failed(org, labels={"team": "blue"})
    roads.reach(org, State.LOST)
    profile = ids.encode("prof", on.id)
    found = told(org, f"?profile_id={profile}&label=team:blue&label=tier:1&state=failed,lost")
    assert found["total"] == 1
    (group,) = found["groups"]
    assert group["query"].startswith(f"profile_id={profile}&label=team:blue&label=tier:1&state=")
    assert listed(org, group) == [ids.encode("sess", wanted.id)]
    assert told(org, "?state=lost")["total"] == 1
    assert told(org, "?reason=oom&group_by=profile_id")["total"] == 3


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("?group_by=state", "group_by"),
        ("?group_by=", "group_by"),
        ("?ended_after=yesterday", "ended_after"),
        ("?ended_before=2026-05-01T09:30:00", "ended_before"),
        ("?ended_after=2026-05-01T00:00:00Z&ended_before=2026-06-01T00:00:01Z", "ended_after"),
        ("?ended_after=2026-05-02T00:00:00Z&ended_before=2026-05-01T00:00:00Z", "ended_after"),
        ("?ended_after=2026-05-01T00:00:00Z&ended_before=2026-05-01T00:00:00Z", "ended_after"),
        ("?ended_before=0001-01-01T00:00:00Z", "ended_before"),
        ("?state=completed", "state"),
        ("?executor_id=sess_01h455vb4pex5vsknk084sn02q", "executor_id"),
    ],
)
def test_what_cannot_be_asked_is_named(org: Org, query: str, parameter: str) -> None:
    answer = ask(org, query)
    assert answer.status_code == 400, answer.content
    assert [error["pointer"] for error in answer.json()["errors"]] == [parameter]


def test_a_whole_window_is_not_too_much(org: Org) -> None:
    found = told(org, "?ended_after=2026-05-01T00:00:00Z&ended_before=2026-06-01T00:00:00Z")
    assert (found["total"], found["groups"], found["capped"]) == (0, [], False)


@pytest.mark.parametrize("query", ["?view=queue", "?limit=10", "?cursor=x"])
def test_it_is_no_list(org: Org, query: str) -> None:
    answer = ask(org, query)
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")


def test_of_more_failures_than_are_looked_at_the_newest_count(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [failed(org) for _ in range(5)]
    for minutes, session in enumerate(sessions, 1):
        ended(org, session, timedelta(minutes=minutes))
    monkeypatch.setattr(summary, "MAX_FAILURES", 3)
    found = told(org)
    assert (found["capped"], found["total"]) == (True, 3)
    newest = [ids.encode("sess", session.id) for session in sessions[:3]]
    assert found["groups"][0]["samples"] == newest
    assert set(listed(org, found["groups"][0])) == set(newest), "the query has that window too"
    assert told(org, "?reason=none_of_them")["capped"] is True


def test_of_more_groups_than_are_answered_the_largest_are(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("a", "b", "b", "c"):
        failed(org, code)
    monkeypatch.setattr(summary, "MAX_GROUPS", 1)
    found = told(org)
    assert [group["key"] for group in found["groups"]] == ["b"]
    assert (found["truncated"], found["total"]) == (True, 4)


def test_a_group_has_five_samples_and_all_of_it_few_queries(org: Org) -> None:
    on = factories.profile(org)
    for _ in range(6):
        failed(org, on=on)
    told(org)
    with at_most(8):
        (group,) = told(org)["groups"]
    assert (group["count"], len(group["samples"])) == (6, 5)


def test_an_index_of_failures_alone_serves_it(org: Org) -> None:
    """Its condition is written down in a migration, and must stay that of the query."""
    failed(org)
    by = org.viewer.principal
    with org.scope(), connection.cursor() as cursor:
        now = clock.now()
        window = Window(now - summary.WINDOW, now)
        cursor.execute("SET LOCAL enable_seqscan = off")
        query = summary._in(window, queries.sessions(by=by)).values("id")
        assert "runner_session_failed" in query.explain()
    assert set(summary.FAILED) == FAILURES
