"""The principal behind a browser's session cookie: the same object that a token gives."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.db import connection
from django.http import HttpRequest

from keeptrusts_runners import ids
from keeptrusts_runners.errors import NotAuthenticated
from keeptrusts_runners.identity import preferences
from keeptrusts_runners.identity.models import User
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role

SESSION_KEY = "organization_id"


class OrganizationRole(NamedTuple):
    """One of a user's memberships."""

    organization_id: UUID
    name: str
    role: Role


def memberships(user: User) -> list[OrganizationRole]:
    """Every organization the user belongs to, oldest first; needs no scope."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM kt_memberships_of(%s)", [user.pk])
        return [OrganizationRole(row[0], row[1], Role(row[2])) for row in cursor.fetchall()]


def choose_organization(request: HttpRequest, organization_id: UUID) -> None:
    """Act in this organization from now on. The membership is checked on every request."""
    request.session[SESSION_KEY] = str(organization_id)


def principal_for(request: HttpRequest) -> Principal | None:
    """Who is signed in and where they act; None when nobody is, or nowhere.

    For the page the organization's name goes to `request.organization_name`, the user to
    `request.person`, and what that person prefers to `request.preferences`.
    """
    user = get_user(request)
    if not isinstance(user, User) or not user.is_active:
        return None
    chosen = request.session.get(SESSION_KEY)
    found = memberships(user)
    if chosen is not None:
        found = [membership for membership in found if str(membership.organization_id) == chosen]
    if not found or (chosen is None and len(found) > 1):
        return None
    membership = found[0]
    request.organization_name = membership.name  # type: ignore[attr-defined]
    request.preferences = preferences.of(user)  # type: ignore[attr-defined]
    request.person = user  # type: ignore[attr-defined]
    return Principal(
        kind=PrincipalKind.USER,
        id=user.pk,
        organization_id=membership.organization_id,
        scopes=ROLE_SCOPES[membership.role],
        role=membership.role,
        name=user.email,
        account=ids.encode("user", user.pk),
        owner_user_id=user.pk,
    )


@dataclass(frozen=True, slots=True)
class Cookie:
    """A browser's session in one organization, for what goes on after its request is over."""

    session_key: str
    organization_id: UUID

    def resolve(self) -> Principal:
        """Who it is now. Raises NotAuthenticated when it is signed out, or acts elsewhere."""
        request = HttpRequest()
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(self.session_key)
        principal = principal_for(request)
        if principal is None or principal.organization_id != self.organization_id:
            raise NotAuthenticated
        return principal
