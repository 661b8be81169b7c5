"""Lists that cost the same however large their table is, and however deep somebody has gone.

They are in the order of a key with an index. The next page begins where this one ends, by the key
and without OFFSET; a count stops at COUNT_CAP.
"""

from __future__ import annotations

from typing import Any, cast

import psycopg
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import OperationalError, connections, transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from keeptrusts_runners.investigations.questions import Investigation, named

COUNT_CAP = 10_000
# A number is good to have, and nothing to wait for.
COUNT_MILLISECONDS = 200
FIND, OLDER, NEWER = "find", "older", "newer"
_POSITIONS = (OLDER, NEWER)

# The catalogue's own estimate: no row is read.
_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)"


class CappedPaginator(Paginator):
    """Counts up to a cap, and for so long; `said` is the whole truth about the number."""

    @cached_property
    def _counted(self) -> int | None:
        """At most one beyond the cap; None where few of many match, and time ran out."""
        found = cast(QuerySet[Any], self.object_list)
        try:
            with transaction.atomic(using=found.db):
                with connections[found.db].cursor() as cursor:
                    cursor.execute(f"SET LOCAL statement_timeout = {COUNT_MILLISECONDS}")
                return found.order_by()[: COUNT_CAP + 1].count()
        except OperationalError as error:
            if not isinstance(error.__cause__, psycopg.errors.QueryCanceled):
                raise
            return None

    @cached_property
    def count(self) -> int:
        return COUNT_CAP + 1 if self._counted is None else self._counted

    @cached_property
    def said(self) -> str:
        """`412 rows`, `10,000+ rows`, or of a whole table `about 1,204,000 rows`."""
        if self._counted is None:
            return "Too many rows to count in time"
        if self.count <= COUNT_CAP:
            return f"{self.count:,} {'row' if self.count == 1 else 'rows'}"
        found = cast(QuerySet[Any], self.object_list)
        if found.query.where or (estimate := self._estimate(found)) <= COUNT_CAP:
            return f"{COUNT_CAP:,}+ rows"
        return f"about {estimate:,} rows"

    @staticmethod
    def _estimate(found: QuerySet[Any]) -> int:
        with connections[found.db].cursor() as cursor:
            cursor.execute(_ESTIMATE, [found.model._meta.db_table])
            return int(cursor.fetchone()[0])


class KeysetList(ChangeList):
    """A page of rows before or after a key, among what filters, search and a named investigation
    leave over."""

    model_admin: Any  # a Forensic
    investigation: Investigation | None
    has_newer: bool
    has_older: bool

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> QuerySet[Any]:
        # Other filters and searches begin at their first page.
        for position in _POSITIONS:
            self.params.pop(position, None)
            self.filter_params.pop(position, None)
        found = super().get_queryset(request, *args, **kwargs).defer(*self.model_admin.heavy)
        self.investigation = named(request.GET.get(FIND), self.model_admin.investigations)
        if self.investigation is not None:
            found = found.filter(pk__in=self.investigation.found())
        return found

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        found = super().get_filters_params(params)
        return {name: value for name, value in found.items() if name != FIND}

    def get_results(self, request: HttpRequest) -> None:
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)
        self.result_count = self.paginator.count
        self.full_result_count, self.show_full_result_count = None, False
        self.show_admin_actions = True
        # What the templates of Django ask to draw numbered pages.
        self.can_show_all = self.multi_page = False
        self.result_list = self._page(request)

    def _page(self, request: HttpRequest) -> list[Any]:
        key, many = self.model_admin.key, self.list_per_page
        older, newer = (self._position(request, name) for name in _POSITIONS)
        if newer is not None:
            after = self.queryset.filter(**{f"{key}__gt": newer}).order_by(key)
            rows = list(after[: many + 1])
            self.has_newer, self.has_older = len(rows) > many, True
            return rows[:many][::-1]
        before = self.queryset.order_by(f"-{key}")
        if older is not None:
            before = before.filter(**{f"{key}__lt": older})
        rows = list(before[: many + 1])
        self.has_newer, self.has_older = older is not None, len(rows) > many
        return rows[:many]

    def _position(self, request: HttpRequest, name: str) -> Any:
        """The key that a page begins behind; None for what is none."""
        field: Any = self.opts.get_field(self.model_admin.key)
        field = field.target_field if field.remote_field else field
        try:
            return field.to_python(request.GET[name])
        except (KeyError, ValidationError):
            return None

    @property
    def newest_link(self) -> str:
        return self.get_query_string()

    @property
    def without_query(self) -> str:
        return self.get_query_string({SEARCH_VAR: None})

    @property
    def newer_link(self) -> str:
        return self._link(NEWER, 0)

    @property
    def older_link(self) -> str:
        return self._link(OLDER, -1)

    def _link(self, name: str, row: int) -> str:
        if not self.result_list:
            return self.newest_link
        return self.get_query_string({name: getattr(self.result_list[row], self.model_admin.key)})
