"""Where the ids of service accounts and members lead."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse

from keeptrusts_runners.identity.models import Membership, ServiceAccount
from keeptrusts_runners.identity.principal import Principal
from keeptrusts_runners.identity.scopes import Scope


def service_account(account_id: UUID, by: Principal) -> str | None:
    found = ServiceAccount.objects.filter(organization_id=by.organization_id, id=account_id)
    known = by.has(Scope.MEMBERS) and found.exists()
    return reverse("service_account", args=[account_id]) if known else None


def member(user_id: UUID, by: Principal) -> str | None:
    found = Membership.objects.filter(organization_id=by.organization_id, user_id=user_id)
    known = by.has(Scope.MEMBERS) and found.exists()
    return reverse("member", args=[user_id]) if known else None
