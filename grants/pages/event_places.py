"""What the query of an events page asks for: filters, a place, and the links that change either."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple
from urllib.parse import urlencode

from django.urls import reverse

from grants import queries, reading
from grants.filters import LedgerFilters, SpanFilters
from grants.histogram import LEVELS
from grants.reading import Needle, Span
from grants.windows import Ledger
from keeptrusts_runners.api.filters import check_parameters, invalid
from keeptrusts_runners.console.access import Page
from keeptrusts_runners.console.navigation import Link
from sessions.models import RunnerSession

FILTERS = tuple(sorted(LedgerFilters.base_filters.keys() - SpanFilters.base_filters.keys()))
PLACES = ("after", "before", "at", "tail", "go", "error_after", "error_before")
# Words to choose from, not figures to go by: a fourth of what the API counts, and of its cost.
FACET_RECORDS = 5_000
_NO_CHANGE: Mapping[str, str | None] = {}
_NUMBER = re.compile(r"[0-9]{1,15}")
_RANGE = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?")


@dataclass(frozen=True)
class Asked:
    """An events page's query, checked: the filters that are set, as they are written."""

    session: RunnerSession
    filters: dict[str, str]

    @cached_property
    def here(self) -> str:
        return reverse("session_events", args=[self.session.id])

    @cached_property
    def kept(self) -> str:
        """The filters, to stand behind a place in a link."""
        return f"&{urlencode(self.filters)}" if self.filters else ""

    @property
    def needle(self) -> Needle | None:
        return Needle(self.filters["q"]) if "q" in self.filters else None

    def address(
        self, changes: Mapping[str, str | None] = _NO_CHANGE, page: str = "session_events"
    ) -> str:
        """This page, or another of the same query, with these filters changed."""
        filters = {name: value for name, value in {**self.filters, **changes}.items() if value}
        path = reverse(page, args=[self.session.id])
        return f"{path}?{urlencode(filters)}" if filters else path

    @property
    def rows(self) -> str:
        """Where what comes after is fetched from."""
        return self.address(page="session_event_rows")

    @property
    def text(self) -> str:
        return self.address(page="session_events_text")

    @property
    def ndjson(self) -> str:
        return self.address(page="session_events_ndjson")

    def place(self, seq: int, *, filtered: bool = True) -> str:
        """An event in the middle of its window: its permanent address."""
        return f"{self.here}?at={seq}{self.kept if filtered else ''}#e{seq}"


def read(request: Page, session: RunnerSession, *places: str) -> tuple[Asked, Ledger]:
    """Raises UnknownParameter and InvalidParameter."""
    check_parameters(request, {*FILTERS, *places})
    filters = {name: request.GET[name] for name in FILTERS if name in request.GET}
    found = LedgerFilters.apply(request, queries.events(session))
    return Asked(session, filters), Ledger(session, filters, found)


def without_empty(request: Page) -> str | None:
    """Where to go instead of `?q=`, which is what a form with an empty field sends."""
    pairs = [(name, value) for name, values in request.GET.lists() for value in values]
    kept = [(name, value) for name, value in pairs if value]
    return None if kept == pairs else f"{request.path}?{urlencode(kept)}"


def number(request: Page, name: str) -> int | None:
    """The number of an event in this parameter, if it is there."""
    if (text := request.GET.get(name)) is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise invalid(name, "must be the number of an event.")
    return int(text)


def marked(request: Page) -> range | None:
    """`?at=12` or `?at=12-15`: which events the address is about."""
    if (text := request.GET.get("at")) is None:
        return None
    found = _RANGE.fullmatch(text)
    if found is None:
        raise invalid("at", "must be the number of an event, or two such as 12-15.")
    first, last = int(found[1]), int(found[2] or found[1])
    return range(first, last + 1)


# --- facets ----------------------------------------------------------------------------------


class Facet(NamedTuple):
    """One filter as links: `chosen` is what it is set to."""

    label: str
    links: list[Link]
    chosen: str


def facets(asked: Asked) -> tuple[Facet, list[Facet], int]:
    """Levels, which are exact; the others; and among how many of the newest records those were
    counted."""
    session = asked.session
    newest = session.ledger_head.seq
    counted = Span(0, newest + 1, backwards=True).first(FACET_RECORDS)
    words = reading.facets(session, counted)
    levels = reading.histogram(session.ledger_head).by_level()
    others = [
        Facet("Type", *_one_of(asked, "kind", words["kinds"])),
        Facet("Step", *_one_of(asked, "step", words["steps"])),
        Facet("Attempt", *_one_of(asked, "lease_epoch", words["epochs"])),
        Facet("Source", *_one_of(asked, "source", [("client", None), ("server", None)])),
    ]
    by_level = Facet("Level", list(_levels(asked, levels)), asked.filters.get("level", ""))
    return by_level, others, newest - counted.after


def _levels(asked: Asked, counted: dict[str, int]) -> Iterable[Link]:
    """Each switches one level on or off."""
    chosen = [word for word in asked.filters.get("level", "").split(",") if word]
    for level in LEVELS:
        others = [word for word in chosen if word != level]
        wanted = others if level in chosen else sorted([*chosen, level], key=LEVELS.index)
        url = asked.address({"level": ",".join(wanted) or None})
        yield Link(level, url, level in chosen, f"{counted[level]:,}")


def _one_of(
    asked: Asked, name: str, counted: Iterable[tuple[str, int | None]]
) -> tuple[list[Link], str]:
    """The one that is set leads back to all."""
    chosen = asked.filters.get(name, "")
    links = [
        Link(
            word,
            asked.address({name: None if word == chosen else word}),
            word == chosen,
            None if count is None else f"{count:,}",
        )
        for word, count in counted
    ]
    return links, chosen
