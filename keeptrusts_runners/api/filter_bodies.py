"""A list's filters as an object in a body, for actions on all that a filter finds.

The filter set of the list is the only declaration: a parameter that is added there is a member
here. What narrows a list may be left out; what chooses objects to act on must say something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Model, QuerySet
from rest_framework.exceptions import ErrorDetail, ValidationError

from keeptrusts_runners.api.filters import StrictFilterSet
from keeptrusts_runners.api.inputs import InputShape
from keeptrusts_runners.errors import FieldError, Invalid

_NOTHING = ErrorDetail("Name at least one member: nobody means everything.", code="empty")
_EMPTY = ErrorDetail("This must not be empty.", code="empty")


class FilterIn(InputShape):
    """Base of the shapes that `shape_of` makes."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """An empty member would be passed over like one that is not there, and find everything."""
        if not attrs:
            raise ValidationError([_NOTHING])
        if empty := [name for name, value in attrs.items() if value in ([], {})]:
            raise ValidationError({name: [_EMPTY] for name in empty})
        return attrs


def shape_of(filters: type[StrictFilterSet]) -> type[FilterIn]:
    """The input shape whose members are the parameters of the filter set."""
    members = {name: each.in_body() for name, each in filters.base_filters.items()}
    return type(f"{filters.__name__}In", (FilterIn,), {"__doc__": filters.__doc__, **members})


def narrow(
    filters: type[StrictFilterSet], values: Mapping[str, Any], queryset: QuerySet[Any]
) -> QuerySet[Any]:
    """What the filter finds; `values` are those of the shape."""
    bound = filters(queryset=queryset)
    for name, value in values.items():
        queryset = bound.filters[name].filter(queryset, value)
    return queryset


def require_sense(
    filters: type[StrictFilterSet],
    values: Mapping[str, Any],
    *,
    organization_id: UUID,
    now: datetime,
    at: str = "/filter",
) -> None:
    """Raises Invalid for an id that is none of the organization's, and for an instant to come: the
    one finds nothing and the other everything, and neither is what was meant."""
    errors = []
    for name, value in values.items():
        if isinstance(value, datetime) and value > now:
            detail = "This is yet to come; leave it out to set no bound."
            errors.append(FieldError(f"{at}/{name}", "in_the_future", detail))
        elif model := _refers_to(filters, name):
            unknown = _unknown(model, value, organization_id, f"{at}/{name}")
            errors += [FieldError(each, "unknown_reference", "No such object.") for each in unknown]
    if errors:
        raise Invalid(errors=errors)


def _refers_to(filters: type[StrictFilterSet], name: str) -> type[Model] | None:
    """Whose ids they are: another object's, or those of what the filter finds."""
    model = filters.Meta.model
    try:
        column = model._meta.get_field(filters.base_filters[name].field_name)
    except FieldDoesNotExist:
        return None
    if getattr(column, "primary_key", False):
        return cast(type[Model], model)
    return cast(type[Model] | None, column.related_model)


def _unknown(
    model: type[Model], value: UUID | Sequence[UUID], organization_id: UUID, at: str
) -> list[str]:
    """The pointers to the ids that are none of the organization's."""
    keys = {at: value} if isinstance(value, UUID) else {f"{at}/{n}": k for n, k in enumerate(value)}
    own = model._default_manager.filter(organization_id=organization_id)
    found = set(own.filter(pk__in=keys.values()).values_list("pk", flat=True))
    return [pointer for pointer, key in keys.items() if key not in found]
