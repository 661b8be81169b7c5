"""Access decided once, as data: an action without a declared scope is denied to everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol, cast
from uuid import UUID

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from keeptrusts_runners.errors import MissingScope, OutsideSession, PermissionDenied
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import Scope

# One scope, or several of which any one is enough. An empty tuple asks for a valid token alone.
Requirement = Scope | tuple[Scope, ...]
AUTHENTICATED: Final[tuple[Scope, ...]] = ()


class Declared(Protocol):
    """What the permission reads from a view; ApiViewSet has it."""

    @property
    def scopes(self) -> Any: ...
    @property
    def session_token_actions(self) -> frozenset[str]: ...
    @property
    def action(self) -> str | None: ...
    @property
    def kwargs(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Demand:
    """What one request of a view asks of its bearer, for when it goes on without the view."""

    scopes: Any
    session_token_actions: frozenset[str]
    action: str | None
    kwargs: dict[str, Any]

    def __call__(self, principal: Principal) -> None:
        """Raises as `authorize` does."""
        authorize(principal, self)


def demand(view: Declared) -> Demand:
    return Demand(view.scopes, view.session_token_actions, view.action, view.kwargs)


def any_of(requirement: Requirement) -> tuple[Scope, ...]:
    return requirement if isinstance(requirement, tuple) else (requirement,)


class ScopePermission(BasePermission):
    """Raises MissingScope, OutsideSession or PermissionDenied, each of which says why."""

    def has_permission(self, request: Request, view: Any) -> bool:
        authorize(cast(Principal, request.user), view)
        return True


def authorize(principal: Principal, view: Declared) -> None:
    requirement = view.scopes.get(view.action)
    if requirement is None:
        raise PermissionDenied
    if principal.kind is PrincipalKind.SESSION:
        _require_own_session(principal, view)
    accepted = any_of(requirement)
    if accepted and not any(principal.has(scope) for scope in accepted):
        scope = accepted[0]
        raise MissingScope(f"This needs the scope {scope}.", scope=str(scope))


def _require_own_session(principal: Principal, view: Declared) -> None:
    session_id: UUID | None = view.kwargs.get("session_id")
    if view.action not in view.session_token_actions or session_id != principal.id:
        raise OutsideSession
