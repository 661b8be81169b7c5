"""What executing code and people record: all of a batch or none, once, in one order."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from grants import events as ingest
from keeptrusts_runners import clock
from tests import factories
from tests.factories import path, session_api
from tests.people import Org
from tests.sessions import records


@pytest.fixture(scope="module")
def org() -> Org:
    return Org()


def post(org: Org, session: Any, body: Any) -> Any:
    return session_api(org, session).post(path(session, "events"), body)


def listed(org: Org, session: Any, query: str = "") -> list[dict[str, Any]]:
    answer = org.viewer.api.get(path(session, f"events?limit=200{query}"))
    assert answer.status_code == 200, answer.content
    return list(answer.json()["items"])


# --- one and many ----------------------------------------------------------------------------


def test_one_event_is_answered_whole(org: Org) -> None:
    session = factories.running(org)
    event = {
        "kind": "step.started", "level": "debug", "step": "collect", "message": "Collecting",
        "data": {"n": 1}, "client_id": "a-1", "client_seq": 7,
        "occurred_at": "2026-01-02T03:04:05.678901Z",
    }  # fmt: skip
    answer = post(org, session, event)
    assert answer.status_code == 201, answer.content
    recorded = answer.json()
    assert {name: recorded[name] for name in event} == event
    assert recorded["lease_epoch"] == 1
    assert recorded["actor"].startswith(factories.path(session).rpartition("/")[2])
    assert listed(org, session)[-1]["id"] == recorded["id"]


def test_a_batch_is_answered_with_where_it_stands(org: Org) -> None:
    session = factories.running(org)
    first = len(records.events(org, session)) + 1
    batch = {"events": [{"kind": "log", "message": str(n)} for n in range(50)]}
    answer = post(org, session, batch).json()
    assert answer == {
        "accepted": 50, "duplicates": 0, "first_seq": first, "last_seq": first + 49,
        "desired_state": "running",
    }  # fmt: skip
    assert [item["message"] for item in listed(org, session, "&kind=log")] == [
        str(n) for n in range(50)
    ]
    records.assert_sound(org, session)


def test_a_batch_of_lines_is_a_batch(org: Org) -> None:
    session = factories.running(org)
    lines = "\n".join(json.dumps({"kind": "log", "message": str(n)}) for n in range(3)) + "\n"
    answer = session_api(org, session).request(
        "POST", path(session, "events"), raw=lines.encode(),
        **{"Content-Type": "application/x-ndjson"},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["accepted"]) == (200, 3)


def test_an_empty_batch_records_nothing(org: Org) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    assert post(org, session, {"events": []}).json()["accepted"] == 0
    assert records.stored(org, session) == before


def test_a_thousand_are_taken_and_one_more_is_not(org: Org) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    many = [{"kind": "log"}] * (ingest.MAX_EVENTS + 1)
    assert post(org, session, {"events": many}).status_code == 413
    assert records.stored(org, session) == before
    assert post(org, session, {"events": many[1:]}).json()["accepted"] == ingest.MAX_EVENTS
    records.assert_sound(org, session)


# --- all or nothing --------------------------------------------------------------------------

REFUSED: list[tuple[Any, str]] = [
    ({}, "/kind"),
    ({"kind": 1}, "/kind"),
    ({"kind": "state.completed"}, "/kind"),
    ({"kind": "grant.used"}, "/kind"),
    ({"kind": "note"}, "/kind"),
    *(
        ({"kind": kind}, "/kind")
        for kind in (
            "lease.granted",
            "artifact.stored",
            "checkpoint.recorded",
            "evidence.redacted",
            "hold.placed",
            "cancel.delivered",
            "x.",
            "x.a.b.c.d.e",
            "log ",
            "LOG",
            "log\n",
            "",
        )
    ),
    ({"kind": "log", "occurred_at": "9999-12-31T23:59:59Z"}, "/occurred_at"),
    ({"kind": "log", "occurred_at": 1767322984}, "/occurred_at"),
    ({"kind": "log", "client_seq": -1}, "/client_seq"),
    ({"kind": "log", "client_seq": 2**53}, "/client_seq"),
    ({"kind": "log", "data": {"x": "ü" * (ingest.MAX_DATA_BYTES // 2)}}, "/data"),
    ({"kind": "log", "redacted": True}, "/redacted"),
    ({"kind": "x"}, "/kind"),
    ({"kind": "x.Loud"}, "/kind"),
    ({"kind": "log", "level": "loud"}, "/level"),
    ({"kind": "log", "level": None}, "/level"),
    ({"kind": "log", "message": "x" * (ingest.MAX_MESSAGE + 1)}, "/message"),
    ({"kind": "log", "message": {}}, "/message"),
    ({"kind": "log", "data": []}, "/data"),
    ({"kind": "log", "data": {"x": "y" * ingest.MAX_DATA_BYTES}}, "/data"),
    ({"kind": "log", "step": ""}, "/step"),
    ({"kind": "log", "step": "a\nb"}, "/step"),
    ({"kind": "log", "client_id": "x" * 121}, "/client_id"),
    ({"kind": "log", "client_seq": 0}, "/client_seq"),
    ({"kind": "log", "client_seq": True}, "/client_seq"),
    ({"kind": "log", "client_seq": 1.0}, "/client_seq"),
    ({"kind": "log", "occurred_at": "yesterday"}, "/occurred_at"),
    ({"kind": "log", "occurred_at": "2026-01-02T03:04:05"}, "/occurred_at"),
    ({"kind": "log", "occurred_at": "2026-02-30T00:00:00Z"}, "/occurred_at"),
    ({"kind": "log", "occurred_at": "0001-01-01T00:00:00+23:59"}, "/occurred_at"),
    ({"kind": "log", "seq": 1}, "/seq"),
    ({"kind": "log", "actor": "system"}, "/actor"),
    ({"kind": "log", "recorded_at": "2026-01-02T03:04:05Z"}, "/recorded_at"),
    ("log", ""),
    (None, ""),
]


@pytest.mark.proves("crash.all-or-nothing")
@pytest.mark.parametrize(("event", "member"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_bad_event_is_named_and_its_batch_is_not_recorded(
    org: Org, event: Any, member: str
) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    batch = {"events": [{"kind": "log"}, event, {"kind": "log"}]}
    answer = post(org, session, batch)
    assert answer.status_code == 422, answer.content
    assert [error["pointer"] for error in answer.json()["errors"]] == [f"/events/1{member}"]
    if isinstance(event, dict):
        alone = post(org, session, event)
        assert alone.status_code == 422
        assert [error["pointer"] for error in alone.json()["errors"]] == [member]
    assert records.stored(org, session) == before


def test_what_has_not_happened_yet_is_refused_beyond_a_clocks_error(org: Org) -> None:
    session = factories.running(org)
    with org.scope():
        now = clock.now()
    at = lambda minutes: {
        "kind": "log",
        "occurred_at": clock.rfc3339(now + timedelta(minutes=minutes)),
    }
    assert post(org, session, at(4)).status_code == 201
    refused = post(org, session, at(6))
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "in_the_future")


def test_the_last_of_five_hundred_is_named_and_nothing_of_the_batch_is_kept(org: Org) -> None:
    session = factories.running(org)
    before = records.stored(org, session)
    batch = {"events": [{"kind": "log"}] * 499 + [{"kind": "log", "level": "loud"}]}
    answer = post(org, session, batch)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/events/499/level"]
    assert records.stored(org, session) == before


def test_five_mebibytes_are_taken_and_a_byte_more_is_not(org: Org) -> None:
    session = factories.running(org)
    token, address = session_api(org, session), path(session, "events")
    events = [{"kind": "log", "message": "x" * 16_000} for _ in range(320)]
    body = json.dumps({"events": events}).encode()
    full = body + b" " * (ingest.MAX_BYTES - len(body))
    refused = token.request("POST", address, raw=full + b" ")
    assert (refused.status_code, refused.json()["code"]) == (413, "payload_too_large")
    assert token.request("POST", address, raw=full).json()["accepted"] == 320
    deep = b'{"events": [{"kind": "log", "data": ' + b'{"a":' * 40 + b"1" + b"}" * 42
    assert token.request("POST", address, raw=deep[:-2] + b"}]}").status_code == 400
    records.assert_sound(org, session)


# --- repeats ---------------------------------------------------------------------------------


@pytest.mark.proves("ledger.client-id")
def test_a_repeat_with_its_client_id_is_harmless(org: Org) -> None:
    session = factories.running(org)
    event = {
        "kind": "metric", "client_id": "m-1", "data": {"a": 1.0, "b": [None, "ü"]},
        "occurred_at": "2026-01-02T03:04:05.000001Z",
    }  # fmt: skip
    first = post(org, session, event)
    before = records.stored(org, session)
    again = post(org, session, event)
    assert (again.status_code, again.json()["seq"]) == (201, first.json()["seq"])
    assert records.stored(org, session) == before
    mixed = post(org, session, {"events": [event, {"kind": "log", "client_id": "l-1"}, event]})
    assert (mixed.json()["accepted"], mixed.json()["duplicates"]) == (1, 2)
    records.assert_sound(org, session)


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "warning"},
        {"message": "b"},
        {"level": "error"},
        {"data": {"n": 1}},
        {"step": "s"},
        {"client_seq": 2},
        {"occurred_at": "2026-01-02T03:04:05Z"},
    ],
    ids=str,
)
def test_the_same_client_id_with_another_content_is_a_conflict_that_is_named(
    org: Org, other: dict[str, Any]
) -> None:
    session = factories.running(org)
    event = {"kind": "log", "message": "a", "client_id": "c-1"}
    assert post(org, session, event).status_code == 201
    before = records.stored(org, session)
    answer = post(org, session, {"events": [{"kind": "log"}, event | other]})
    assert (answer.status_code, answer.json()["code"]) == (409, "client_id_reused")
    assert (answer.json()["index"], answer.json()["client_id"]) == (1, "c-1")
    assert records.stored(org, session) == before


def test_within_one_batch_a_client_id_is_one_event_too(org: Org) -> None:
    session = factories.running(org)
    one = {"kind": "log", "client_id": "c-1"}
    assert post(org, session, {"events": [one, one]}).json()["duplicates"] == 1
    clash = [{"kind": "log", "client_id": "c-2"}, {"kind": "metric", "client_id": "c-2"}]
    assert post(org, session, {"events": clash}).status_code == 409


def test_a_client_id_is_its_sessions_own(org: Org) -> None:
    for session in (factories.running(org), factories.running(org)):
        answer = post(org, session, {"events": [{"kind": "log", "client_id": "c-1"}]})
        assert answer.json()["accepted"] == 1


# --- reading ---------------------------------------------------------------------------------


def test_events_are_read_in_their_order_from_either_end(org: Org) -> None:
    session = factories.running(org)
    post(org, session, {"events": [{"kind": "log", "message": str(n)} for n in range(30)]})
    everything = [item["seq"] for item in listed(org, session)]
    assert everything == list(range(1, len(everything) + 1))
    read, query = [], path(session, "events?limit=7")
    while query:
        page = org.viewer.api.get(query).json()
        read += [item["seq"] for item in page["items"]]
        cursor = page["next_cursor"]
        query = path(session, f"events?limit=7&cursor={cursor}") if cursor else ""
    assert read == everything
    assert [item["seq"] for item in listed(org, session, "&before_seq=6")] == [5, 4, 3, 2, 1]
    assert [item["seq"] for item in listed(org, session, "&after_seq=30")] == everything[30:]


def test_events_are_filtered_and_counted_by_level(org: Org) -> None:
    session = factories.running(org)
    levels = ["debug", "info", "warning", "error", "critical", "warning"]
    post(org, session, {"events": [{"kind": "log", "level": level} for level in levels]})
    assert len(listed(org, session, "&level=warning,critical")) == 3
    counts = org.viewer.api.get(path(session)).json()["counts"]
    assert (counts["warnings"], counts["errors"]) == (2, 2)
    assert counts["events"] == len(records.events(org, session))


def test_warnings_and_failures_have_their_level_by_themselves(org: Org) -> None:
    session = factories.running(org)
    assert post(org, session, {"kind": "warning"}).json()["level"] == "warning"
    assert post(org, session, {"kind": "failure"}).json()["level"] == "error"


def test_another_organization_reads_nothing(org: Org) -> None:
    answer = Org().viewer.api.get(path(factories.running(org), "events"))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
