"""Who acts in tests: one organization with a person of each role and its machines, and clients
that speak to the API as they would over HTTP."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

from django.test import Client
from django.test.client import ClientHandler

from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts, tokens
from keeptrusts_runners.identity.models import Organization, ServiceAccount, User
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role, Scope
from keeptrusts_runners.identity.tenancy import organization_scope

_numbers = itertools.count()
# One for all clients: each would load the middleware, and read every static file, for itself.
_HANDLER = ClientHandler(enforce_csrf_checks=False)
PASSWORD = "correct-horse-battery"


def client() -> Client:
    """A browser of its own, without cookies yet."""
    made = Client(raise_request_exception=False)
    made.handler = _HANDLER
    return made


class Api:
    """A bearer's view of /v1. `api.get("/runners/sessions")` → a Django test response."""

    def __init__(self, token: str | None = None) -> None:
        self.token = token
        self._client = client()

    def request(
        self, method: str, path: str, body: Any = None, raw: bytes | None = None, **headers: str
    ) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token is not None:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        content_type = sent.pop("Content-Type", "application/json")
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        return self._client.generic(
            method, f"/v1{path}", data, content_type=content_type, headers=sent
        )

    def get(self, path: str, **headers: str) -> Any:
        return self.request("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.request("POST", path, body, **headers)

    def put(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.request("PUT", path, body, **headers)

    def patch(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.request("PATCH", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self.request("DELETE", path, **headers)


@dataclass
class Person:
    """A member and their principal."""

    user: User
    principal: Principal

    @cached_property
    def api(self) -> Api:
        return Api(token_of(self.principal))


@dataclass
class Machine:
    """A service account and its principal."""

    account: ServiceAccount
    secret: str
    principal: Principal

    @cached_property
    def api(self) -> Api:
        return Api(token_of(self.principal))


def token_of(principal: Principal, scopes: frozenset[Scope] | None = None) -> str:
    assert principal.id is not None
    return tokens.issue_access(
        principal.kind,
        principal.id,
        principal.organization_id,
        principal.scopes if scopes is None else scopes,
    )


class Org:
    """A fresh organization. People and machines come into being when they are first named:
    `org.operator`, `org.approver`, `org.runner` …"""

    def __init__(self) -> None:
        self.organization: Organization = accounts.create_organization(f"Org {next(_numbers)}")

    @property
    def id(self) -> UUID:
        return self.organization.id

    def scope(self) -> Any:
        return organization_scope(self.id)

    def person(self, role: Role) -> Person:
        user = User.objects.create(email=f"{role}-{ids.new().hex}@example.test", password="!")
        with self.scope():
            accounts.add_member(self.id, user, role)
        return Person(
            user,
            Principal(
                PrincipalKind.USER,
                user.id,
                self.id,
                ROLE_SCOPES[role],
                role,
                user.email,
                account=ids.encode("user", user.id),
                owner_user_id=user.id,
            ),
        )

    def machine(self, role: Role = Role.RUNNER, owner: Person | None = None) -> Machine:
        with self.scope():
            account, secret = accounts.create_service_account(
                self.id,
                f"{role} {next(_numbers)}",
                role,
                owner_id=owner.user.id if owner else None,
            )
        return Machine(
            account,
            secret,
            Principal(
                PrincipalKind.SERVICE_ACCOUNT,
                account.id,
                self.id,
                ROLE_SCOPES[role],
                role,
                account.name,
                account=ids.encode("sa", account.id),
                owner_user_id=account.owner_id,
            ),
        )

    @cached_property
    def viewer(self) -> Person:
        return self.person(Role.VIEWER)

    @cached_property
    def operator(self) -> Person:
        return self.person(Role.OPERATOR)

    @cached_property
    def approver(self) -> Person:
        return self.person(Role.APPROVER)

    @cached_property
    def auditor(self) -> Person:
        return self.person(Role.AUDITOR)

    @cached_property
    def admin(self) -> Person:
        return self.person(Role.ADMIN)

    @cached_property
    def runner(self) -> Machine:
        return self.machine()
