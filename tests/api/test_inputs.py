"""Input shapes: every refusal names its field, and nothing is coerced."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeptrusts_runners import ids
from keeptrusts_runners.api import inputs
from keeptrusts_runners.errors import Invalid

# Fixed: workers must name the same tests.
PROFILE = UUID("01908f3c-0000-7000-8000-000000000001")


class LeaseInput(inputs.InputShape):
    ttl_seconds = inputs.Integer(min_value=10, max_value=900, required=False)


class EventInput(inputs.InputShape):
    kind = inputs.Text(max_length=64, pattern=r"[a-z.]+")


class EverythingInput(inputs.InputShape):
    name = inputs.Text(max_length=10)
    notes = inputs.Text(max_length=100, lines=True, required=False, allow_blank=True)
    count = inputs.Integer(required=False)
    ratio = inputs.Number(required=False, min_value=0, max_value=1)
    force = inputs.Boolean(required=False, default=False)
    profile_id = inputs.Id("prof", required=False)
    not_before = inputs.Instant(required=False, allow_null=True)
    labels = inputs.Labels(required=False)
    metadata = inputs.JsonObject(max_bytes=64, required=False)
    result = inputs.JsonValue(max_bytes=64, required=False, allow_null=True)
    level = inputs.Choice(choices=["low", "high"], required=False)
    tags = inputs.Items(inputs.Text(max_length=4), max_items=3, required=False)
    lease = LeaseInput(required=False, allow_null=True)
    events = EventInput(many=True, required=False)


def read(**members: Any) -> dict[str, Any]:
    return EverythingInput.read({"name": "n", **members})


def refused(document: Any) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as error:
        EverythingInput.read(document)
    return [(each.pointer, each.code) for each in error.value.errors]


def test_values_come_as_they_were_sent() -> None:
    values = read(
        notes="a\n\tb",
        count=-(2**53) + 1,
        ratio=1,
        force=True,
        profile_id=ids.encode("prof", PROFILE),
        not_before="2026-05-01T11:30:00.123456789+02:00",
        labels={"team": "blue", "a/b.c": ""},
        metadata={"deep": [1, {"x": None}]},
        result=[1, "two"],
        level="low",
        tags=["a", "b"],
        lease={"ttl_seconds": 10},
        events=[{"kind": "step.started"}],
    )
    assert values["profile_id"] == PROFILE
    assert values["not_before"] == datetime(2026, 5, 1, 9, 30, 0, 123456, tzinfo=UTC)
    assert values["lease"] == {"ttl_seconds": 10}
    assert values["events"] == [{"kind": "step.started"}]
    assert values["result"] == [1, "two"]


def test_what_was_left_out_stays_out_and_null_is_none() -> None:
    assert read() == {"name": "n", "force": False}
    assert read(lease=None, not_before=None, result=None) == {
        "name": "n",
        "force": False,
        "lease": None,
        "not_before": None,
        "result": None,
    }


WRONG = {
    "number for text": ({"name": 5}, ("/name", "invalid")),
    "true for text": ({"name": True}, ("/name", "invalid")),
    "null for text": ({"name": None}, ("/name", "null")),
    "list for text": ({"name": ["n"]}, ("/name", "invalid")),
    "empty text": ({"name": ""}, ("/name", "blank")),
    "blank text": ({"name": " \u2003 "}, ("/name", "blank")),
    "long text": ({"name": "n" * 11}, ("/name", "max_length")),
    "line feed in a name": ({"name": "a\nb"}, ("/name", "control_character")),
    "ANSI escape": ({"name": "\x1b[31m"}, ("/name", "control_character")),
    "carriage return in lines": ({"notes": "a\r\nb"}, ("/notes", "control_character")),
    "text for a number": ({"count": "5"}, ("/count", "invalid")),
    "true for a number": ({"count": True}, ("/count", "invalid")),
    "5.0 for an integer": ({"count": 5.0}, ("/count", "invalid")),
    "2^53": ({"count": 2**53}, ("/count", "max_value")),
    "-2^53": ({"count": -(2**53)}, ("/count", "min_value")),
    "ratio beyond": ({"ratio": 1.01}, ("/ratio", "max_value")),
    "text for a ratio": ({"ratio": "0.5"}, ("/ratio", "invalid")),
    "yes for true": ({"force": "yes"}, ("/force", "invalid")),
    "1 for true": ({"force": 1}, ("/force", "invalid")),
    "list for a boolean": ({"force": []}, ("/force", "invalid")),
    "malformed id": ({"profile_id": "prof_1"}, ("/profile_id", "unknown_reference")),
    "other kind of id": (
        {"profile_id": ids.encode("sess", PROFILE)},
        ("/profile_id", "unknown_reference"),
    ),
    "id in capitals": (
        {"profile_id": ids.encode("prof", PROFILE).upper()},
        ("/profile_id", "unknown_reference"),
    ),
    "number for an id": ({"profile_id": 7}, ("/profile_id", "invalid")),
    "instant without zone": ({"not_before": "2026-05-01T09:30:00"}, ("/not_before", "invalid")),
    "date alone": ({"not_before": "2026-05-01"}, ("/not_before", "invalid")),
    "30 February": ({"not_before": "2026-02-30T00:00:00Z"}, ("/not_before", "invalid")),
    "leap second": ({"not_before": "2016-12-31T23:59:60Z"}, ("/not_before", "invalid")),
    "year 0": ({"not_before": "0000-01-01T00:00:00Z"}, ("/not_before", "invalid")),
    "year 1": ({"not_before": "0001-01-01T00:00:00+01:00"}, ("/not_before", "invalid")),
    "beyond 9999": ({"not_before": "9999-12-31T23:59:59-01:00"}, ("/not_before", "invalid")),
    "other digits": ({"not_before": "２026-05-01T09:30:00Z"}, ("/not_before", "invalid")),
    "number for an instant": ({"not_before": 1777627800}, ("/not_before", "invalid")),
    "labels as list": ({"labels": ["a"]}, ("/labels", "not_a_dict")),
    "33 labels": ({"labels": {f"k{n}": "" for n in range(33)}}, ("/labels", "too_many")),
    "label key": ({"labels": {"<b>": "x"}}, ("/labels", "label_key")),
    "label value": ({"labels": {"a": 5}}, ("/labels", "label_value")),
    "long label value": ({"labels": {"a": "v" * 257}}, ("/labels", "label_value")),
    "metadata as list": ({"metadata": []}, ("/metadata", "not_a_dict")),
    "large metadata": ({"metadata": {"a": "b" * 64}}, ("/metadata", "too_large")),
    "large result": ({"result": "b" * 64}, ("/result", "too_large")),
    "unknown word": ({"level": "medium"}, ("/level", "invalid_choice")),
    "list for a word": ({"level": ["low"]}, ("/level", "invalid")),
    "four tags": ({"tags": ["a"] * 4}, ("/tags", "max_length")),
    "tags as object": ({"tags": {"0": "a"}}, ("/tags", "not_a_list")),
    "wrong tag": ({"tags": ["ok", 5]}, ("/tags/1", "invalid")),
    "nested": ({"lease": {"ttl_seconds": 5}}, ("/lease/ttl_seconds", "min_value")),
    "nested unknown": ({"lease": {"ttl": 60}}, ("/lease/ttl", "unknown_field")),
    "nested of another type": ({"lease": 60}, ("/lease", "not_an_object")),
    "item of a list": ({"events": [{"kind": "a"}, {"kind": "A"}]}, ("/events/1/kind", "pattern")),
    "missing in an item": ({"events": [{}]}, ("/events/0/kind", "required")),
    "item of another type": ({"events": [5]}, ("/events/0", "not_an_object")),
    "object for a list": ({"events": {}}, ("/events", "not_a_list")),
    "unknown": ({"organization_id": "org_x"}, ("/organization_id", "unknown_field")),
    "unknown with a slash": ({"a/b~c": 1}, ("/a~1b~0c", "unknown_field")),
    "prototype": ({"__class__": 1}, ("/__class__", "unknown_field")),
}


@pytest.mark.parametrize(("members", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_value_is_named(members: dict[str, Any], expected: tuple[str, str]) -> None:
    assert refused({"name": "n", **members}) == [expected]


def test_every_wrong_value_is_named_at_once() -> None:
    assert set(refused({"count": "x", "extra": 1})) == {
        ("/name", "required"),
        ("/count", "invalid"),
        ("/extra", "unknown_field"),
    }


@pytest.mark.parametrize("document", [[], "text", 5, True, None, [{"name": "n"}]])
def test_a_body_is_an_object(document: object) -> None:
    assert refused(document) == [("", "not_an_object")]


def test_a_thousand_unknown_fields_get_a_short_answer() -> None:
    assert len(refused({"name": "n", **{f"x{n}": 1 for n in range(1000)}})) == 20


def test_an_object_may_be_sent_back_as_it_was_given() -> None:
    current = {"id": "prof_x", "name": "n", "version": 3, "status": "active"}
    assert EverythingInput.read({**current, "name": "m"}, current=current)["name"] == "m"
    with pytest.raises(Invalid) as error:
        EverythingInput.read({**current, "version": 4}, current=current)
    assert [(each.pointer, each.code) for each in error.value.errors] == [("/version", "read_only")]


@given(
    st.dictionaries(
        st.sampled_from([*EverythingInput.shared().fields, "other"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_no_value_fails_otherwise_than_by_being_refused(document: dict[str, Any]) -> None:
    with contextlib.suppress(Invalid):
        EverythingInput.read(document)
