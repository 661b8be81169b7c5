"""The header's links. A page that exists registers itself; nothing links to one that does not.

    navigation.register(Item("Sessions", "/runners/sessions", order=20))

Call it from the `ready()` of the app that owns the page. What its ids lead to is registered beside
it, in console/finding.py. How much waits behind an entry is asked in the statement that every page
begins with (console/access.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits behind an entry: a scalar of SQL over %(organization)s, which need count no
    further than MOST_COUNTED + 1; where the figure alone is had, and the topic of its changes."""

    sql: str
    url: str
    topic: str


MOST_COUNTED = 99


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the header, shown to principals that hold `scope`."""

    label: str
    url: str
    order: int
    scope: Scope = Scope.READ
    waiting: Waiting | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the header, of tabs or of breadcrumbs. `current` becomes `aria-current`."""

    label: str
    url: str
    current: bool = False
    count: int | str | None = None
    waiting: Waiting | None = None


_items: dict[str, Item] = {}
# Pages of the console itself, which lie below other addresses and belong to no entry.
_OWN = ("/runners/me", "/runners/go")


def register(item: Item) -> None:
    """Registering an address again replaces its entry."""
    _items[item.url] = item


def home() -> str:
    """Where the product's name leads: the first page there is."""
    first = min(_items.values(), key=lambda item: item.order, default=None)
    return first.url if first else str(settings.LOGIN_REDIRECT_URL)


def counts(principal: Principal) -> dict[str, str]:
    """What to ask for the entries that count something, by their addresses."""
    return {item.url: item.waiting.sql for item in _of(principal) if item.waiting}


def links(principal: Principal, path: str, counted: Mapping[str, int]) -> list[Link]:
    """The entries this principal may open, with what was counted; the one with the longest matching
    address is current. Figures are kept fresh on the entries' own pages, which have a stream."""
    items = _of(principal)
    within = [item.url for item in items if path == item.url or path.startswith(f"{item.url}/")]
    current = None if path in _OWN else max(within, key=len, default=None)
    return [
        Link(
            item.label,
            item.url,
            item.url == current,
            _spoken(counted.get(item.url)),
            item.waiting if path in _items else None,
        )
        for item in items
    ]


def _of(principal: Principal) -> list[Item]:
    found = (item for item in _items.values() if principal.has(item.scope))
    return sorted(found, key=lambda item: item.order)


def _spoken(count: int | None) -> str | None:
    """None where nothing is counted."""
    if count is None:
        return None
    return f"{MOST_COUNTED}+" if count > MOST_COUNTED else str(count)
