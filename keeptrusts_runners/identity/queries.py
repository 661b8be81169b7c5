"""Composed reads of people and machines, for the pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from django.db.models import F, UUIDField, Value

from keeptrusts_runners import ids
from keeptrusts_runners.identity.models import ServiceAccount, User


class Actor(NamedTuple):
    """Whoever an `actor` column names. `owner_id` is the person behind a machine."""

    name: str
    owner_id: UUID | None = None


def actors(named: Iterable[str]) -> dict[str, Actor]:
    """The people and machines among these actors, in one query; others stay as they are written.

    A session's own writes (`sess_…#2`) and `system` have no name but themselves.
    """
    wanted: dict[str, dict[UUID, str]] = {"user": {}, "sa": {}}
    for text in named:
        prefix = ids.prefix_of(text)
        if prefix in wanted:
            wanted[prefix][ids.decode(prefix, text)] = text
    if not wanted["user"] and not wanted["sa"]:
        return {}
    nobody = Value(None, output_field=UUIDField())
    people = User.objects.filter(id__in=wanted["user"]).values_list("id", "email", nobody)
    machines = ServiceAccount.objects.filter(id__in=wanted["sa"]).values_list(
        "id", "name", F("owner_id")
    )
    written = wanted["user"] | wanted["sa"]
    return {written[key]: Actor(name, owner) for key, name, owner in people.union(machines)}


def spoken(actor: str, known: Mapping[str, Actor]) -> str:
    """An actor as people say it: a name, `session code, attempt 2`, or as it is written."""
    if found := known.get(actor):
        return found.name
    _, session, epoch = actor.partition("#")
    return f"session code, attempt {epoch}" if session else actor
