"""Reading a ledger: from both ends, by filter and by text, at a bounded cost and completely."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grants import reading
from grants.api import exports
from grants.models import Event
from grants.reading import Span
from sessions.models import RunnerSession
from tests import factories
from tests.factories import path, session_api
from tests.people import Org
from tests.sessions import records

# The table of hostile words: each is plain text and nothing else.
HOSTILE = [
    "%", "_", "\\", "\\d+", ".*", "^", "$", "[", "(", "(a+)+$", "'", '"', "''; DROP TABLE x; --",
    "\\u0041", "\u202e", "\u200b", "é", "İ", "ß", "漢", "🙂", "<script>", "{{7*7}}", "a b", "&",
    "+", "null", "\\n", "\\\\", "%s", "${x}", "\ufffd",
]  # fmt: skip


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


@pytest.fixture(scope="module")
def session(org: Org) -> RunnerSession:
    """A session with a few hundred events of every kind of content."""
    made = factories.running(org)
    levels = ["debug", "info", "info", "warning", "info", "error", "critical"]
    batch = [
        {
            "kind": ("log", "metric", "x.mine")[number % 3],
            "level": levels[number % len(levels)],
            "step": f"step {number % 4}" if number % 5 else None,
            "message": f"Message number {number} Äpfel" if number % 2 else None,
            "data": {"Key": [number, {"deep": f"needle{number}"}]} if number % 4 == 0 else None,
        }
        for number in range(140)
    ]
    events = [{k: v for k, v in event.items() if v is not None} for event in batch]
    answer = session_api(org, made).post(path(made, "events"), {"events": events})
    assert answer.status_code == 200, answer.content
    return made


def pages(org: Org, session: RunnerSession, query: str, most: int = 400) -> list[dict[str, Any]]:
    """Every page from the first on, following the cursor."""
    found, cursor = [], ""
    for _ in range(most):
        answer = org.viewer.api.get(path(session, f"events?{query}{cursor}"))
        assert answer.status_code == 200, answer.content
        found.append(answer.json())
        if not (following := found[-1]["next_cursor"]):
            return found
        cursor = f"&cursor={following}"
    raise AssertionError("the cursor leads on for ever")


def seqs(found: list[dict[str, Any]]) -> list[int]:
    return [item["seq"] for page in found for item in page["items"]]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request looks at thirty records."""
    monkeypatch.setattr(reading, "LOOKED_AT", 30)
    monkeypatch.setattr(reading, "_STEP", 7)


# --- every filter, from both ends ------------------------------------------------------------

FILTERS: dict[str, Callable[[Event], bool]] = {
    "kind=metric": lambda e: e.kind == "metric",
    "kind=state.running": lambda e: e.kind == "state.running",
    "level=error": lambda e: e.level == "error",
    "level=warning,critical": lambda e: e.level in ("warning", "critical"),
    "level=critical,error,warning": lambda e: e.level in ("warning", "error", "critical"),
    "level=debug": lambda e: e.level == "debug",
    "level=debug,error": lambda e: e.level in ("debug", "error"),
    "kind=log&level=error": lambda e: (e.kind, e.level) == ("log", "error"),
    "step=step%201": lambda e: e.step == "step 1",
    "lease_epoch=1": lambda e: e.lease_epoch == 1,
    "lease_epoch=7": lambda e: False,
    "recorded_after=2020-01-01T00:00:00Z": lambda e: True,
    "q=NEEDLE1": lambda e: "needle1" in str(e.data),
    "q=%C3%A4PFEL": lambda e: "Äpfel" in (e.message or ""),
    "q=metric&level=info": lambda e: (e.kind, e.level) == ("metric", "info"),
}


@pytest.mark.proves("events.bounded", "events.search")
@pytest.mark.parametrize("query", FILTERS)
@pytest.mark.parametrize(
    "bounds", ["", "after_seq=60", "before_seq=110", "after_seq=9&before_seq=70"]
)
@pytest.mark.usefixtures("narrow")
def test_page_by_page_every_match_is_found_once_in_order(
    org: Org, session: RunnerSession, query: str, bounds: str
) -> None:
    given = dict(pair.split("=") for pair in bounds.split("&") if pair)
    low, high = int(given.get("after_seq", 0)), int(given.get("before_seq", 10**9))
    recorded = records.events(org, session)
    expected = [e.seq for e in recorded if low < e.seq < high and FILTERS[query](e)]
    if "before_seq" in given:
        expected.reverse()
    found = pages(org, session, f"{query}&{bounds}&limit=7".replace("&&", "&"))
    assert seqs(found) == expected
    _assert_looked_at_everything_once(found, low, min(high, recorded[-1].seq + 1), bounds)


