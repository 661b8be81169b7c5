"""Scopes, and the roles that give them: pure data.

A route declares the scope of each action; an action without a declaration is denied.
"""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    READ = "runners:read"
    WRITE = "runners:write"
    DISPATCH = "runners:dispatch"
    CLAIM = "runners:claim"
    APPROVE = "runners:approve"
    AUDIT = "runners:audit"
    INTROSPECT = "runners:introspect"
    MEMBERS = "members:admin"


SCOPE_MEANINGS: dict[Scope, str] = {
    Scope.READ: "Read profiles, harnesses, sessions, events, artifacts and grants.",
    Scope.WRITE: "Change profiles and harnesses, drive sessions, record events and artifacts.",
    Scope.DISPATCH: "Dispatch new sessions.",
    Scope.CLAIM: "Claim pending sessions for execution.",
    Scope.APPROVE: "Approve or deny permission grants.",
    Scope.AUDIT: "Export evidence and read the audit record.",
    Scope.INTROSPECT: "Ask whether a permission grant is active.",
    Scope.MEMBERS: "Manage members and service accounts.",
}


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"
    RUNNER = "runner"
    ENFORCER = "enforcer"
    ADMIN = "admin"


ROLE_SCOPES: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: frozenset({Scope.READ}),
    Role.OPERATOR: frozenset({Scope.READ, Scope.WRITE, Scope.DISPATCH}),
    Role.APPROVER: frozenset({Scope.READ, Scope.APPROVE}),
    Role.AUDITOR: frozenset({Scope.READ, Scope.AUDIT}),
    Role.RUNNER: frozenset({Scope.READ, Scope.WRITE, Scope.CLAIM}),
    Role.ENFORCER: frozenset({Scope.INTROSPECT}),
    Role.ADMIN: frozenset(Scope),
}

# What people are told that a role is for.
ROLE_MEANINGS: dict[Role, str] = {
    Role.VIEWER: "sees everything, changes nothing.",
    Role.OPERATOR: "dispatches, and drives profiles, sessions and executors.",
    Role.APPROVER: "decides about permission grants.",
    Role.AUDITOR: "reads the audit log and exports evidence.",
    Role.RUNNER: "claims sessions, and writes to those that it holds.",
    Role.ENFORCER: "asks whether a grant is active, and nothing else.",
    Role.ADMIN: "everything, members and service accounts included.",
}

# People never hold the machines' roles: a runner's write access is bound to its leases.
USER_ROLES = frozenset({Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.AUDITOR, Role.ADMIN})
SERVICE_ACCOUNT_ROLES = frozenset(Role)

# What a session token may do, within its own session (contract: words, "session token").
SESSION_TOKEN_SCOPES = frozenset({Scope.READ, Scope.WRITE})
