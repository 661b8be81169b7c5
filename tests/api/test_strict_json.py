"""The strict reader: what it refuses and how it says so, and that it reads all the rest."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeptrusts_runners.api import strict_json
from keeptrusts_runners.errors import Malformed, PayloadTooLarge

HOSTILE = {
    "empty": b"",
    "blank": b"  \n",
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "invalid UTF-8": b'{"a": "\xff"}',
    "overlong UTF-8": b'{"a": "\xc0\x80"}',
    "surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "truncated": b'{"a": [1, 2',
    "two documents": b"{} {}",
    "trailing comma": b'{"a": 1,}',
    "single quotes": b"{'a': 1}",
    "comment": b'{"a": 1} // one',
    "duplicate keys": b'{"a": 1, "a": 1}',
    "duplicate keys, one escaped": b'{"a": 1, "\\u0061": 2}',
    "duplicate keys, nested": b'[{"x": {"a": 1, "b": 2, "a": 3}}]',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "-Infinity": b'{"a": -Infinity}',
    "1e999": b'{"a": 1e999}',
    "-1e999": b'{"a": -1e999}',
    "long float": b"1" * 5000 + b".5",
    "2^63": b"9223372036854775808",
    "-2^63 - 1": b"-9223372036854775809",
    "5000 digits": b"9" * 5000,
    "a million digits": b"9" * 1_000_000,
    "leading zero": b"[007]",
    "raw NUL": b'{"a": "\x00"}',
    "raw control character": b'{"a": "\x1b[31m"}',
    "escaped NUL": b'{"a": "\\u0000"}',
    "escaped NUL in a key": b'{"\\u0000": 1}',
    "escaped NUL behind an escaped backslash": b'{"a": "\\\\\\u0000"}',
    "lone high surrogate": b'{"a": "\\ud800"}',
    "lone low surrogate": b'{"a": "\\uDC00"}',
    "lone surrogate in a key": b'{"\\udfff": 1}',
    "two high surrogates": b'{"a": "\\ud83d\\ud83d\\ude00"}',
    "low before high": b'{"a": "\\ude00\\ud83d"}',
    "surrogates with a backslash between": b'{"a": "\\ud83d\\\\\\ude00"}',
    "33 levels": b"[" * 33 + b"]" * 33,
    "33 levels behind a string": b'{"[": ' * 33 + b"1" + b"}" * 33,
    "10,000 levels": b"[" * 10_000 + b"]" * 10_000,
    "10,000 objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "half a million unclosed": b"[" * 500_000,
    "64 KB key": b'{"' + b"k" * 65536 + b'": 1}',
    "key of 257 characters": b'{"' + b"k" * 257 + b'": 1}',
}

READABLE = {
    "scalar": (b"1", 1),
    "32 levels": (b"[" * 32 + b"]" * 32, None),
    "brackets in strings": (b'["' + b"[{" * 100 + b'"]', ["[{" * 100]),
    "escaped quotes and brackets": (b'["\\"' + b"[" * 100 + b'\\\\"]', ['"' + "[" * 100 + "\\"]),
    "quotes beside brackets": (b'["[", "]", "{\\"}"' + b", []" * 40 + b"]", None),
    "surrogate pair": (b'["\\ud83d\\ude00"]', ["😀"]),
    "two surrogate pairs": (b'["\\ud83d\\ude00\\uD83D\\uDE00"]', ["😀😀"]),
    "escaped backslash before u": (b'["\\\\ud800", "\\\\u0000"]', ["\\ud800", "\\u0000"]),
    "2^63 - 1": (b"9223372036854775807", 2**63 - 1),
    "-2^63": (b"-9223372036854775808", -(2**63)),
    "key of 256 characters": (b'{"' + b"k" * 256 + b'": 1}', {"k" * 256: 1}),
    "delete and bidi characters": ('["\u202e\x7f"]'.encode(), ["\u202e\x7f"]),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_documents_are_refused_with_a_reason(body: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        strict_json.loads(body)
    assert refused.value.status == 400
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize(("body", "value"), READABLE.values(), ids=READABLE.keys())
def test_unusual_documents_are_read(body: bytes, value: object) -> None:
    assert strict_json.loads(body) == (json.loads(body) if value is None else value)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b'{"a":\n  oops}', "line 2, column 3"),
        (b'{"a": 1,\n "b": "x\\u0000"}', "line 2, column 9"),
        (b'["\\ud800"]', "line 1, column 3"),
        (b'{"k": 1, "k": 2}', "'k'"),
        (b'{"a": "\xff"}', "byte 7"),
    ],
)
def test_the_reason_says_where(body: bytes, where: str) -> None:
    with pytest.raises(Malformed, match=where):
        strict_json.loads(body)


def test_a_large_document_is_refused_unread() -> None:
    with pytest.raises(PayloadTooLarge) as refused:
        strict_json.loads(b"[" + b" " * strict_json.MAX_BYTES + b"]")
    assert refused.value.fields == {"limit_bytes": strict_json.MAX_BYTES}


def test_limits_can_be_narrowed() -> None:
    assert strict_json.loads(b"[[1]]", max_depth=2) == [[1]]
    with pytest.raises(Malformed):
        strict_json.loads(b"[[[1]]]", max_depth=2)
    with pytest.raises(Malformed):
        strict_json.loads(b'{"long": 1}', max_key_length=3)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), inner
        )
    ),
    max_leaves=40,
)


@given(_JSON, st.booleans())
def test_reads_whatever_json_holds(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert strict_json.loads(body, max_depth=64) == value


@given(st.binary(max_size=200) | st.text('[]{}":,\\u0d8e1 ').map(str.encode))
def test_never_fails_otherwise_than_by_refusing(body: bytes) -> None:
    try:
        value = strict_json.loads(body)
    except Malformed:
        return
    assert value == json.loads(body)


@given(st.recursive(st.just([]), lambda inner: st.lists(inner, max_size=3), max_leaves=30))
def test_depth_is_counted_like_a_parser_counts(value: list[object]) -> None:
    def depth(inner: object) -> int:
        return 1 + max(map(depth, inner), default=0) if isinstance(inner, list) else 0

    body = json.dumps(value).encode()
    assert strict_json.loads(body, max_depth=depth(value)) == value
    with pytest.raises(Malformed):
        strict_json.loads(body, max_depth=depth(value) - 1)


def test_five_mebibytes_of_events_are_read_fast() -> None:
    event = {"kind": "log", "message": 'said "[x]" ' + "é" * 2400, "data": {"n": [1, 2.5, None]}}
    body = json.dumps({"events": [event] * 1000}, ensure_ascii=False).encode()
    started = time.perf_counter()
    strict_json.loads(body, max_bytes=len(body))
    assert time.perf_counter() - started < 0.5


def test_lines_are_read_one_by_one_and_named() -> None:
    assert strict_json.loads_lines(b'{"a": 1}\n\n{"b": 2}\r\n') == [{"a": 1}, {"b": 2}]
    with pytest.raises(Malformed, match="Line 3"):
        strict_json.loads_lines(b'{}\n{}\n{"a": }\n')
    with pytest.raises(PayloadTooLarge):
        strict_json.loads_lines(b"{}\n" * 10, max_bytes=20)


def test_equal_documents_have_one_canonical_spelling() -> None:
    assert strict_json.canonical({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