def _assert_looked_at_everything_once(
    found: list[dict[str, Any]], low: int, high: int, bounds: str
) -> None:
    """What the pages say they looked at is the whole, piece by piece and without overlap."""
    looked = [(page["searched_from"], page["searched_to"]) for page in found]
    if "before_seq" in bounds:
        looked.reverse()
    assert looked[0][0] == low + 1
    assert looked[-1][1] == high - 1
    for (_, before), (after, _) in itertools.pairwise(looked):
        assert after == before + 1


@pytest.mark.proves("events.bounded")
@pytest.mark.usefixtures("narrow")
def test_what_finds_nothing_looks_at_a_slice_and_leads_on(org: Org, session: RunnerSession) -> None:
    for query in ("q=nothing+has+this", "step=none", "lease_epoch=9", "level=debug&kind=x.none"):
        found = pages(org, session, query)
        assert seqs(found) == []
        sizes = {page["searched_to"] - page["searched_from"] + 1 for page in found[:-1]}
        assert len(found) == 5
        assert max(sizes) <= 30


@pytest.mark.proves("events.bounded")
def test_large_records_end_a_slice_before_its_number(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = factories.running(org)
    batch = {"events": [{"kind": "log", "message": "x" * 10_000}] * 60}
    assert session_api(org, session).post(path(session, "events"), batch).status_code == 200
    monkeypatch.setattr(reading, "LOOKED_AT_BYTES", 100_000)
    monkeypatch.setattr(reading, "_STEP", 5)
    found = pages(org, session, "q=y")
    assert 5 <= len(found) <= 8
    assert found[-1]["searched_to"] == len(records.events(org, session))


@given(st.integers(0, 60), st.integers(0, 60), st.booleans(), st.integers(1, 9))
def test_the_parts_of_a_span_are_the_whole_of_it(
    after: int, before: int, backwards: bool, number: int
) -> None:
    left, seen = Span(after, before, backwards), []
    while not left.is_empty:
        part = left.first(number)
        inside = list(range(part.after + 1, part.before))
        assert 1 <= len(inside) <= number
        seen += reversed(inside) if backwards else inside
        assert seen[-1] == part.last
        left = left.beyond(part.last)
    expected = list(range(after + 1, before))
    assert seen == (expected[::-1] if backwards else expected)


# --- text ------------------------------------------------------------------------------------


def _holding(text: str) -> list[dict[str, Any]]:
    return [
        {"kind": "log", "message": f"before {text} after"},
        {"kind": "log", "step": f"a {text} b"},
        {"kind": "log", "data": {"list": [{"x": f"<{text}>"}]}},
        {"kind": "log", "data": {f"k{text}k": 1}},
    ]


@pytest.fixture(scope="module")
def hostile(org: Org) -> RunnerSession:
    made = factories.running(org)
    events = [event for text in HOSTILE for event in _holding(text)]
    answer = session_api(org, made).post(path(made, "events"), {"events": events})
    assert answer.status_code == 200, answer.content
    return made


@pytest.mark.proves("events.search", "api.no-500")
@pytest.mark.parametrize("text", HOSTILE)
def test_a_pattern_is_found_as_it_is_written_and_means_nothing(
    org: Org, hostile: RunnerSession, text: str
) -> None:
    found = seqs(pages(org, hostile, f"q={quote(text)}&kind=log&limit=200"))
    said = [e for e in records.events(org, hostile) if e.source == "client"]
    expected = [
        event.seq for event in said
        if any(text.casefold() in word.casefold()
               for word in _flat([event.step, event.message, event.data]))
    ]  # fmt: skip
    assert found == expected
    assert len(found) >= 4


@pytest.mark.proves("events.search")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.dictionaries(st.text(max_size=5), st.recursive(
        st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=6,
    ), max_size=4),
    message=st.none() | st.text(max_size=12),
    text=st.text(min_size=1, max_size=3),
)  # fmt: skip
def test_a_text_is_found_where_a_plain_look_at_every_word_finds_it(
    body: Any, message: str | None, text: str
) -> None:
    stored = {"data": body, "level": "info"} | ({} if message is None else {"message": message})
    raw = json.dumps(stored, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    words = [message or "", *_flat(body)]
    expected = any(text.casefold() in word.casefold() for word in words)
    encoded = raw.encode("utf-8", errors="surrogatepass")
    if b"\xed" not in encoded:
        assert reading.Needle(text).is_in("", None, encoded) == expected


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _flat(each)
    elif isinstance(value, list):
        for each in value:
            yield from _flat(each)
    elif value is not None:
        yield value if isinstance(value, str) else json.dumps(value)


def test_what_only_the_store_says_is_not_found(org: Org, session: RunnerSession) -> None:
    """A body holds names of members and ids, which nobody wrote."""
    for word in ("occurred_at", "client_seq", "evt_", '"level"'):
        assert seqs(pages(org, session, f"q={quote(word)}&after_seq=10")) == []


# --- redacted --------------------------------------------------------------------------------


def redacted(org: Org) -> RunnerSession:
    """A session one of whose records has lost its content."""
    session = factories.running(org)
    said = {"kind": "log", "step": "secret", "message": "secret", "data": {"secret": "secret"}}
    event = session_api(org, session).post(path(session, "events"), said).json()
    address = path(session, "events", event["id"], "redact")
    answer = org.auditor.api.post(address, {"reason": "a password was in it"})
    assert answer.status_code == 200, answer.content
    return session


def test_a_redacted_record_is_shown_as_redacted_everywhere(org: Org) -> None:
    session = redacted(org)
    *_, gone, tombstone = pages(org, session, "limit=200")[-1]["items"]
    assert (gone["redacted"], tombstone["redacted"]) == (True, False)
    assert [gone[name] for name in ("level", "message", "data", "step", "source")] == [None] * 5
    assert seqs(pages(org, session, "q=secret")) == []
    facets = org.viewer.api.get(path(session, "events/facets")).json()
    assert "secret" not in [row["value"] for row in facets["steps"]]
    for accept, shown in (
        ("application/x-ndjson", b'"redacted":true'),
        ("text/plain", b" redacted"),
    ):
        first, *_, line, _ = exported(org, session, accept).splitlines()
        assert shown in line
        assert shown not in first
        assert b"secret" not in line


# --- facets ----------------------------------------------------------------------------------


@pytest.mark.proves("events.bounded")
@pytest.mark.parametrize("query", ["", "?after_seq=30", "?before_seq=120"])
def test_facets_are_exact_within_what_they_say_they_looked_at(
    org: Org, session: RunnerSession, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "FACET_RECORDS", 90)
    answer = org.viewer.api.get(path(session, f"events/facets{query}")).json()
    recorded = records.events(org, session)
    assert answer["searched_to"] - answer["searched_from"] + 1 == 90
    looked = [e for e in recorded if answer["searched_from"] <= e.seq <= answer["searched_to"]]
    edge = {"": recorded[-1].seq, "?after_seq=30": 120, "?before_seq=120": 119}[query]
    assert looked[-1].seq == edge
    assert {row["value"]: row["count"] for row in answer["kinds"]} == Counter(
        e.kind for e in looked
    )
    assert {row["value"]: row["count"] for row in answer["steps"]} == Counter(
        e.step for e in looked if e.step
    )
    assert Counter(answer["levels"]) == Counter(e.level for e in recorded)
    assert answer["events"] == len(recorded)


# --- exports ---------------------------------------------------------------------------------


def exported(org: Org, session: RunnerSession, accept: str, query: str = "") -> bytes:
    answer = org.viewer.api.get(path(session, f"events{query}"), Accept=accept)
    assert answer.status_code == 200
    assert answer["Content-Type"] == f"{accept}; charset=utf-8"
    assert answer["X-Content-Type-Options"] == "nosniff"
    return b"".join(answer.streaming_content)


@pytest.mark.proves("events.export")
def test_an_export_of_lines_is_what_the_pages_show(
    org: Org, session: RunnerSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, "_STEP", 50)
    shown = [item for page in pages(org, session, "limit=200") for item in page["items"]]
    lines = exported(org, session, "application/x-ndjson").splitlines()
    assert [json.loads(line) for line in lines] == shown
    assert len(shown) > 140


@pytest.mark.proves("events.export")
def test_an_export_is_narrowed_like_a_list_and_always_in_order(
    org: Org, session: RunnerSession
) -> None:
    query = "?level=error,critical&after_seq=40&before_seq=100"
    lines = exported(org, session, "application/x-ndjson", query).splitlines()
    expected = [
        e.seq for e in records.events(org, session)
        if e.level in ("error", "critical") and 40 < e.seq < 100
    ]  # fmt: skip
    assert [json.loads(line)["seq"] for line in lines] == expected


def test_an_export_is_on_the_audit_log_with_what_it_holds(org: Org, session: RunnerSession) -> None:
    exported(org, session, "text/plain", "?after_seq=3&before_seq=9")
    listed = org.auditor.api.get("/runners/audit?limit=200").json()["items"]
    (entry, *_) = [each for each in listed if each["verb"] == "events.exported"]
    assert (entry["object"], entry["actor"]) == (str(session), org.viewer.principal.actor)
    assert entry["detail"] == {"searched_from": 4, "searched_to": 8, "media_type": "text/plain"}


@pytest.mark.proves("events.export")
def test_an_export_ends_where_the_ledger_ended_when_it_was_asked_for(org: Org) -> None:
    session = factories.running(org)
    answer = org.viewer.api.get(path(session, "events"), Accept="application/x-ndjson")
    known = len(records.events(org, session))
    session_api(org, session).post(path(session, "events"), {"kind": "log", "message": "late"})
    assert len(b"".join(answer.streaming_content).splitlines()) == known


@pytest.mark.parametrize("query", ["?limit=5", "?q=a", "?cursor=abc"])
def test_an_export_has_no_pages(org: Org, session: RunnerSession, query: str) -> None:
    answer = org.viewer.api.get(path(session, f"events{query}"), Accept="text/plain")
    assert answer.status_code == 400
    assert org.viewer.api.get(path(session, "events"), Accept="image/png").status_code == 406


def test_a_record_is_a_line_of_text_and_what_follows_in_it_is_indented(org: Org) -> None:
    session = factories.running(org)
    forged = "first\n7 2026-01-01T00:00:00.000000Z info state.completed forged\r\n8 x"
    event = {"kind": "log", "step": "s", "message": forged, "data": {"n": [1]}}
    session_api(org, session).post(path(session, "events"), event)
    recorded = records.events(org, session)
    text = exported(org, session, "text/plain").decode()
    lines = text.split("\n")
    numbered = [line for line in lines if line and not line.startswith("    ")]
    assert [int(line.split()[0]) for line in numbered] == [e.seq for e in recorded]
    assert "info log [s] first" in numbered[-1]
    assert text.endswith('forged\\u000d\n    8 x {"n":[1]}\n')


@pytest.mark.parametrize(
    "hostile",
    ["\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x1b[2J", "\x07", "\x9b31m", "\u202egnp.exe",
     "\u2066x\u2069", "\u200b", "\ufeff", "\x7f", "\u2028", "\r"],
)  # fmt: skip
def test_no_control_reaches_a_terminal_and_no_override_its_reader(org: Org, hostile: str) -> None:
    session = factories.running(org)
    event = {"kind": "log", "message": f"a{hostile}b", "data": {f"k{hostile}": hostile}}
    assert session_api(org, session).post(path(session, "events"), event).status_code == 201
    text = exported(org, session, "text/plain").decode()
    assert not set(text) & set("\x1b\x07\x9b\u202e\u2066\u2069\u200b\ufeff\x7f\u2028\r\x00")
    assert "a" in text.splitlines()[-1]


# --- bad input -------------------------------------------------------------------------------

BAD = [
    "after_seq=-1", "before_seq=-5", "after_seq=9007199254740992", "before_seq=1e3", "after_seq=",
    "after_seq=1&after_seq=2", "q=", "q=%00", "q=a%0Ab", "q=" + "x" * 201, "after=1", "level=loud",
    "limit=0", "limit=201", "cursor=abc", "cursor=" + "A" * 40, "recorded_after=now", "kind=%00",
]  # fmt: skip


@pytest.mark.proves("api.bad-input")
@pytest.mark.parametrize("query", BAD)
def test_a_bad_parameter_is_refused(org: Org, session: RunnerSession, query: str) -> None:
    answer = org.viewer.api.get(path(session, f"events?{query}"))
    assert answer.status_code == 400, answer.content
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("query", ["after_seq=9007199254740991", "before_seq=0", "before_seq=1",
                                   "after_seq=5&before_seq=6", "q=%ED%A0%80"])  # fmt: skip
def test_a_bound_beyond_the_ledger_finds_nothing(
    org: Org, session: RunnerSession, query: str
) -> None:
    answer = org.viewer.api.get(path(session, f"events?{query}"))
    assert (answer.status_code, answer.json()["items"]) == (200, [])


@pytest.mark.proves("api.bad-input")
def test_a_cursor_is_good_where_it_was_given_and_nowhere_else(
    org: Org, session: RunnerSession
) -> None:
    cursor = org.viewer.api.get(path(session, "events?limit=5")).json()["next_cursor"]
    elsewhere = path(factories.running(org), f"events?cursor={cursor}")
    flipped = path(session, f"events?cursor={cursor[:-2]}{'AB' if cursor[-2:] != 'AB' else 'BA'}")
    backwards = path(session, f"events?before_seq=100&cursor={cursor}")
    for address in (elsewhere, flipped, backwards, path(session, "events?cursor=" + "é")):
        answer = org.viewer.api.get(address)
        assert (answer.status_code, answer.json()["code"]) in [
            (400, "invalid_cursor"), (400, "invalid_parameter"),
        ]  # fmt: skip
