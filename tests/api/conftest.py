"""An organization, an outsider's, and callers that speak for their service accounts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings

from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts, tokens
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role
from keeptrusts_runners.identity.tenancy import organization_scope


@dataclass(frozen=True)
class Caller:
    """Somebody with a token, calling over the whole stack of middleware."""

    organization_id: UUID
    account_id: UUID
    token: str

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(method, path, body, Authorization=f"Bearer {self.token}", **sent)


def call(method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
    """One request; `body` is sent as it is when it is bytes, else as JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    media_type = headers.pop("Content-Type", "application/json")
    client = Client(raise_request_exception=False)
    return client.generic(method, path, data, content_type=media_type, headers=headers)


def caller(organization_id: UUID, role: Role) -> Caller:
    """A new service account with this role."""
    with organization_scope(organization_id):
        name = f"{role} {ids.new()}"
        account, _ = accounts.create_service_account(organization_id, name, role)
    token = tokens.issue_access(
        PrincipalKind.SERVICE_ACCOUNT, account.id, organization_id, ROLE_SCOPES[role]
    )
    return Caller(organization_id, account.id, token)


@pytest.fixture
def routes() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.api.routes"):
        yield


@pytest.fixture
def organization_id() -> UUID:
    return accounts.create_organization("Tests of the plumbing").id


@pytest.fixture
def as_role(organization_id: UUID) -> Callable[[Role], Caller]:
    return lambda role: caller(organization_id, role)


@pytest.fixture
def admin(routes: None, organization_id: UUID) -> Caller:
    return caller(organization_id, Role.ADMIN)


@pytest.fixture
def outsider(routes: None) -> Caller:
    return caller(accounts.create_organization("Somebody else").id, Role.ADMIN)


@pytest.fixture
def session_caller(routes: None, organization_id: UUID) -> tuple[Caller, str]:
    """A session token, and the id of its session."""
    runner = caller(organization_id, Role.RUNNER)
    claimed_by: Principal = tokens.authenticate(runner.token)
    session_id = ids.new()
    token = tokens.issue_session(session_id, claimed_by, 1, 60)
    holder = Caller(organization_id, runner.account_id, token)
    return holder, ids.encode("sess", session_id)
