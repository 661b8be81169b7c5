"""Events by the windowful: every place is reachable, and costs the same."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from grants import custody, events, windows
from grants.histogram import Histogram
from grants.models import LedgerHead
from grants.reading import Bounds
from keeptrusts_runners import ids
from sessions import outcomes
from sessions.models import RunnerSession
from sessions.states import Verb
from tests import factories
from tests.browsers import at_most, browser, page_of, text_of
from tests.people import Org

LEVELS = ["info", "warning", "error", "debug", "critical"]


@pytest.fixture
def org() -> Org:
    return Org()


@pytest.fixture
def session(org: Org, monkeypatch: pytest.MonkeyPatch) -> RunnerSession:
    """A ledger of 53 records and windows of 20."""
    monkeypatch.setattr(windows, "ROWS", 20)
    found = factories.running(org)
    given = [
        {"kind": "log", "level": LEVELS[number % 5], "message": f"line {number}"}
        for number in range(49)
    ]
    with org.scope():
        events.ingest(found.id, given, by=org.runner.principal, lease_epoch=1)
    return found


def numbers(response: Any) -> list[int]:
    return [int(seq) for seq in re.findall(r'<li id="e(\d+)"', response.content.decode())]


def follow(client: Any, response: Any, word: str) -> Any:
    (address,) = set(re.findall(rf'href="([^"]*)"[^>]*>\s*{word}</a>', response.content.decode()))
    return client.get(address.replace("&amp;", "&"))


def links(response: Any, text: str) -> list[str]:
    """Where the links with this text lead."""
    found = re.findall(r'<a [^>]*href="([^"]*)"[^>]*>(.*?)</a>', response.content.decode(), re.S)
    read = [(url, " ".join(re.sub(r"<[^>]*>", "", inner).split())) for url, inner in found]
    return [url.replace("&amp;", "&") for url, inner in read if inner == text]


def test_from_the_first_to_the_last_and_back(org: Org, session: RunnerSession) -> None:
    client = browser(org.viewer)
    response = client.get(page_of(session, "events") + "?after=0")
    seen = numbers(response)
    while b">Newer</a>" in response.content:
        response = follow(client, response, "Newer")
        seen += numbers(response)
    assert seen == list(range(1, 54))
    response = follow(client, response, "Older")
    assert numbers(response) == list(range(21, 41))
    assert numbers(follow(client, response, "First")) == list(range(1, 21))
    assert numbers(follow(client, response, "Last"))[-1] == 53


def test_an_event_stands_in_the_middle_of_its_window(org: Org, session: RunnerSession) -> None:
    found = numbers(browser(org.viewer).get(page_of(session, "events") + "?at=30"))
    assert found == list(range(21, 41))


def test_a_linked_event_is_there_although_the_filter_would_hide_it(
    org: Org, session: RunnerSession
) -> None:
    response = browser(org.viewer).get(page_of(session, "events") + "?at=30&level=error")
    assert 30 in numbers(response)
    assert 31 not in numbers(response)


def test_levels_are_links_with_exact_counts(org: Org, session: RunnerSession) -> None:
    client = browser(org.viewer)
    response = client.get(page_of(session, "events"))
    assert "error 10" in text_of(response)
    response = client.get(page_of(session, "events") + "?level=error&after=0")
    assert len(numbers(response)) == 10
    both = links(response, "critical 9")
    assert both == [page_of(session, "events") + "?level=error%2Ccritical"]
    assert len(numbers(client.get(both[0] + "&after=0"))) == 19


def test_other_facets_are_links_with_counts_that_lead_back_when_chosen(
    org: Org, session: RunnerSession
) -> None:
    client = browser(org.viewer)
    here = page_of(session, "events")
    response = client.get(here)
    assert f"{here}?kind=log" in links(response, "log")
    assert "log 49" in text_of(response)
    response = client.get(f"{here}?source=server&after=0")
    assert len(numbers(response)) == 4
    chosen = client.get(f"{here}?kind=log&lease_epoch=1&level=debug&after=0")
    assert len(numbers(chosen)) == 10
    assert f"{here}?lease_epoch=1&amp;level=debug" in chosen.content.decode()


def test_a_filter_keeps_its_place_when_it_is_switched_off(org: Org, session: RunnerSession) -> None:
    response = browser(org.viewer).get(page_of(session, "events") + "?level=error&at=30")
    assert f'href="{page_of(session, "events")}?at=30#e30"' in response.content.decode()
    assert "shown although filtered" in text_of(response)
    assert '<li id="e30" data-seq="30" aria-current="true">' in response.content.decode()
    assert links(response, "Whole record") == [page_of(session, "events", "30")]


def test_going_to_an_event_leads_to_its_row(org: Org, session: RunnerSession) -> None:
    here = page_of(session, "events")
    response = browser(org.viewer).get(f"{here}?go=30&level=error")
    assert response["Location"] == f"{here}?at=30&level=error#e30"


def test_a_range_is_marked(org: Org, session: RunnerSession) -> None:
    response = browser(org.viewer).get(page_of(session, "events") + "?at=30-32")
    found = re.findall(r'<li id="e(\d+)"[^>]*aria-current', response.content.decode())
    assert found == ["30", "31", "32"]


def test_a_running_session_opens_at_its_end_and_is_followed(
    org: Org, session: RunnerSession
) -> None:
    response = browser(org.viewer).get(page_of(session, "events"))
    assert numbers(response) == list(range(44, 54))
    html = response.content.decode()
    assert (
        f'data-follow data-last-seq="53" data-rows-url="{page_of(session, "events")}/rows"' in html
    )
    assert f'data-topic="session:{ids.encode("sess", session.id)}"' in html
    older = browser(org.viewer).get(page_of(session, "events") + "?after=0")
    assert b"data-follow" not in older.content


def test_rows_behind_a_number_come_as_they_stand_in_the_window(
    org: Org, session: RunnerSession
) -> None:
    client = browser(org.viewer)
    here = page_of(session, "events")
    whole = client.get(f"{here}?after=40").content.decode()
    rows = client.get(f"{here}/rows?after=40")
    assert numbers(rows) == list(range(41, 54))
    assert re.findall(r"<li .*</li>", rows.content.decode()) == [
        row for row in re.findall(r"<li .*</li>", whole) if "data-seq" in row
    ]
    assert b'<ol data-last-seq="53">' in rows.content
    assert numbers(client.get(f"{here}/rows?after=0")) == list(range(1, 21))
    assert numbers(client.get(f"{here}/rows?after=40&level=error")) == [42, 47, 52]
    unmatched = client.get(f"{here}/rows?after=40&kind=metric")
    assert numbers(unmatched) == []
    assert b'<ol data-last-seq="53">' in unmatched.content
    nothing = client.get(f"{here}/rows?after=53")
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert client.get(f"{here}/rows").status_code == 400


def test_an_ended_one_opens_at_its_first_error_and_rests(org: Org, session: RunnerSession) -> None:
    with org.scope():
        outcomes.end(session.id, Verb.COMPLETE, {}, by=org.runner.principal)
    response = browser(org.viewer).get(page_of(session, "events"))
    assert 7 in numbers(response)
    assert b"data-follow" not in response.content


def test_errors_lead_to_one_another(org: Org, session: RunnerSession) -> None:
    client = browser(org.viewer)
    here = page_of(session, "events")
    assert client.get(f"{here}?error_after=0")["Location"] == f"{here}?at=7#e7"
    assert client.get(f"{here}?error_after=7")["Location"] == f"{here}?at=9#e9"
    assert client.get(f"{here}?error_before=9")["Location"] == f"{here}?at=7#e7"
    none = client.get(f"{here}?error_after=53", follow=True)
    assert "There is no error after event 53." in text_of(none)
    assert 53 in numbers(none)


class TestSearch:
    def test_marks_what_it_finds_and_says_where_it_looked(
        self, org: Org, session: RunnerSession
    ) -> None:
        response = browser(org.viewer).get(page_of(session, "events") + "?q=LINE+4&after=0")
        assert len(numbers(response)) == 10
        assert response.content.count(b"<mark>line 4</mark>") == 10
        assert "10 matches in #1 to #53 of 53" in text_of(response)
        assert 'value="LINE 4"' in response.content.decode()

    def test_goes_on_where_its_time_was_over(
        self, org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(windows, "BOUNDS", Bounds(records=30, bytes=10**6))
        client = browser(org.viewer)
        response = client.get(page_of(session, "events") + "?q=line+4&after=0")
        assert "1 match in #1 to #30 of 53" in text_of(response)
        response = follow(client, response, "Continue")
        assert "9 matches in #31 to #53 of 53" in text_of(response)

    def test_that_finds_nothing_says_so(self, org: Org, session: RunnerSession) -> None:
        response = browser(org.viewer).get(page_of(session, "events") + "?q=%3Cb%3E&after=0")
        assert "No match in #1 to #53 of 53" in text_of(response)
        assert "No event here." in text_of(response)
        assert b"<b>" not in response.content

    def test_an_empty_field_is_no_search(self, org: Org, session: RunnerSession) -> None:
        answer = browser(org.viewer).get(page_of(session, "events") + "?q=&level=error")
        assert answer["Location"] == page_of(session, "events") + "?level=error"


class TestHistogram:
    def test_each_bar_leads_to_its_first_event_and_the_table_says_the_same(
        self, org: Org, session: RunnerSession
    ) -> None:
        with org.scope():
            head = LedgerHead.objects.get(session_id=session.id)
            kept = Histogram(head.began_at, 60, [0, 4, 0, 0, 0, *[0] * 5, 10, 10, 10, 10, 9])
            LedgerHead.objects.filter(session_id=session.id).update(
                bucket_seconds=60, buckets=kept.counts
            )
        response = browser(org.viewer).get(page_of(session, "events"))
        html = response.content.decode()
        assert re.search(
            r'aria-label="\d\d:\d\d:\d\dZ to \d\d:\d\d:\d\dZ, 49 events, 19 errors"', html
        )
        places = re.findall(r'<a href="[^"]*at=(\d+)#e\1" tabindex', html)
        assert places == ["1", "5"]
        assert '>49</td><td class="number">10</td><td class="number">19</td>' in html

    def test_a_moment_has_none(self, org: Org) -> None:
        session = factories.pending(org)
        assert b"<figure" not in browser(org.viewer).get(page_of(session, "events")).content


class TestDownload:
    def lines(self, org: Org, session: RunnerSession, name: str) -> list[str]:
        response = browser(org.viewer).get(page_of(session, name))
        assert "attachment" in response["Content-Disposition"]
        return b"".join(response.streaming_content).decode().splitlines()

    def test_is_all_of_it_and_not_the_window(self, org: Org, session: RunnerSession) -> None:
        rows = [json.loads(line) for line in self.lines(org, session, "events.ndjson")]
        assert [row["seq"] for row in rows] == list(range(1, 54))
        assert len(self.lines(org, session, "events.txt")) == 53

    def test_is_what_the_filters_leave(self, org: Org, session: RunnerSession) -> None:
        found = self.lines(org, session, "events.ndjson?level=error&q=line+4")
        assert [json.loads(line)["message"] for line in found] == ["line 42", "line 47"]

    def test_is_on_record(self, org: Org, session: RunnerSession) -> None:
        self.lines(org, session, "events.txt?q=line")
        shown = org.auditor.api.get("/runners/audit?limit=10").json()["items"]
        assert "events.exported" in [entry["verb"] for entry in shown]

    def test_is_not_for_others(self, org: Org, session: RunnerSession) -> None:
        for name in ("events.txt", "events.ndjson", "events/rows?after=0"):
            assert browser(Org().admin).get(page_of(session, name)).status_code == 404


class TestHostileText:
    def test_is_shown_and_does_nothing(self, org: Org) -> None:
        session = factories.running(org)
        hostile = "<img src=x onerror=alert(1)>\x1b[31mred\x1b[0m\u202ekcab\x00end"
        given = [{"kind": "log", "step": "<s>", "message": hostile.replace("\x00", "\x01"),
                  "data": {"<k>": "\u202e</pre><script>"}}]  # fmt: skip
        with org.scope():
            events.ingest(session.id, given, by=org.runner.principal, lease_epoch=1)
        html = browser(org.viewer).get(page_of(session, "events")).content.decode()
        for harm in ("<img", "</pre><script>", "<s>", "\x1b", "\u202e"):
            assert harm not in html
        assert "&lt;img src=x onerror=alert(1)&gt;red" in html
        assert '<span class="escape">\\u202e</span>kcab' in html


@pytest.mark.parametrize(
    "query", ["after=-1", "at=x", "level=loud", "unknown=1", "at=3-", "source=x"]
)
def test_a_wrong_place_is_refused(org: Org, session: RunnerSession, query: str) -> None:
    assert browser(org.viewer).get(page_of(session, "events") + f"?{query}").status_code == 400


class TestRedaction:
    """Of one record, from its page."""

    def test_destroys_the_content_and_says_who_and_why(
        self, org: Org, session: RunnerSession
    ) -> None:
        client = browser(org.auditor)
        page = page_of(session, "events", "30")
        assert "Redact event" in text_of(client.get(page))
        assert "line 25" in text_of(client.get(page))
        assert client.get(f"{page}/redact").status_code == 200
        response = client.post(f"{page}/redact", {"reason": "It held a password."})
        assert (response.status_code, response["Location"]) == (303, page)
        text = text_of(client.get(page))
        assert "line 25" not in text
        assert "It held a password." in text
        assert org.auditor.user.email in text
        assert "Redact event" not in text
        assert "redacted" in text_of(client.get(page_of(session, "events") + "?at=30"))

    def test_needs_a_reason(self, org: Org, session: RunnerSession) -> None:
        client = browser(org.auditor)
        page = page_of(session, "events", "30")
        response = client.post(f"{page}/redact", {"reason": " "})
        assert response.status_code == 422
        assert b"<title>Error: " in response.content
        assert "line 25" in text_of(client.get(page))

    def test_waits_for_a_hold_to_be_lifted(self, org: Org, session: RunnerSession) -> None:
        by = org.auditor.principal
        with org.scope():
            custody.place_hold(session.id, "Litigation", by=by)
        client = browser(org.auditor)
        page = page_of(session, "events", "30", "redact")
        assert "Litigation" in text_of(client.get(page))
        assert client.post(page, {"reason": "It held a password."}).status_code == 409

    def test_is_for_auditors(self, org: Org, session: RunnerSession) -> None:
        page = page_of(session, "events", "30")
        assert "Redact event" not in text_of(browser(org.operator).get(page))
        for who in (org.operator, org.approver):
            refused = browser(who).post(f"{page}/redact", {"reason": "Because."})
            assert refused.status_code == 403
        assert browser(Org().auditor).get(f"{page}/redact").status_code == 404


@pytest.mark.parametrize("query", ["after=99999999999999", "at=999999", "before=0"])
def test_a_place_beyond_the_ledger_is_empty(org: Org, session: RunnerSession, query: str) -> None:
    response = browser(org.viewer).get(page_of(session, "events") + f"?{query}")
    assert response.status_code == 200
    assert numbers(response) == []
    assert "No event here." in text_of(response)


def test_large_records_are_a_link_away(org: Org) -> None:
    session = factories.running(org)
    given = [{"kind": "log", "message": "y" * 5000, "data": {"x": "z" * 5000}}]
    with org.scope():
        events.ingest(session.id, given, by=org.runner.principal, lease_epoch=1)
    client = browser(org.viewer)
    response = client.get(page_of(session, "events"))
    assert b"y" * 2001 not in response.content
    assert "Show all (4.9 KiB)" in text_of(response)
    assert "Payload (9.9 KiB)" in text_of(response)
    seq = numbers(response)[-1]
    assert b"y" * 5000 in client.get(page_of(session, "events", str(seq))).content


def test_no_record_has_this_number(org: Org) -> None:
    session = factories.running(org)
    for number in ("999", str(2**64)):
        assert browser(org.viewer).get(page_of(session, "events", number)).status_code == 404


@pytest.mark.parametrize(
    "query",
    ["", "?after=0", "?at=30", "?at=30&level=error", "?tail=1&level=error", "?kind=log&step=x"],
)
def test_a_window_costs_the_same_anywhere(org: Org, session: RunnerSession, query: str) -> None:
    client = browser(org.viewer)
    # Five know who asks, and where; six at most are the page's.
    with at_most(11):
        assert client.get(page_of(session, "events") + query).status_code == 200
