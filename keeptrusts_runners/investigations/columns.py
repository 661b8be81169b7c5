"""How values are shown in the admin: ids that lead on, JSON laid out, digests, small tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from keeptrusts_runners import ids

LAST = 20
NOTHING = "–"


def list_address(model: type[Model], query: str = "") -> str:
    """Of the admin's list of these, with this query string."""
    meta = model._meta
    address = reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")
    return f"{address}?{query}" if query else address


def address(model: type[Model], key: object) -> str:
    """Of one object's page in the admin."""
    meta = model._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[key])


def link(to: Model, text: str) -> SafeString:
    """To an object's page in the admin."""
    return format_html('<a href="{}">{}</a>', address(type(to), to.pk), text)


@cache
def _models() -> dict[str, type[Model]]:
    """Whose TypeIDs begin like this. What has a session's key is not the session."""
    return {
        prefix: model
        for model, page in admin.site._registry.items()
        if (prefix := getattr(page, "id_prefix", "")) and model._meta.pk.remote_field is None
    }


def address_of(text: str) -> str | None:
    """Where the object that a TypeID names is shown; None for anything else."""
    prefix = ids.prefix_of(text) or ""
    model = _models().get(prefix)
    if model is None:
        return None
    try:
        return address(model, ids.decode(prefix, text))
    except ValueError:
        return None


def subject(text: str) -> SafeString | str:
    """A TypeID, or who acted (`sess_…#3`), as a link where it leads somewhere."""
    to = address_of(text.partition("#")[0])
    return text or NOTHING if to is None else format_html('<a href="{}">{}</a>', to, text)


# --- columns of a list, and fields of an object ------------------------------------------------


def linked(field: str, prefix: str = "", description: str = "") -> Any:
    """A column that leads to the object behind a foreign key: by its id where `prefix` is given,
    else by its name, for which the list selects it along with the row."""

    @admin.display(description=description or field.replace("_", " "))
    def column(self: Any, obj: Any) -> Any:
        relation = obj._meta.get_field(field)
        key = getattr(obj, relation.attname)
        if key is None:
            return NOTHING
        text = ids.encode(prefix, key) if prefix else str(getattr(obj, field))
        return format_html('<a href="{}">{}</a>', address(relation.related_model, key), text)

    return column


def who(field: str, description: str = "") -> Any:
    """A column that holds a TypeID as text: who acted, or on what."""

    @admin.display(description=description or field.replace("_", " "))
    def column(self: Any, obj: Any) -> Any:
        return subject(getattr(obj, field))

    return column


def pretty(value: Any) -> SafeString:
    """JSON, laid out and escaped."""
    if value is None:
        return SafeString(NOTHING)
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return format_html('<pre tabindex="0">{}</pre>', text)


def as_json(field: str, description: str = "") -> Any:
    """A column with a JSON value."""

    @admin.display(description=description or field.replace("_", " "))
    def column(self: Any, obj: Any) -> SafeString:
        return pretty(getattr(obj, field))

    return column


def digest(value: Any) -> SafeString:
    return format_html("<code>{}</code>", NOTHING if value is None else bytes(value).hex())


def as_hex(field: str, description: str = "") -> Any:
    """A column with a digest."""

    @admin.display(description=description or field.replace("_", " "))
    def column(self: Any, obj: Any) -> SafeString:
        return digest(getattr(obj, field))

    return column


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], more: str = ""
) -> SafeString:
    """What hangs on an object, the newest first; `more` is the address of all of it."""
    found = list(rows)
    if not found:
        return SafeString("None")
    heads = format_html_join("", '<th scope="col">{}</th>', ((each,) for each in head))
    body = format_html_join(
        "",
        "<tr>{}</tr>",
        ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in found),
    )
    return format_html(
        '<div class="beside" tabindex="0" role="region" aria-label="{0}"><table>'
        "<thead><tr>{1}</tr></thead><tbody>{2}</tbody></table></div>{3}",
        caption,
        heads,
        body,
        format_html('<p><a href="{}">All of them</a></p>', more) if more else "",
    )
