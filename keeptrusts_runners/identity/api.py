"""/v1/auth/whoami, /v1/members and /v1/service-accounts."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from keeptrusts_runners.api import etag
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.pagination import list_answer, page
from keeptrusts_runners.api.permissions import AUTHENTICATED
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import AlreadyCreated, AlreadyExists, NotFound, unknown_reference
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import Membership, ServiceAccount, User
from keeptrusts_runners.identity.scopes import Scope
from keeptrusts_runners.identity.serializers import (
    MemberIn,
    MemberOut,
    RoleIn,
    RotateIn,
    ServiceAccountIn,
    ServiceAccountOut,
    ServiceAccountWithSecretOut,
    WhoAmIOut,
)


class WhoAmIViewSet(ApiViewSet):
    """Who the bearer is."""

    tag = "Identity"
    scopes: ClassVar = {"retrieve": AUTHENTICATED}
    outputs: ClassVar = {"retrieve": WhoAmIOut}

    def retrieve(self, request: Request) -> HttpResponse:
        """Say who this token acts as, where, and with which scopes."""
        principal = self.principal
        return self.answer(
            WhoAmIOut.render(
                {
                    "principal_type": principal.kind.value,
                    "id": principal.actor.partition("#")[0],
                    "name": principal.name,
                    "organization": principal.organization_id,
                    "role": principal.role.value if principal.role else None,
                    "scopes": sorted(principal.scopes),
                    "lease_epoch": principal.lease_epoch,
                }
            )
        )


class MemberViewSet(ApiViewSet):
    """People of the organization and their roles."""

    tag = "Identity"
    scopes: ClassVar = dict.fromkeys(
        ("list", "create", "retrieve", "amend", "destroy"), Scope.MEMBERS
    )
    inputs: ClassVar = {"create": MemberIn, "amend": RoleIn}
    outputs: ClassVar = dict.fromkeys(("list", "create", "retrieve", "amend"), MemberOut)
    tagged_actions: ClassVar = frozenset({"retrieve", "amend", "destroy"})
    refuses: ClassVar = {"create": (AlreadyExists,)}

    def list(self, request: Request) -> HttpResponse:
        """List the organization's members."""
        rows = Membership.objects.filter(organization_id=self.organization_id)
        return self.answer(list_answer(*page(rows.select_related("user"), request), MemberOut))

    @idempotent
    def create(self, request: Request) -> HttpResponse:
        """Give a user a role in the organization."""
        body = self.body()
        user = User.objects.filter(email=body["email"].lower()).first()
        if user is None:
            raise unknown_reference("/email", "No user has this address.")
        made = accounts.add_member(self.organization_id, user, body["role"])
        made.refresh_from_db(fields=["created_at"])
        return self.answer(MemberOut.render(made), 201)

    def retrieve(self, request: Request, user_id: UUID) -> HttpResponse:
        """Get one member."""
        found = self._member(user_id)
        return self.answer(MemberOut.render(found), tag=_member_tag(found))

    def amend(self, request: Request, user_id: UUID) -> HttpResponse:
        """Change a member's role; it counts from their next request."""
        self.require_match(_member_tag(self._member(user_id, lock=True)))
        changed = accounts.change_role(self.organization_id, user_id, self.body()["role"])
        return self.answer(MemberOut.render(changed), tag=_member_tag(changed))

    def destroy(self, request: Request, user_id: UUID) -> HttpResponse:
        """Remove a member; their access ends with their next request."""
        self.require_match(_member_tag(self._member(user_id, lock=True)))
        accounts.remove_member(self.organization_id, user_id)
        return self.answer(status=204)

    def _member(self, user_id: UUID, *, lock: bool = False) -> Membership:
        rows = Membership.objects.filter(organization_id=self.organization_id, user_id=user_id)
        # Without the user, who belongs to no organization and is not ours to lock.
        rows = rows.select_for_update() if lock else rows.select_related("user")
        found = rows.first()
        if found is None:
            raise NotFound
        return found


def _member_tag(member: Membership) -> str:
    return etag.strong(member.id, member.role)


class ServiceAccountViewSet(ApiViewSet):
    """Machines and their rotating secrets."""

    tag = "Identity"
    scopes: ClassVar = dict.fromkeys(
        ("list", "create", "retrieve", "rotate", "destroy"), Scope.MEMBERS
    )
    inputs: ClassVar = {"create": ServiceAccountIn, "rotate": RotateIn}
    outputs: ClassVar = {
        "list": ServiceAccountOut,
        "create": ServiceAccountWithSecretOut,
        "retrieve": ServiceAccountOut,
        "rotate": ServiceAccountWithSecretOut,
    }
    statuses: ClassVar = {"rotate": 201}
    tagged_actions: ClassVar = frozenset({"retrieve", "destroy"})
    refuses: ClassVar = {"create": (AlreadyExists, AlreadyCreated), "rotate": (AlreadyCreated,)}

    def list(self, request: Request) -> HttpResponse:
        """List the organization's service accounts."""
        rows = ServiceAccount.objects.filter(organization_id=self.organization_id)
        return self.answer(list_answer(*page(rows, request), ServiceAccountOut))

    @idempotent(credentials=True)
    def create(self, request: Request) -> HttpResponse:
        """Create a service account. Its secret is in this answer and never again."""
        body = self.body()
        made, secret = accounts.create_service_account(
            self.organization_id, body["name"], body["role"], owner_id=body.get("owner_user_id")
        )
        made.refresh_from_db(fields=["created_at"])
        answer = ServiceAccountOut.render(made) | {"client_secret": secret}
        return self.answer(answer, 201)

    def retrieve(self, request: Request, service_account_id: UUID) -> HttpResponse:
        """Get one service account."""
        found = self._account(service_account_id)
        return self.answer(ServiceAccountOut.render(found), tag=_account_tag(found))

    @idempotent(credentials=True)
    def rotate(self, request: Request, service_account_id: UUID) -> HttpResponse:
        """Add a secret; those before it stay good for `keep_old_seconds`, a day unless said."""
        keep = timedelta(seconds=self.body().get("keep_old_seconds", 24 * 3600))
        account, secret = accounts.rotate_secret(
            self.organization_id, service_account_id, keep_old_for=keep
        )
        return self.answer(ServiceAccountOut.render(account) | {"client_secret": secret}, 201)

    def destroy(self, request: Request, service_account_id: UUID) -> HttpResponse:
        """Revoke a service account: its tokens, and its sessions' tokens, are dead at once."""
        self.require_match(_account_tag(self._account(service_account_id, lock=True)))
        accounts.revoke_service_account(self.organization_id, service_account_id)
        return self.answer(status=204)

    def _account(self, account_id: UUID, *, lock: bool = False) -> ServiceAccount:
        rows = ServiceAccount.objects.filter(organization_id=self.organization_id, id=account_id)
        found = (rows.select_for_update() if lock else rows).first()
        if found is None:
            raise NotFound
        return found


def _account_tag(account: ServiceAccount) -> str:
    return etag.strong(account.id, account.revoked_at)
