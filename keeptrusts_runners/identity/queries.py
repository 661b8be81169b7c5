"""Composed reads of people and machines, for the pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from uuid import UUID

from django.db.models import F, Prefetch, Q, QuerySet, UUIDField, Value

from keeptrusts_runners import ids
from keeptrusts_runners.clock import DatabaseNow
from keeptrusts_runners.errors import NotFound
from keeptrusts_runners.identity.models import (
    Membership,
    ServiceAccount,
    ServiceAccountSecret,
    User,
)
from keeptrusts_runners.identity.scopes import Role


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


ADMINS_NAMED = 5


def admins(organization_id: UUID) -> list[str]:
    """The addresses of those who give roles, at most ADMINS_NAMED of them, the first first."""
    found = Membership.objects.filter(organization_id=organization_id, role=Role.ADMIN)
    active = found.filter(user__is_active=True).order_by("id")
    return list(active.values_list("user__email", flat=True)[:ADMINS_NAMED])


def actor_named(text: str, organization_id: UUID) -> str | None:
    """The actor of this e-mail address, or of this name among the organization's machines; None
    if there is none."""
    person = User.objects.filter(email=text.strip().lower()).values_list("id", flat=True).first()
    if person is not None:
        return ids.encode("user", person)
    machines = ServiceAccount.objects.filter(organization_id=organization_id, name=text.strip())
    machine = machines.order_by("-id").values_list("id", flat=True).first()
    return ids.encode("sa", machine) if machine is not None else None


def members(organization_id: UUID) -> QuerySet[Membership]:
    """With the people, the first first."""
    found = Membership.objects.filter(organization_id=organization_id)
    return found.select_related("user").order_by("id")


def member(user_id: UUID, organization_id: UUID) -> Membership:
    """Raises NotFound."""
    found = members(organization_id).filter(user_id=user_id).first()
    if found is None:
        raise NotFound
    return found


def is_last_admin(found: Membership) -> bool:
    """Whether nobody could give roles any more without this member."""
    others = Membership.objects.filter(organization_id=found.organization_id, role=Role.ADMIN)
    others = others.filter(user__is_active=True).exclude(id=found.id)
    return found.role == Role.ADMIN and not others.exists()


def service_accounts(organization_id: UUID) -> QuerySet[ServiceAccount]:
    """With owners, and the secrets in force first to last."""
    in_force = ServiceAccountSecret.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=DatabaseNow())
    )
    found = ServiceAccount.objects.filter(organization_id=organization_id)
    secrets = Prefetch("secrets", in_force.order_by("id"))
    return found.select_related("owner").prefetch_related(secrets)


def service_account(account_id: UUID, organization_id: UUID) -> ServiceAccount:
    """Raises NotFound."""
    found = service_accounts(organization_id).filter(id=account_id).first()
    if found is None:
        raise NotFound
    return found
