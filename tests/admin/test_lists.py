"""Lists of the admin: pages along a key, counts to a cap, windows, filters and searches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from keeptrusts_runners import clock, ids
from keeptrusts_runners.investigations import filters, lists
from sessions.models import RunnerSession
from tests import factories
from tests.admin.staff import SESSIONS, keys, links, looker
from tests.browsers import text_of
from tests.people import Org


@pytest.fixture(scope="module")
def staff() -> Client:
    return looker()


@pytest.fixture(scope="module")
def org() -> Org:
    """With 120 sessions of one profile."""
    made = Org()
    factories.queue(made, factories.profile(made), 120)
    return made


def of(org: Org, more: str = "") -> str:
    return f"{SESSIONS}?q={ids.encode('org', org.id)}{more}"


@pytest.mark.proves("admin.flat-pages")
def test_pages_go_along_the_key_both_ways_and_skip_nothing(staff: Client, org: Org) -> None:
    with CaptureQueriesContext(connections["forensics"]) as made:
        pages = [staff.get(of(org))]
        while older := links(pages[-1], "Older"):
            pages.append(staff.get(SESSIONS + older[0]))
        back = staff.get(SESSIONS + links(pages[-1], "Newer")[0])
    assert [len(keys(page)) for page in pages] == [50, 50, 20]
    seen = [key for page in pages for key in keys(page)]
    mine = RunnerSession.objects.using("forensics").filter(organization_id=org.id)
    assert seen == [str(key) for key in mine.order_by("-id").values_list("id", flat=True)]
    assert keys(back) == keys(pages[1])
    assert not links(pages[0], "Newer")
    assert not [query["sql"] for query in made if " OFFSET " in query["sql"]]


def test_what_is_no_key_is_the_first_page(staff: Client, org: Org) -> None:
    for position in ("&older=nonsense", "&newer=1", "&older="):
        assert keys(staff.get(of(org, position))) == keys(staff.get(of(org)))


@pytest.mark.proves("admin.flat-pages")
def test_counts_stop_at_a_cap_and_say_so(
    staff: Client, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "120 rows" in text_of(staff.get(of(org)))
    monkeypatch.setattr(lists, "COUNT_CAP", 100)
    assert "100+ rows" in text_of(staff.get(of(org)))
    with connections["migrate"].cursor() as cursor:
        cursor.execute("ANALYZE runner_session")
    assert "about " in text_of(staff.get(SESSIONS))


def test_a_number_is_nothing_to_wait_for(
    staff: Client, org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists.CappedPaginator, "_counted", None)
    page = staff.get(of(org))
    assert "Too many rows to count in time" in text_of(page)
    assert len(keys(page)) == 50


def test_a_count_is_given_up_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = (
        RunnerSession.objects.using("forensics")
        .order_by("-id")
        .extra(where=["pg_sleep(1) IS NOT NULL"])
    )
    monkeypatch.setattr(lists, "COUNT_MILLISECONDS", 20)
    found = lists.CappedPaginator(slow, 50)
    assert found.said == "Too many rows to count in time"
    assert found.count == lists.COUNT_CAP + 1


def test_no_filter_asks_the_table_what_there_is(staff: Client, org: Org) -> None:
    with CaptureQueriesContext(connections["forensics"]) as made:
        assert len(keys(staff.get(of(org, "&state=pending")))) == 50
    assert not [query["sql"] for query in made if "DISTINCT" in query["sql"]]
    assert keys(staff.get(of(org, "&state=lost"))) == []


def test_lists_leave_heavy_columns_where_they_are(staff: Client, org: Org) -> None:
    with CaptureQueriesContext(connections["forensics"]) as made:
        staff.get(of(org))
    assert not [query["sql"] for query in made if '"input"' in query["sql"]]


# --- windows -----------------------------------------------------------------------------------


def test_a_window_is_a_range_of_the_key(staff: Client, org: Org) -> None:
    now = clock.now()
    since, until = (f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M}" for hours in (-1, 1))
    for window in ("1h", "30d", f"{since}..{until}", f"{now:%Y-%m-%d}"):
        assert len(keys(staff.get(of(org, f"&when={window}")))) == 50, window
    assert keys(staff.get(of(org, "&when=2020-01-01"))) == []
    response = staff.get(of(org, "&when=yesterday"))
    assert keys(response) == []
    assert "is no window" in text_of(response)


def test_a_window_is_read_in_utc() -> None:
    day = datetime(2026, 11, 24, tzinfo=UTC)
    assert filters.window("2026-11-24") == (day, day + timedelta(days=1))
    assert filters.window("2026-11-24T01:00+01:00..2026-11-25")[0] == day
    for wrong in ("", "..", "2026-11-24..", "2026-11-25..2026-11-24", "1969-01-01", "9999-12-31"):
        with pytest.raises((ValueError, OverflowError)):
            filters.window(wrong)


# --- searches ----------------------------------------------------------------------------------


def test_what_belongs_to_an_object_is_found_by_its_id(staff: Client) -> None:
    org = Org()
    session = factories.running(org)
    for query in (
        ids.encode("org", org.id),
        ids.encode("prof", session.profile_id),
        ids.encode("exec", session.executor_id) if session.executor_id else session.task_id,
    ):
        assert keys(staff.get(f"{SESSIONS}?q={query}")) == [str(session.id)]
    name = ids.encode("sess", session.id)
    steps = staff.get(f"/admin/runner_sessions/transition/?q={name}")
    assert len(keys(steps)) == 3
    assert keys(steps) == keys(staff.get(f"/admin/runner_sessions/transition/?session={name[:-4]}"))


def test_the_beginning_of_a_sessions_id_finds_what_has_its_key(staff: Client) -> None:
    session = factories.pending(Org())
    start = ids.encode("sess", session.id)[:-2]
    assert str(session.id) in keys(staff.get(f"/admin/grants/ledgerhead/?q={start}"))


def test_the_audit_log_is_searched_by_each_of_its_columns(staff: Client) -> None:
    org = Org()
    session = factories.pending(org)
    audit = "/admin/evidence/auditrecord/"
    (key,) = keys(staff.get(f"{audit}?q={ids.encode('sess', session.id)}"))
    assert key in keys(staff.get(f"{audit}?q={org.operator.principal.actor}"))
    assert key in keys(staff.get(f"{audit}?q={ids.encode('org', org.id)}"))


@pytest.mark.parametrize("address", ["identity/user/", "evidence/log/", "runner_sessions/refusal/"])
def test_hostile_searches_find_nothing(staff: Client, address: str) -> None:
    for query in ("'; --", "\x00", "sess_" + "z" * 26, "%" * 500, "org_\N{PILE OF POO}"):
        assert staff.get(f"/admin/{address}", {"q": query}).status_code == 200
