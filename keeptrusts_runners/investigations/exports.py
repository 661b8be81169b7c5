"""Rows of the admin as files: NDJSON and CSV, streamed, at most MOST of them.

Which rows is decided and put on record first; then they are read a chunk at a time.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.contrib import admin
from django.db.models import BinaryField, Field, JSONField, Model, QuerySet
from django.http import StreamingHttpResponse

from keeptrusts_runners import clock, ids
from keeptrusts_runners.identity.models import Organization

MOST = 10_000
_CHUNK = 500
# A salt leaves the database only with its record's bytes, in a bundle.
_PRIVATE = frozenset({"password", "last_login", "salt"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Export:
    """The first MOST rows of a list, as they are now."""

    def __init__(self, found: QuerySet[Any], id_prefix: str = "") -> None:
        self.model, self._found = found.model, found.select_related(None).defer(None)
        self._prefix = id_prefix
        owner = "pk" if self.model is Organization else "organization_id"
        known = {field.attname for field in self.model._meta.concrete_fields} | {"pk"}
        columns = ("pk", owner) if owner in known else ("pk",)
        self._rows: list[tuple[Any, ...]] = list(self._found.values_list(*columns)[: MOST + 1])
        self.cut = len(self._rows) > MOST
        del self._rows[MOST:]

    def by_organization(self) -> dict[UUID, int]:
        """How many rows each organization has in it."""
        return dict(Counter(row[1] for row in self._rows if len(row) > 1))

    @property
    def fields(self) -> list[Field]:
        found = self.model._meta.concrete_fields
        return [each for each in found if each.name not in _PRIVATE]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        keys = [row[0] for row in self._rows]
        values = [(each.attname, _reader(each, self._prefix)) for each in self.fields]
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            # With the list's own conditions: of events they name the session, and so the partition.
            found = {row.pk: row for row in self._found.order_by().filter(pk__in=chunk)}
            for key in chunk:
                if (row := found.get(key)) is not None:
                    yield {name: read(getattr(row, name)) for name, read in values}


def _reader(field: Field, id_prefix: str) -> Callable[[Any], Any]:
    """How a column's values are written: ids as TypeIDs, instants in UTC, bytes in hex."""
    prefix = id_prefix if field.primary_key and not field.remote_field else _prefix_of(field)
    if prefix:
        return lambda value: value and ids.encode(prefix, value)
    if isinstance(field, BinaryField):
        return _parsed if field.name == "body" else lambda value: value and bytes(value).hex()
    if isinstance(field, JSONField):
        return lambda value: value
    return _plain


def _prefix_of(field: Field) -> str:
    if field.remote_field is None:
        return ""
    page = admin.site._registry.get(cast("type[Model]", field.related_model))
    return getattr(page, "id_prefix", "")


def _parsed(value: Any) -> Any:
    return None if value is None else json.loads(bytes(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return clock.rfc3339(value)
    if isinstance(value, UUID):
        return str(value)
    return [_plain(each) for each in value] if isinstance(value, list) else value


# --- formats -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    media_type: str
    lines: Callable[[Export], Iterable[str]]


def _ndjson(export: Export) -> Iterator[str]:
    for row in export:
        yield json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n"
    if export.cut:
        yield json.dumps({"truncated_at": MOST}) + "\n"


class _Echo:
    """What csv writes into: it hands the line back."""

    def write(self, line: str) -> str:
        return line


def _csv(export: Export) -> Iterator[str]:
    write = csv.writer(_Echo()).writerow
    yield str(write([field.attname for field in export.fields]))
    for row in export:
        yield str(write([cell(value) for value in row.values()]))
    if export.cut:
        yield str(write([f"Cut off at {MOST} rows"]))


def cell(value: Any) -> str:
    """As text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text.startswith(_FORMULA) else text


NDJSON = Format("ndjson", "application/x-ndjson", _ndjson)
CSV = Format("csv", "text/csv; charset=utf-8", _csv)


def answer(export: Export, form: Format, name: str) -> StreamingHttpResponse:
    """As a download. Whether it was cut off at MOST rows, its last line says."""
    response = StreamingHttpResponse(form.lines(export), content_type=form.media_type)
    response["Content-Disposition"] = f'attachment; filename="{name}.{form.name}"'
    response["Cache-Control"] = "private, no-store"
    return response
