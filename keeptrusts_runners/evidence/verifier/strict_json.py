"""JSON that every reader reads alike: no key twice, no NaN, no endless numbers."""

from __future__ import annotations

import json
from typing import Any, NoReturn

_MAX_DIGITS = 400


def parse_json(data: bytes) -> Any:
    """The value of a document. Raises ValueError with a reason for anything doubtful."""
    try:
        return _DECODER.decode(data.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return members


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(text)


def _float(text: str) -> float:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number is too long")
    return float(text)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
