"""The frozen answer to "who acts?", the same for the API, the pages and the commands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from keeptrusts_runners import ids
from keeptrusts_runners.errors import MissingScope, OutsideSession
from keeptrusts_runners.identity.scopes import Role, Scope


class PrincipalKind(StrEnum):
    USER = "user"
    SERVICE_ACCOUNT = "service_account"
    SESSION = "session"
    SYSTEM = "system"


_PREFIX = {
    PrincipalKind.USER: "user",
    PrincipalKind.SERVICE_ACCOUNT: "sa",
    PrincipalKind.SESSION: "sess",
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts, in which organization, with which scopes.

    A session token acts for its session (`id`) under one lease (`lease_epoch`), on the credential
    of the account that claimed it; `account` is that account's TypeID, and for everybody else
    their own. `owner_user_id` is the person behind it all, whom four-eyes excludes too.
    """

    kind: PrincipalKind
    id: UUID | None
    organization_id: UUID
    scopes: frozenset[Scope]
    role: Role | None = None
    name: str = ""
    lease_epoch: int | None = None
    account: str = "system"
    owner_user_id: UUID | None = None

    # Django and DRF ask this of whatever stands in `request.user`.
    is_authenticated = True

    @property
    def actor(self) -> str:
        """How the ledger names this principal: `user_…`, `sa_…`, `sess_…#3` or `system`."""
        if self.kind is PrincipalKind.SYSTEM or self.id is None:
            return "system"
        text = ids.encode(_PREFIX[self.kind], self.id)
        return f"{text}#{self.lease_epoch}" if self.kind is PrincipalKind.SESSION else text

    @property
    def is_person(self) -> bool:
        return self.kind is PrincipalKind.USER

    @property
    def is_executor(self) -> bool:
        """Executing code: a session token, or a service account with a runner's role."""
        return self.kind is PrincipalKind.SESSION or (
            self.kind is PrincipalKind.SERVICE_ACCOUNT and self.role is Role.RUNNER
        )

    def has(self, scope: Scope) -> bool:
        return scope in self.scopes

    def require(self, scope: Scope) -> None:
        """Raises MissingScope, which names the scope."""
        if scope not in self.scopes:
            raise MissingScope(f"This needs the scope {scope}.", scope=str(scope))

    def require_session(self, session_id: UUID) -> None:
        """A session token reaches its own session only. Raises OutsideSession."""
        if self.kind is PrincipalKind.SESSION and self.id != session_id:
            raise OutsideSession


def system(organization_id: UUID) -> Principal:
    """The product itself: the reaper, and what follows from a decision already taken."""
    return Principal(PrincipalKind.SYSTEM, None, organization_id, frozenset())
