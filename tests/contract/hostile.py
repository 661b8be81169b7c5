"""Bodies and values that nobody should be able to store, and how each is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from keeptrusts_runners.api import fields as api_fields
from keeptrusts_runners.api.inputs import InputShape
from keeptrusts_runners.api.pointers import pointer

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Body:
    """Bytes that no reader of JSON takes."""

    name: str
    data: bytes
    status: int = 400
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


def _nested(depth: int, opening: bytes = b'{"a":', closing: bytes = b"}") -> bytes:
    return opening * depth + b"1" + closing * depth


BODIES = (
    Body("NUL in a value", b'{"name": "a\\u0000b"}'),
    Body("NUL in a key", b'{"a\\u0000b": 1}'),
    Body("raw NUL", b'{"name": "a\x00b"}'),
    Body("raw NUL between", b'{\x00"name": "a"}'),
    Body("high surrogate", b'{"name": "\\ud800"}'),
    Body("low surrogate", b'{"name": "\\udc00x"}'),
    Body("surrogates reversed", b'{"name": "\\udc00\\ud800"}'),
    Body("surrogate in a key", b'{"\\ud800": 1}'),
    Body("raw surrogate", b'{"name": "\xed\xa0\x80"}'),
    Body("overlong", b'{"name": "\xc0\xaf"}'),
    Body("latin-1", '{"name": "é"}'.encode("latin-1")),
    Body("UTF-16", '{"name": "a"}'.encode("utf-16")),
    Body("UTF-32", '{"name": "a"}'.encode("utf-32")),
    Body("byte order mark", b'\xef\xbb\xbf{"name": "a"}'),
    Body("duplicate key", b'{"name": "a", "name": "b"}'),
    Body("duplicate key, spelt otherwise", b'{"name": "a", "n\\u0061me": "b"}'),
    Body("duplicate key inside", b'{"labels": {"a": "1", "a": "2"}}'),
    Body("NaN", b'{"name": NaN}'),
    Body("Infinity", b'{"name": Infinity}'),
    Body("-Infinity", b'{"name": -Infinity}'),
    Body("1e999", b'{"name": 1e999}'),
    Body("-1e999", b'{"name": -1e999}'),
    Body("2^63", b'{"name": 9223372036854775808}'),
    Body("-2^63-1", b'{"name": -9223372036854775809}'),
    Body("an integer of 5,000 digits", b'{"name": ' + b"9" * 5000 + b"}"),
    Body("a fraction of 5,000 digits", b'{"name": 0.' + b"9" * 5000 + b"}"),
    Body("leading zero", b'{"name": 01}'),
    Body("plus", b'{"name": +1}'),
    Body("hexadecimal", b'{"name": 0x10}'),
    Body("no digits", b'{"name": .5}'),
    Body("depth 33", _nested(33)),
    Body("depth 10,000", _nested(10_000)),
    Body("depth 10,000 of lists", b"[" * 10_000 + b"]" * 10_000),
    Body("depth 10,000, open", b'{"a":' * 10_000),
    Body("64 KB key", json.dumps({"k" * 65_536: 1}).encode()),
    Body("257 characters of key", json.dumps({"k" * 257: 1}).encode()),
    Body("10 MB", b'{"name": "' + b"x" * 10_000_000 + b'"}', 413),
    Body("10 MB of blanks", b" " * 10_000_000 + b"{}", 413),
    Body("cut", b'{"name": "a'),
    Body("cut after the value", b'{"name": "a"'),
    Body("two documents", b"{}{}"),
    Body("trailing garbage", b"{} x"),
    Body("trailing comma", b'{"name": "a",}'),
    Body("single quotes", b"{'name': 'a'}"),
    Body("comment", b'{"name": "a" /* b */}'),
    Body("no quotes", b"{name: 1}"),
    Body("a control character", b'{"name": "a\x01b"}'),
    Body("a line feed", b'{"name": "a\nb"}'),
    Body("bad escape", b'{"name": "\\x41"}'),
    Body("blanks alone", b"   "),
    Body("a word", b"null x"),
    Body("XML", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>&e;'),
    Body("pickle", b"\x80\x04\x95\x0b\x00\x00\x00"),
    Body("a form", b"name=a&execution_target=b"),
    Body("gzip", gzip.compress(b'{"name": "a"}')),
    Body("gzip, declared", gzip.compress(b"{}"), 415, {**JSON, "Content-Encoding": "gzip"}),
    Body("deflate, declared", b"{}", 415, {**JSON, "Content-Encoding": "deflate"}),
    Body("unknown encoding", b"{}", 415, {**JSON, "Content-Encoding": "x" * 1000}),
    Body("UTF-16, declared", b"{}", 415, {"Content-Type": "application/json; charset=utf-16"}),
    Body("unknown charset", b"{}", 415, {"Content-Type": "application/json; charset=\x01nope"}),
    Body("YAML", b"name: a", 415, {"Content-Type": "application/yaml"}),
    Body("merge patch", b"{}", 415, {"Content-Type": "application/merge-patch+json"}),
    Body("JSON patch", b"[]", 415, {"Content-Type": "application/json-patch+json"}),
)

# Documents that are JSON, and not what a route takes.
DOCUMENTS: dict[str, Any] = {
    "null": None,
    "true": True,
    "a number": 1,
    "a string": "x",
    "a list": [],
    "a list of objects": [{}],
    "an unknown member": {"no_such_member": 1},
    "a member of the prototype": {"__proto__": {"is_staff": True}},
    "constructor": {"constructor": {"prototype": {}}},
    "a member with a path": {"a/b~c": 1},
    "the empty name": {"": 1},
    "a member in another case": {"NAME": "x"},
    "1,000 unknown members": {f"m{number}": number for number in range(1000)},
}

BAD_TEXT = ("a\x1b[31mb", "a\x7f", "\x08", "a\rb", "   ")


def wrong_values(field_: Any) -> Iterator[tuple[str, Any]]:
    """(pointer below the field, value) of what this field never takes."""
    if not field_.allow_null:
        yield "", None
    yield from ((("", value) if not isinstance(value, _At) else (value.pointer, value.value))
                for value in _wrong(field_))  # fmt: skip


@dataclass(frozen=True)
class _At:
    """A value that is refused at a place inside it."""

    pointer: str
    value: Any


def _wrong(field_: Any) -> Iterator[Any]:
    for kind, values in _WRONG.items():
        if isinstance(field_, kind):
            yield from values(field_)
            return
    raise AssertionError(f"{type(field_).__name__} has no hostile values yet")


def _shapes(_: Any) -> Iterator[Any]:
    yield from (True, 1, "x", [], [{}])
    yield _At("/no_such_member", {"no_such_member": 1})


def _labels(_: Any) -> Iterator[Any]:
    yield from (True, 1, "x", [], {"": "x"}, {"a b": "x"}, {"a": 1}, {"a": None}, {"a": []})
    yield from ({"x" * 64: "x"}, {"a": "x" * 257}, {"a": "\x1b"}, {"-a": "x"})
    yield {f"k{number}": "x" for number in range(33)}


def _objects(field_: Any) -> Iterator[Any]:
    yield from (True, 1, 1.5, "x", [], [{}])
    yield {"x": "y" * (field_.max_bytes + 1)}


def _items(field_: Any) -> Iterator[Any]:
    yield from (True, 1, "x", {}, {"0": "x"})
    yield [0] * (field_.max_length + 1)
    for inner, value in wrong_values(field_.child):
        yield _At(f"/0{inner}", [value])


def _integers(field_: Any) -> Iterator[Any]:
    yield from (True, "1", 1.0, 1.5, [], {}, field_.min_value - 1, field_.max_value + 1)
    for value in (2**31, -(2**31), 2**53, 2**63 - 1, -(2**63)):
        if not field_.min_value <= value <= field_.max_value:
            yield value


def _numbers(field_: Any) -> Iterator[Any]:
    yield from (True, "1", [], {}, field_.min_value - 1, 2**53, 1e300, -1e300)


def _booleans(_: Any) -> Iterator[Any]:
    yield from (0, 1, "true", "", [], {})


def _choices(_: Any) -> Iterator[Any]:
    yield from (True, 1, "", "no-such-word", "x" * 5000, [], {}, "\x1b")


def _ids(field_: Any) -> Iterator[Any]:
    yield from (True, 1, "", "x", [], {}, "x" * 5000)
    other = "user" if field_.prefix != "user" else "org"
    yield from (f"{field_.prefix}_x", f"{field_.prefix}_{'z' * 26}", f"{other}_{'0' * 26}")
    yield f"{field_.prefix}_{'0' * 26}"


def _instants(_: Any) -> Iterator[Any]:
    yield from (True, 1, "", "now", "2026-01-01", "2026-01-01T00:00:00", [], {}, "1" * 5000)
    yield from ("2026-13-01T00:00:00Z", "2026-01-01T25:00:00Z", "0001-01-01T00:00:00Z")
    yield from ("2026-01-01T00:00:00+99:99", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z")
    yield "2026-01-01T00:00:00\u0660Z"


def _texts(field_: Any) -> Iterator[Any]:
    yield from (True, 1, 1.5, [], {}, ["x"], "x" * (field_.max_length + 1))
    yield from (text for text in BAD_TEXT if not (text == "   " and field_.allow_blank))
    if not field_.allow_blank:
        yield ""
    if not field_.lines:
        yield "a\nb"
    if field_.pattern is not None:
        yield from (" ", "a b", "\u00e9")


# The first that fits: subclasses stand before their bases.
_WRONG: dict[type, Callable[[Any], Iterator[Any]]] = {
    InputShape: _shapes,
    api_fields.Labels: _labels,
    api_fields.JsonObject: _objects,
    api_fields.Items: _items,
    api_fields.Integer: _integers,
    api_fields.Number: _numbers,
    api_fields.Boolean: _booleans,
    api_fields.Choice: _choices,
    api_fields.Id: _ids,
    api_fields.Instant: _instants,
    api_fields.Text: _texts,
}


def cases(shape: type[InputShape]) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """(path of the member, value, pointer of the refusal) for every member, nested ones too."""
    for name, field_ in shape().fields.items():
        for below, value in wrong_values(field_):
            yield (name,), value, pointer(name) + below
        if isinstance(field_, InputShape):
            for path, value, inner in cases(type(field_)):
                yield (name, *path), value, pointer(name) + inner


def with_value(body: Any, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """The body with this member set."""
    made = dict(body or {})
    head, *rest = path
    made[head] = with_value(made.get(head), tuple(rest), value) if rest else value
    return made
