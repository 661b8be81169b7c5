"""The one reader of JSON bodies: refuses everything that another reader could read differently.

Duplicate keys, NaN, 1e999, NUL, lone surrogates, a byte order mark, bytes that are not UTF-8,
nesting, keys and numbers beyond all use: each is an error that says where it is, never a value
that fails later in the database.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from json import JSONDecodeError, JSONDecoder
from typing import IO, Any, NoReturn

from rest_framework.parsers import BaseParser

from keeptrusts_runners.errors import Malformed, PayloadTooLarge

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_KEY_LENGTH = 256

_INTEGER_BOUND = 2**63
_MAX_NUMBER_LENGTH = 400
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_AS_BRACES = bytes.maketrans(b"[]", b"{}")
_ESCAPED_NUL = re.compile(r"\\u0000")
_LONE_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


def loads(
    data: bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_key_length: int = MAX_KEY_LENGTH,
) -> Any:
    """The value of a JSON document. Raises PayloadTooLarge, or Malformed with the position."""
    if len(data) > max_bytes:
        raise PayloadTooLarge(limit_bytes=max_bytes)
    text = _decode(data)
    _check_depth(data, max_depth)
    _check_escapes(text)
    return _parse(text, max_key_length)


def loads_lines(data: bytes, *, max_bytes: int = MAX_BYTES) -> list[Any]:
    """The values of NDJSON, one a line; empty lines count for nothing. Raises like `loads`."""
    if len(data) > max_bytes:
        raise PayloadTooLarge(limit_bytes=max_bytes)
    values = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip(b" \t\r"):
            continue
        try:
            values.append(loads(line, max_bytes=max_bytes))
        except Malformed as error:
            raise Malformed(f"Line {number}: {error.detail}") from error
    return values


def _decode(data: bytes) -> str:
    if data.startswith(_BYTE_ORDER_MARK):
        raise Malformed("The body begins with a byte order mark; JSON has none.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8: byte {error.start} is wrong.") from None


def _check_depth(data: bytes, max_depth: int) -> None:
    """Refuse deep nesting before any recursive reader sees it.

    Whole-buffer operations only, so that 5 MiB cost a few milliseconds: blank the escapes, keep
    brackets and quotes, drop what stands between quotes, then take away the innermost pairs of
    brackets, one level at a time.
    """
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    structure = data.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NOT_STRUCTURE)
    # Removing two adjacent quotes keeps every bracket on its side of the remaining ones.
    levels = b"".join(structure.replace(b'""', b"").split(b'"')[::2]).translate(_AS_BRACES)
    for _ in range(max_depth):
        levels = levels.replace(b"{}", b"")
    if b"{}" in levels or levels.count(b"{") > max_depth:
        raise Malformed(f"The body is nested more than {max_depth} levels deep.")


def _check_escapes(text: str) -> None:
    """Raw NUL and surrogates cannot get here; written as escapes they can."""
    if "\\u" not in text:
        return
    # Two blanks for an escaped backslash: what follows it is no escape, and positions stay.
    text = text.replace("\\\\", "  ")
    if found := _ESCAPED_NUL.search(text):
        _refuse("A string contains NUL (\\u0000)", text, found.start())
    if found := _LONE_SURROGATE.search(text):
        _refuse("A string contains half of a surrogate pair", text, found.start())


def _refuse(problem: str, text: str, position: int) -> NoReturn:
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    raise Malformed(f"{problem}: line {line}, column {column}.")


def _parse(text: str, max_key_length: int) -> Any:
    decoder = _DECODER if max_key_length == MAX_KEY_LENGTH else _decoder(max_key_length)
    try:
        return decoder.decode(text)
    except JSONDecodeError as error:
        raise Malformed(
            f"The body is not JSON: {error.msg}, line {error.lineno}, column {error.colno}."
        ) from None
    except RecursionError:
        raise Malformed("The body is nested too deeply.") from None


def _decoder(max_key_length: int) -> JSONDecoder:
    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise Malformed(f"The key {_first_repeated(pairs)!r} appears twice in one object.")
        if result and max(map(len, result)) > max_key_length:
            raise Malformed(f"A key is longer than {max_key_length} characters.")
        return result

    return JSONDecoder(
        object_pairs_hook=members,
        parse_int=_integer,
        parse_float=_float,
        parse_constant=_constant,
        strict=True,
    )


def _first_repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key[:64]
        seen.add(key)
    raise AssertionError("no key is repeated")


def _integer(text: str) -> int:
    if len(text) > 20:
        raise Malformed("An integer does not fit into 64 bits.")
    value = int(text)
    if not -_INTEGER_BOUND <= value < _INTEGER_BOUND:
        raise Malformed("An integer does not fit into 64 bits.")
    return value


def _float(text: str) -> float:
    value = float(text) if len(text) <= _MAX_NUMBER_LENGTH else math.inf
    if math.isinf(value):
        raise Malformed("A number is too large or too long.")
    return value


def _constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON.")


_DECODER = _decoder(MAX_KEY_LENGTH)


def canonical(value: Any) -> bytes:
    """One spelling for equal documents: sorted keys, no blanks, UTF-8. For digests only."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


class StrictJSONParser(BaseParser):
    """The reader as DRF parser, for `request.data` and for the media type in the schema."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        view: Any = (parser_context or {}).get("view")
        limit = view.body_limit() if hasattr(view, "body_limit") else MAX_BYTES
        return loads(stream.read(limit + 1), max_bytes=limit)
