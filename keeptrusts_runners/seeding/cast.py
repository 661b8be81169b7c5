"""Who and what the seeded sessions belong to: people, machines, profiles, harnesses, contents.

Made by the product's own verbs, once for an organization; a second run finds them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from grants.drafts import Draft
from grants.storage import Blob
from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import Membership, ServiceAccount, User
from keeptrusts_runners.identity.principal import Principal, PrincipalKind
from keeptrusts_runners.identity.scopes import ROLE_SCOPES, Role
from keeptrusts_runners.identity.tenancy import organization_scope
from profiles import catalog
from profiles.models import HarnessRevision, RunnerProfile
from sessions import executors
from sessions.executors import Introduction

_POLICY = [
    {"operation": "release.*", "max_ttl_seconds": 7 * 86400, "approvals_required": 1},
    {
        "operation": "database.write",
        "max_ttl_seconds": 900,
        "approvals_required": 1,
        "single_use": True,
        "risk": "high",
    },
]
# name → what it is, where it runs, its policy, and its published versions.
_PROFILES: dict[str, tuple[str, str, list[dict[str, Any]], tuple[str, ...]]] = {
    "nightly-reports": ("Builds the reports of the day.", "container", [], ("2026.3", "2026.4")),
    "document-intake": ("Reads, sorts and files incoming documents.", "container", [], ("7", "8")),
    "release": ("Publishes what has been approved.", "vm", _POLICY, ("1.9.0", "2.0.0", "2.0.1")),
    "data-migration": ("Moves rows between systems.", "vm", _POLICY, ("12",)),
    "dependency-audit": ("Looks for known defects.", "process", [], ("2026-04", "2026-05")),
}
_CONTENTS = (
    ("report.json", "report", "application/json", b'{"findings": [], "checked": 1284}\n'),
    ("run.log", "log", "text/plain", b"collected 1284 files\nchecked 1284 files\ndone\n"),
    ("summary.csv", "file", "text/csv", b"name,count\nread,1284\nkept,1271\n"),
)


@dataclass(frozen=True)
class Content:
    """What artifacts of this name hold; the bytes are stored."""

    name: str
    kind: str
    media_type: str
    blob: Blob


@dataclass(frozen=True)
class Runner:
    """A machine that claims, and the executor it is known as."""

    principal: Principal
    executor_id: UUID
    introduction: dict[str, Any]


@dataclass(frozen=True)
class Place:
    """A profile and its harness revisions, the oldest first."""

    profile: RunnerProfile
    harnesses: list[HarnessRevision]


@dataclass(frozen=True)
class Cast:
    organization_id: UUID
    dispatcher: Principal
    operator: Principal
    approvers: list[Principal]
    runners: list[Runner]
    places: list[Place]
    contents: list[Content]


def assemble(organization_id: UUID) -> Cast:
    """Everybody and everything in the organization, made where it is not there yet."""
    with organization_scope(organization_id):
        dispatcher = _machine(organization_id, "seed: scheduler", Role.ADMIN)
        machines = [
            _machine(organization_id, f"seed: gateway {number}", Role.RUNNER) for number in (1, 2)
        ]
        people = [_person(organization_id, name) for name in ("ada", "grace", "olu")]
        return Cast(
            organization_id,
            dispatcher,
            people[0],
            people[1:],
            [_runner(each, number) for number, each in enumerate(machines, 1)],
            [_place(name, dispatcher) for name in _PROFILES],
            [_content(organization_id, *content) for content in _CONTENTS],
        )


def _machine(organization_id: UUID, name: str, role: Role) -> Principal:
    known = ServiceAccount.objects.filter(
        organization_id=organization_id, name=name, revoked_at__isnull=True
    ).first()
    account = known or accounts.create_service_account(organization_id, name, role)[0]
    return Principal(
        PrincipalKind.SERVICE_ACCOUNT, account.id, organization_id, ROLE_SCOPES[role], role, name,
        account=ids.encode("sa", account.id),
    )  # fmt: skip


def _person(organization_id: UUID, name: str) -> Principal:
    """A member who cannot sign in: the password is none."""
    role = Role.OPERATOR if name == "ada" else Role.APPROVER
    email = f"{name}@{ids.encode('org', organization_id)}.example"
    user, _ = User.objects.get_or_create(
        email=email, defaults={"name": name.capitalize(), "password": "!"}
    )
    if not Membership.objects.filter(organization_id=organization_id, user=user).exists():
        accounts.add_member(organization_id, user, role)
    return Principal(
        PrincipalKind.USER, user.id, organization_id, ROLE_SCOPES[role], role, email,
        account=ids.encode("user", user.id), owner_user_id=user.id,
    )  # fmt: skip


def _runner(principal: Principal, number: int) -> Runner:
    introduction: dict[str, Any] = {
        "name": f"gateway-{number}",
        "version": "1.4.2",
        "labels": {"zone": "a"},
    }
    executor_id = executors.greet(Introduction(**introduction), by=principal)
    return Runner(principal, executor_id, introduction)


def _place(name: str, by: Principal) -> Place:
    description, target, policy, versions = _PROFILES[name]
    profile = RunnerProfile.objects.filter(
        organization_id=by.organization_id, name=name, status="active"
    ).first()
    if profile is None:
        given = {"name": name, "description": description, "execution_target": target}
        profile = catalog.create_profile(
            given | {"grant_policy": policy, "max_attempts": 3, "labels": {"team": name}}, by=by
        )
    known = {each.version: each for each in HarnessRevision.objects.filter(profile=profile)}
    for number, version in enumerate(versions):
        if version not in known:
            image = f"registry.example/{name}@sha256:{number + 1:064x}"
            revision = {"version": version, "image_ref": image}
            known[version] = catalog.publish_harness(profile.id, revision, by=by)
    return Place(profile, [known[version] for version in versions])


def _content(organization_id: UUID, name: str, kind: str, media_type: str, data: bytes) -> Content:
    with Draft(organization_id, len(data)) as draft:
        draft.write(data)
        return Content(name, kind, media_type, draft.store())
