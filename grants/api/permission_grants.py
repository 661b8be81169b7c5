"""/v1/runners/sessions/{id}/permissions, and the organization's list of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from rest_framework.request import Request

from grants import access, approvals, offline, queries, renewals
from grants.filters import GrantFilters
from grants.models import GrantState, PermissionGrant
from grants.serializers import (
    ApproveIn,
    DenyIn,
    GrantAnswer,
    GrantIn,
    GrantOut,
    GrantTokenIn,
    GrantTokenOut,
    RenewIn,
    UseIn,
    UseOut,
    grant_out,
)
from keeptrusts_runners import clock
from keeptrusts_runners.api import etag
from keeptrusts_runners.api.examples import Example
from keeptrusts_runners.api.idempotency import idempotent
from keeptrusts_runners.api.lease_epoch import named_epoch
from keeptrusts_runners.api.pagination import page
from keeptrusts_runners.api.views import ApiViewSet
from keeptrusts_runners.errors import (
    AlreadyDecided,
    Conflict,
    LeaseEpochRequired,
    LeaseLost,
    LimitReached,
    NotFound,
    NotLeased,
    NotLeaseHolder,
    PermissionDenied,
    RequestChanged,
    RoleNotAllowed,
    SelfApproval,
)
from keeptrusts_runners.identity.scopes import Scope
from sessions import queries as session_queries

_NEWEST = ("-id",)
# Served by runner_grant_waiting.
_FIRST_TO_LAPSE = ("request_lapses_at", "id")
_FENCED = (NotLeased, LeaseLost, LeaseEpochRequired, NotLeaseHolder)


class PermissionGrantViewSet(ApiViewSet):
    """Temporary scoped access to protected operations, dead the moment the lease is."""

    tag = "Permission grants"
    scopes: ClassVar = {
        "list": Scope.READ,
        "list_all": Scope.READ,
        "retrieve": Scope.READ,
        "create": Scope.WRITE,
        "destroy": Scope.WRITE,
        "approve": Scope.APPROVE,
        "deny": Scope.APPROVE,
        "use": Scope.WRITE,
        "renew": Scope.WRITE,
        "token": Scope.WRITE,
    }
    session_token_actions: ClassVar = frozenset(
        {"list", "retrieve", "create", "use", "renew", "token"}
    )
    inputs: ClassVar = {
        "create": GrantIn,
        "approve": ApproveIn,
        "deny": DenyIn,
        "use": UseIn,
        "renew": RenewIn,
        "token": GrantTokenIn,
    }
    outputs: ClassVar = {
        "list": GrantOut,
        "list_all": GrantOut,
        "retrieve": GrantOut,
        "create": GrantAnswer,
        "approve": GrantOut,
        "deny": GrantOut,
        "use": UseOut,
        "renew": GrantAnswer,
        "token": GrantTokenOut,
    }
    filters: ClassVar = {"list": GrantFilters, "list_all": GrantFilters}
    paginated_actions: ClassVar = frozenset({"list", "list_all"})
    tagged_actions: ClassVar = frozenset({"retrieve", "destroy"})
    parameters: ClassVar = {
        name: {"Lease-Epoch": {"in": "header", "type": "integer", "minimum": 1}}
        for name in ("create", "destroy", "use", "renew", "token")
    }
    refuses: ClassVar = {
        "create": (Conflict, *_FENCED),
        "approve": (AlreadyDecided, RequestChanged, SelfApproval, RoleNotAllowed),
        "deny": (AlreadyDecided,),
        "destroy": _FENCED,
        "use": _FENCED,
        "renew": (Conflict, LimitReached, *_FENCED),
        "token": (Conflict, PermissionDenied, *_FENCED),
    }
    examples: ClassVar = {
        "create": (
            Example(
                "Reach one host for ten minutes",
                request={
                    "operation": "network.egress:packages.internal:443",
                    "reason": "Fetch the build's dependencies",
                    "ttl_seconds": 600,
                },
            ),
        )
    }

    def list(self, request: Request, session_id: UUID) -> HttpResponse:
        """List a session's permission grants, newest first."""
        session_queries.session(session_id, by=self.principal)
        return self._page(request, self.filtered(queries.grants(session_id)))

    def list_all(self, request: Request) -> HttpResponse:
        """List the organization's permission grants, newest first.

        `?state=requested` are those to decide, the first to lapse first.
        """
        rows = self.filtered(queries.grants_of_organization(self.organization_id))
        waiting = request.GET.get("state") == GrantState.REQUESTED
        return self._page(request, rows, _FIRST_TO_LAPSE if waiting else _NEWEST)

    def _page(
        self, request: Request, rows: QuerySet[PermissionGrant], order: Sequence[str] = _NEWEST
    ) -> HttpResponse:
        grants, next_cursor = page(rows, request, order=order)
        now = clock.now()
        items = [grant_out(grant, now) for grant in grants]
        return self.answer({"items": items, "next_cursor": next_cursor})

    @idempotent
    def create(self, request: Request, session_id: UUID) -> HttpResponse:
        """Request a permission grant, or issue it where the policy lets you.

        A person's grant without a matching rule is active at once, for an hour at most; one that
        executing code requests waits for its approvals.
        """
        fields = self.body()
        epoch = named_epoch(request, fields)
        fields.pop("lease_epoch", None)
        wanted = {"resource": "", "constraints": {}} | fields
        grant = access.request(session_id, wanted, by=self.principal, lease_epoch=epoch)
        answer = grant_out(grant, clock.now(), GrantAnswer)
        return self.answer(answer, 201, _tag(grant))

    def retrieve(self, request: Request, session_id: UUID, grant_id: UUID) -> HttpResponse:
        """Get one permission grant."""
        session_queries.session(session_id, by=self.principal)
        grant = queries.grants(session_id).filter(id=grant_id).first()
        if grant is None:
            raise NotFound
        return self._answer(grant)

    def destroy(self, request: Request, session_id: UUID, grant_id: UUID) -> HttpResponse:
        """Revoke a permission grant, or withdraw its request. The row stays."""
        access.revoke(
            session_id,
            grant_id,
            by=self.principal,
            lease_epoch=named_epoch(request),
            check=self._require_version,
        )
        return self.answer(status=204)

    def _require_version(self, grant: PermissionGrant) -> None:
        self.require_match(_tag(grant))

    def approve(self, request: Request, session_id: UUID, grant_id: UUID) -> HttpResponse:
        """Approve a request, as shown: `operation_digest` is the one that was read.

        Never one's own; `ttl_seconds` and `constraints` may narrow it.
        """
        grant = approvals.approve(session_id, grant_id, by=self.principal, **self.body())
        return self._answer(grant)

    def deny(self, request: Request, session_id: UUID, grant_id: UUID) -> HttpResponse:
        """Deny a request, with the reason."""
        comment = self.body()["comment"]
        grant = approvals.deny(session_id, grant_id, by=self.principal, comment=comment)
        return self._answer(grant)

    def use(self, request: Request, session_id: UUID, grant_id: UUID) -> HttpResponse:
        """Ask, and record, whether the protected operation may be done now."""
        fields = self.body()
        grant, allowed = access.use(
            session_id,
            grant_id,
            by=self.principal,
            target=fields.get("target", ""),
            lease_epoch=named_epoch(request, fields),
        )
        state = access.current_state(grant, clock.now())
        answer = {
            "id": grant.id,
            "allowed": allowed,
            "uses": grant.uses,
            "expires_at": grant.expires_at,
            "state": state,
            "desired_state": grant.session.desired_state,
        }
        return self.answer(UseOut.render(answer))

    def renew(self, request: Request, session_id: UUID, grant_id: UUID) -> HttpResponse:
        """Renew a grant that is in force, for `ttl_seconds` from now.

        Where the policy lets you have such a grant at once, the answer is the grant, which now
        lasts longer. Else it is a request that `renews` it: approved, it takes the grant's place.
        Neither lasts past `renewable_until`, which counts from the first activation, or past the
        lease.
        """
        fields = self.body()
        epoch = named_epoch(request, fields)
        fields.pop("lease_epoch", None)
        grant = renewals.renew(session_id, grant_id, by=self.principal, lease_epoch=epoch, **fields)
        return self.answer(grant_out(grant, clock.now(), GrantAnswer), tag=_tag(grant))

    def token(self, request: Request, session_id: UUID, grant_id: UUID) -> HttpResponse:
        """Get a signed token of a grant for an enforcement point that cannot ask.

        Only where the rule says `offline`, and never for a single use. Good for a minute at most,
        and never past the end of grant or lease; verified by the keys at /.well-known/jwks.json.
        """
        fields = self.body()
        issued = offline.issue(
            session_id,
            grant_id,
            audience=fields["audience"],
            by=self.principal,
            lease_epoch=named_epoch(request, fields),
        )
        return self.answer(GrantTokenOut.render(issued))

    def _answer(self, grant: PermissionGrant) -> HttpResponse:
        return self.answer(grant_out(grant, clock.now()), tag=_tag(grant))


def _tag(grant: PermissionGrant) -> str:
    return etag.strong(grant.id, grant.version)
