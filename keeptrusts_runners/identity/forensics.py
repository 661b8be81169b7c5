"""What every page of the admin is built on: looking, across organizations, and changing nothing.

Reads go through the `forensics` database role, which can only read, so that a mistake here cannot
write. Lists cost the same however large their table is: they are ordered by the primary key,
searched by exact ids or their beginnings, and counted up to a cap.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar, cast
from uuid import UUID

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from keeptrusts_runners import ids
from keeptrusts_runners.identity.models import Organization
from keeptrusts_runners.identity.signals import staff_looked

FORENSICS = "forensics"
COUNT_CAP = 10_000

_ESTIMATE = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass(%s)"


class CappedPaginator(Paginator):
    """Exact up to a cap; beyond it the table's estimate, or the cap where a filter is set."""

    @cached_property
    def count(self) -> int:
        found = cast(QuerySet[Any], self.object_list)
        counted = found.order_by()[: COUNT_CAP + 1].count()
        if counted <= COUNT_CAP or found.query.where:
            return counted
        with connections[found.db].cursor() as cursor:
            cursor.execute(_ESTIMATE, [found.model._meta.db_table])
            return max(COUNT_CAP, int(cursor.fetchone()[0]))


class Forensic(admin.ModelAdmin):
    """Read-only. `id_prefix` is that of the model's TypeIDs; `exact` are columns that a search
    may also name whole, each with an index."""

    id_prefix: ClassVar[str] = ""
    exact: ClassVar[tuple[str, ...]] = ()

    actions = None
    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    ordering: ClassVar[Any] = ("-id",)
    search_fields: ClassVar[Any] = ("id",)
    sortable_by: ClassVar[Any] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(FORENSICS)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """An id, the beginning of one, or an exact value of an indexed column."""
        text = search_term.strip()
        if not text:
            return queryset, False
        if (span := id_range(self.id_prefix, text)) is not None:
            return queryset.filter(pk__range=span), False
        found = queryset.none()
        for column in self.exact:
            found |= queryset.filter(**{column: text})
        return found, False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        shown = getattr(response, "context_data", None) or {}
        if (listed := shown.get("cl")) is not None:
            query = request.META.get("QUERY_STRING", "")
            subject = self.opts.db_table + (f"?{query}" if query else "")
            _tell(request, {_organization(row) for row in listed.result_list}, subject)
        return response

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        shown = getattr(response, "context_data", None) or {}
        if (row := shown.get("original")) is not None:
            name = ids.encode(self.id_prefix, row.pk) if self.id_prefix else str(row.pk)
            _tell(request, {_organization(row)}, name)
        return response

    @property
    def search_help_text(self) -> str:  # type: ignore[override]
        known = [f"{self.id_prefix}_… or its beginning"] if self.id_prefix else ["a whole UUID"]
        return "Finds " + " or ".join([*known, *(f"an exact {name}" for name in self.exact)]) + "."

    @admin.display(description="id")
    def public_id(self, obj: Any) -> str:
        return ids.encode(self.id_prefix, obj.pk)


def _organization(row: Any) -> UUID | None:
    """Whose a row is; None for what belongs to no organization."""
    if isinstance(row, Organization):
        return row.id
    found: UUID | None = getattr(row, "organization_id", None)
    return found


def _tell(request: HttpRequest, organization_ids: set[UUID | None], subject: str) -> None:
    """Each look across organizations is on the record of those that were looked at. What cannot be
    recorded is not shown."""
    staff_looked.send(
        sender=Forensic,
        user=request.user,
        organization_ids=sorted(organization_ids - {None}, key=str),
        subject=subject,
    )


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


def link(to: Model, text: str) -> SafeString:
    """To an object's page in the admin."""
    meta = to._meta
    address = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[to.pk])
    return format_html('<a href="{}">{}</a>', address, text)


def linked(field: str, prefix: str, description: str = "") -> Any:
    """A column that leads to the object behind a foreign key; select it along with the row."""

    @admin.display(description=description or field.replace("_", " "))
    def column(self: Any, obj: Any) -> Any:
        to = getattr(obj, field)
        return "–" if to is None else link(to, ids.encode(prefix, to.pk) if prefix else str(to))

    return column


def as_json(field: str, description: str = "") -> Any:
    """A column with a JSON value, laid out and escaped."""

    @admin.display(description=description or field.replace("_", " "))
    def column(self: Any, obj: Any) -> SafeString:
        text = json.dumps(getattr(obj, field), indent=2, ensure_ascii=False, default=str)
        return format_html("<pre>{}</pre>", text)

    return column


def as_hex(field: str, description: str = "") -> Any:
    """A column with a digest."""

    @admin.display(description=description or field.replace("_", " "))
    def column(self: Any, obj: Any) -> SafeString:
        value = getattr(obj, field)
        return format_html("<code>{}</code>", "–" if value is None else bytes(value).hex())

    return column
