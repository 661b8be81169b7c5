"""Filters of the admin's lists: each by an index, none that asks the table what there is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from keeptrusts_runners import clock, ids

Found = QuerySet[Any]


def id_range(prefix: str, text: str) -> tuple[UUID, UUID] | None:
    """The least and the greatest id that begin like this; None for what begins no id."""
    try:
        exact = UUID(text)
    except ValueError:
        pass
    else:
        return exact, exact
    head, _, start = text.rpartition("_")
    if not prefix or head != prefix or not 0 < len(start) <= 26:
        return None
    try:
        return (
            ids.decode(prefix, f"{prefix}_{start.ljust(26, '0')}"),
            ids.decode(prefix, f"{prefix}_{start.ljust(26, 'z')}"),
        )
    except ValueError:
        return None


def within(column: str, span: tuple[UUID, UUID]) -> Q:
    """Of foreign keys too, which know no `range`."""
    return Q((f"{column}__gte", span[0]), (f"{column}__lte", span[1]))


def one_of(column: str, values: Iterable[str], title: str = "") -> type[admin.SimpleListFilter]:
    """One of these values. Django's own filter would read the whole table to know them."""
    choices = [(value, value.replace("_", " ")) for value in map(str, values)]

    class OneOf(admin.SimpleListFilter):
        parameter_name = column

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            return choices

        def queryset(self, request: HttpRequest, queryset: Found) -> Found:
            wanted = self.value()
            return queryset if wanted is None else queryset.filter(**{column: wanted})

    OneOf.title = title or column.replace("_", " ")
    return OneOf


class Asked(admin.SimpleListFilter):
    """A filter that somebody types or follows a link to."""

    template = "admin/asked_filter.html"
    example = ""

    def __init__(self, request: HttpRequest, *args: Any) -> None:
        super().__init__(request, *args)
        self.request = request

    def has_output(self) -> bool:
        return True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return []

    @property
    def others(self) -> list[tuple[str, str]]:
        """What else the address says, to be kept when the form is sent."""
        ours = (self.parameter_name, "older", "newer")
        given = self.request.GET.items()
        return [(name, str(value)) for name, value in given if name not in ours]


class When(Asked):
    """By the instant that an id carries, so that it is a range of the primary key."""

    title = "when"
    parameter_name = "when"
    example = "2026-11-24, or two instants in UTC: 2026-11-24T10:00..2026-11-24T11:30"
    spans = {
        "1h": ("Past hour", timedelta(hours=1)),
        "24h": ("Past 24 hours", timedelta(days=1)),
        "7d": ("Past 7 days", timedelta(days=7)),
        "30d": ("Past 30 days", timedelta(days=30)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, title) for value, (title, _) in self.spans.items()]

    def queryset(self, request: HttpRequest, queryset: Found) -> Found:
        given = self.value()
        if given is None:
            return queryset
        if (span := self.spans.get(given)) is not None:
            return queryset.filter(pk__gte=ids.floor(clock.now() - span[1]))
        try:
            since, until = window(given)
        except (ValueError, OverflowError):
            messages.error(request, f"“{given}” is no window. Write {self.example}.")
            return queryset.none()
        return queryset.filter(pk__gte=ids.floor(since), pk__lt=ids.floor(until))


def window(text: str) -> tuple[datetime, datetime]:
    """`2026-11-24` is that day, `a..b` from instant to instant; UTC where no zone is named. Raises
    ValueError, OverflowError."""
    first, between, last = text.strip().partition("..")
    since = _instant(first)
    until = _instant(last) if between else since + timedelta(days=1)
    if not datetime(1970, 1, 1, tzinfo=UTC) <= since < until:
        raise ValueError(text)
    return since, until


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text.strip())
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class OfSession(Asked):
    """`?session=sess_…`, the beginning of one, or its UUID: how a session's page leads here."""

    title = "session"
    parameter_name = "session"
    example = "sess_…"
    column = "session_id"

    def queryset(self, request: HttpRequest, queryset: Found) -> Found:
        if (given := self.value()) is None:
            return queryset
        span = id_range("sess", given.strip())
        return queryset.none() if span is None else queryset.filter(within(self.column, span))


class OfOneSession(OfSession):
    """Without a session there is nothing to see: no list runs through every partition."""

    def queryset(self, request: HttpRequest, queryset: Found) -> Found:
        span = id_range("sess", (self.value() or "").strip())
        if span is None or span[0] != span[1]:
            return queryset.none()
        return queryset.filter(session_id=span[0])
