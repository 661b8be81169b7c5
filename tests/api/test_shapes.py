"""Output shapes: what they render, and that a page of them costs next to nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

from rest_framework import serializers

from keeptrusts_runners import ids
from keeptrusts_runners.api.answers import encode
from keeptrusts_runners.api.shapes import IdOut, InstantOut, OutputShape


class HolderOut(OutputShape):
    id = IdOut("sa")
    name = serializers.CharField()


class ThingOut(OutputShape):
    id = IdOut("sess")
    retry_of = IdOut("sess", allow_null=True)
    title = serializers.CharField(source="name")
    owner = serializers.CharField(source="holder.name")
    created_at = InstantOut()
    ended_at = InstantOut(allow_null=True)
    labels = serializers.DictField()
    members = serializers.ListField(child=IdOut("user"))
    holder = HolderOut()
    holders = HolderOut(many=True)
    shout = serializers.SerializerMethodField()

    def get_shout(self, thing: Any) -> str:
        name = thing["name"] if isinstance(thing, dict) else thing.name
        return str(name).upper()


ONE, TWO = ids.new(), ids.new()
CREATED = datetime(2026, 5, 1, 11, 30, tzinfo=timezone(timedelta(hours=2)))
HOLDER = {"id": TWO, "name": "bob"}
AS_MAPPING = {
    "id": ONE,
    "retry_of": None,
    "name": "first",
    "created_at": CREATED,
    "ended_at": None,
    "labels": {"a": "b"},
    "members": [ONE],
    "holder": HOLDER,
    "holders": [HOLDER],
}
AS_OBJECT = SimpleNamespace(
    **{
        **AS_MAPPING,
        "holder": SimpleNamespace(**HOLDER),
        "holders": [SimpleNamespace(**HOLDER)],
    }
)
RENDERED = {
    "id": ids.encode("sess", ONE),
    "retry_of": None,
    "title": "first",
    "owner": "bob",
    "created_at": "2026-05-01T09:30:00.000000Z",
    "ended_at": None,
    "labels": {"a": "b"},
    "members": [ids.encode("user", ONE)],
    "holder": {"id": ids.encode("sa", TWO), "name": "bob"},
    "holders": [{"id": ids.encode("sa", TWO), "name": "bob"}],
    "shout": "FIRST",
}


def test_objects_and_mappings_render_alike() -> None:
    assert ThingOut.render(AS_OBJECT) == RENDERED
    assert ThingOut.render(AS_MAPPING) == RENDERED
    assert ThingOut.render_many([AS_OBJECT, AS_OBJECT]) == [RENDERED, RENDERED]
    assert list(ThingOut.render(AS_OBJECT)) == list(RENDERED), "in the declared order"


def test_drf_renders_the_same() -> None:
    assert dict(ThingOut(AS_OBJECT).data) == RENDERED


def test_fifty_rows_of_thirty_fields_take_far_less_than_five_milliseconds() -> None:
    fields: dict[str, serializers.Field[Any, Any, Any, Any]] = {}
    fields |= {f"id{n}": IdOut("sess") for n in range(5)}
    fields |= {f"at{n}": InstantOut() for n in range(5)}
    fields |= {f"text{n}": serializers.CharField() for n in range(20)}
    shape = type("WideOut", (OutputShape,), dict(fields))
    now = datetime.now(UTC)
    row = SimpleNamespace(
        **{name: ONE if "id" in name else now if "at" in name else "x" for name in fields}
    )
    shape.render(row)
    fastest = min(_seconds(lambda: shape.render_many([row] * 50)) for _ in range(20))
    assert fastest < 0.005


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_an_answer_is_compact_utf8_json() -> None:
    answer = {"name": "é\u2028", "at": CREATED, "id": ONE, "scopes": frozenset({"b", "a"})}
    assert encode(answer).decode() == (
        f'{{"name":"é\u2028","at":"2026-05-01T09:30:00.000000Z","id":"{ONE}","scopes":["a","b"]}}'
    )
