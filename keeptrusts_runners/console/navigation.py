"""The header's links. A page that exists registers itself; nothing links to one that does not.

    navigation.register(Item("Sessions", "/runners/sessions", order=20))

Call it from the `ready()` of the app that owns the page. What its ids lead to is registered beside
it, in console/finding.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the header, shown to principals that hold `scope`."""

    label: str
    url: str
    order: int
    scope: Scope = Scope.READ


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the header, of tabs or of breadcrumbs. `current` becomes `aria-current`."""

    label: str
    url: str
    current: bool = False
    count: int | str | None = None


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


def links(principal: Principal, path: str) -> list[Link]:
    """The entries this principal may open; the one with the longest matching address is current."""
    items = sorted(
        (item for item in _items.values() if principal.has(item.scope)), key=lambda item: item.order
    )
    if path in _OWN:
        return [Link(item.label, item.url) for item in items]
    within = [item.url for item in items if path == item.url or path.startswith(f"{item.url}/")]
    current = max(within, key=len, default=None)
    return [Link(item.label, item.url, current=item.url == current) for item in items]
