"""Where a known id leads. The app that owns a page registers how its objects are found.

    finding.register("sess", find_session)      # in the `ready()` of the app
    finding.search_at("/runners/sessions", "q")

A finder gets the UUID and who asks, runs within the organization, and answers an address, or None
for what is not there: of another organization nobody learns more than of an unknown one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from keeptrusts_runners import ids
from keeptrusts_runners.identity.principal import Principal

Finder = Callable[[UUID, Principal], str | None]

_finders: dict[str, Finder] = {}
_search: list[tuple[str, str]] = []
# As it stands in an address, a sentence or an actor's name.
_ID = re.compile(r"(?<![0-9a-z])([a-z]+)_([0-9a-hjkmnp-tv-z]{26})(?![0-9a-z])")
# Whoever pastes more wants a search.
MOST = 10


@dataclass(frozen=True, slots=True)
class Found:
    """An id within a text, and the address of its object; empty where there is none."""

    id: str
    address: str


def register(prefix: str, finder: Finder) -> None:
    """Registering a prefix again replaces its finder."""
    _finders[prefix] = finder


def search_at(address: str, parameter: str) -> None:
    """Where text that holds no id is searched for."""
    _search[:] = [(address, parameter)]


def search_address(text: str) -> str | None:
    return f"{_search[0][0]}?{urlencode({_search[0][1]: text})}" if _search else None


def known_prefixes() -> list[str]:
    return sorted(_finders)


def found_in(text: str, by: Principal) -> list[Found]:
    """Each id of a kind that has a page, in the order of the text; call within the organization."""
    pairs = dict.fromkeys(_ID.findall(text.lower()))
    known = [(prefix, rest) for prefix, rest in pairs if prefix in _finders]
    return [_find(prefix, rest, by) for prefix, rest in known[:MOST]]


def _find(prefix: str, rest: str, by: Principal) -> Found:
    text = f"{prefix}_{rest}"
    try:
        return Found(text, _finders[prefix](ids.decode(prefix, text), by) or "")
    except ValueError:
        return Found(text, "")
