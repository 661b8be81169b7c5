"""What every page of the admin is built on: looking, across organizations, and changing nothing.

Reads go through the `forensics` database role, which can only read, so that a mistake here cannot
write. What is shown is put on the record of the organizations that it is of, before it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase

from keeptrusts_runners import ids
from keeptrusts_runners.evidence import audit
from keeptrusts_runners.evidence.audit_models import AuditRecord
from keeptrusts_runners.identity.models import Organization
from keeptrusts_runners.investigations import exports
from keeptrusts_runners.investigations.columns import list_address
from keeptrusts_runners.investigations.filters import When, id_range, within
from keeptrusts_runners.investigations.lists import CappedPaginator, KeysetList
from keeptrusts_runners.investigations.questions import (
    FORENSICS,
    MOST_FOUND,
    Investigation,
    Question,
)


class Forensic(admin.ModelAdmin):
    """Read-only.

    `id_prefix` is that of the model's TypeIDs. A search finds them and their beginnings, exact
    values of the columns `exact`, and what belongs to the object whose TypeID is a key of
    `belongs`; all have an index. `heavy` columns are left out of lists. Where `dated`, the primary
    key is a UUIDv7. `many` is how the start page calls
    them; there the `first` of a question comes first.
    """

    question: ClassVar[Question] = Question.WHO_IS_THERE
    investigations: ClassVar[tuple[Investigation, ...]] = ()
    many: ClassVar[str] = ""
    first: ClassVar[bool] = False
    id_prefix: ClassVar[str] = ""
    exact: ClassVar[tuple[str, ...]] = ()
    belongs: ClassVar[dict[str, str]] = {"org": "organization_id"}
    heavy: ClassVar[tuple[str, ...]] = ()
    dated: ClassVar[bool] = True
    exported: ClassVar[bool] = True

    actions: Any = ("export_csv", "export_ndjson")
    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    search_fields: ClassVar[Any] = ("pk",)
    # There is one order, that of the key, and the pages go along it.
    sortable_by: ClassVar[Any] = ()

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    # --- lists ---------------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """The column that lists go along."""
        return self.opts.pk.attname

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return (f"-{self.key}",)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetList]:
        return KeysetList

    def get_list_filter(self, request: HttpRequest) -> Any:
        return (*self.list_filter, When) if self.dated else self.list_filter

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(FORENSICS)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """See the class; what is none of these finds nothing."""
        text = search_term.strip()
        if not text:
            return queryset, False
        if (span := id_range(self.id_prefix, text)) is not None:
            return queryset.filter(within("pk", span)), False
        prefix = ids.prefix_of(text) or ""
        column = self.belongs.get(prefix)
        if column is not None and (span := id_range(prefix, text)) is not None:
            return queryset.filter(within(column, span)), False
        keys = [key for column in self.exact for key in self._with(column, text)]
        return queryset.filter(pk__in=keys), False

    def _with(self, column: str, text: str) -> Iterable[Any]:
        """The keys of rows with this value. The indexes begin with the organization: it is given,
        by a look at each, so that they serve."""
        found = self.model._default_manager.using(FORENSICS).filter(**{column: text})
        if any(field.attname == "organization_id" for field in self.opts.concrete_fields):
            found = found.filter(organization__in=Organization.objects.using(FORENSICS).all())
        return list(found.order_by().values_list("pk", flat=True)[:MOST_FOUND])

    @property
    def search_help_text(self) -> str:  # type: ignore[override]
        known = [f"{self.id_prefix}_… or its beginning" if self.id_prefix else "a whole UUID"]
        known += [f"an exact {name.replace('_', ' ')}" for name in self.exact]
        if self.belongs:
            known.append("what belongs to " + " ".join(f"{prefix}_…" for prefix in self.belongs))
        return "Finds " + ", ".join(known) + "."

    # --- on the record -------------------------------------------------------------------------

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"title": self.many, **(extra_context or {})}
        response = super().changelist_view(request, context)
        shown = getattr(response, "context_data", None) or {}
        if (listed := shown.get("cl")) is not None:
            self._tell(request, {organization_of(row) for row in listed.result_list}, request)
        return response

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"many": self.many, **(extra_context or {})}
        response = super().change_view(request, object_id, form_url, context)
        shown = getattr(response, "context_data", None) or {}
        if (row := shown.get("original")) is not None:
            self._tell(request, {organization_of(row)}, self.name_of(row))
        return response

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What the audit log has on it, in place of the admin's own notes, of which there are
        none."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        query = urlencode({"q": self.name_of(row)})
        return HttpResponseRedirect(list_address(AuditRecord, query))

    def name_of(self, row: Any) -> str:
        return ids.encode(self.id_prefix, row.pk) if self.id_prefix else str(row.pk)

    def listed(self, request: HttpRequest) -> str:
        """This list, as it is named on the record: the table, and how it was filtered."""
        query = request.META.get("QUERY_STRING", "")
        return self.opts.db_table + (f"?{query}" if query else "")

    def _tell(
        self, request: HttpRequest, organizations: set[UUID | None], shown: str | HttpRequest
    ) -> None:
        """What cannot be recorded is not shown."""
        subject = shown if isinstance(shown, str) else self.listed(shown)
        audit.record_staff(
            "staff.viewed", {each: {} for each in organizations if each is not None},
            staff=staff_of(request), subject=subject,
        )  # fmt: skip

    # --- exports -------------------------------------------------------------------------------

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) if self.exported else {}

    @admin.action(description=f"Export as CSV, at most {exports.MOST:,} rows")
    def export_csv(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        return self._export(request, queryset, exports.CSV)

    @admin.action(description=f"Export as NDJSON, at most {exports.MOST:,} rows")
    def export_ndjson(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        return self._export(request, queryset, exports.NDJSON)

    def _export(
        self, request: HttpRequest, queryset: QuerySet[Any], form: exports.Format
    ) -> HttpResponseBase:
        export = exports.Export(queryset.order_by(f"-{self.key}"), self.id_prefix)
        counts = export.by_organization()
        audit.record_staff(
            "staff.exported",
            {each: {"rows": rows, "format": form.name} for each, rows in counts.items()},
            staff=staff_of(request),
            subject=self.listed(request),
        )
        return exports.answer(export, form, self.opts.db_table)

    @admin.display(description="id")
    def public_id(self, obj: Any) -> str:
        return ids.encode(self.id_prefix, obj.pk)


def staff_of(request: HttpRequest) -> str:
    """The TypeID of whoever is signed in to the admin."""
    key = request.user.pk
    assert isinstance(key, UUID)
    return ids.encode("user", key)


def organization_of(row: Any) -> UUID | None:
    """Whose a row is; None for what belongs to no organization."""
    if isinstance(row, Organization):
        return row.id
    found: UUID | None = getattr(row, "organization_id", None)
    return found
