"""The demo's organization: a person of each role, a runner's service account, and profiles.

Made once and kept in the data directory, so that the next demo finds its history again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners import ids
from keeptrusts_runners.demonstration.client import DemoClient
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.models import Organization, User
from keeptrusts_runners.identity.scopes import Role
from keeptrusts_runners.identity.tenancy import organization_scope

ROLES = (Role.ADMIN, Role.OPERATOR, Role.APPROVER, Role.AUDITOR, Role.VIEWER)
HARNESSES = Path(__file__).resolve().parent.parent / "runner" / "harnesses"

_QUICK = {"ttl_seconds": 15, "heartbeat_interval_seconds": 3}
_RETRY = {"max_attempts": 5, "backoff_seconds": 1}

# name → the body of the profile, and the harness file that is pinned to it.
PROFILES: dict[str, tuple[dict[str, Any], str | None]] = {
    "artifact-collection": (
        {
            "description": "Walks a directory, hashes its files and packs them into a bundle.",
            "execution_target": "process",
            "lease": _QUICK,
            "retry": _RETRY,
        },
        "collect_artifacts.py",
    ),
    "patient-work": (
        {
            "description": "Takes its time and says how far it is.",
            "execution_target": "process",
            "lease": _QUICK,
            "retry": _RETRY,
        },
        "patient.py",
    ),
    "release": (
        {
            "description": "Publishes a release, once a person has approved it.",
            "execution_target": "process",
            "lease": _QUICK,
            "retry": _RETRY,
            "grant_policy": [
                {
                    "operation": "release.*",
                    "max_ttl_seconds": 900,
                    "approvals_required": 1,
                    "risk": "high",
                }
            ],
        },
        "needs_approval.py",
    ),
    "reporting": (
        {
            "description": "Writes a report from a source that is not always there.",
            "execution_target": "process",
            "lease": _QUICK,
        },
        "flaky_report.py",
    ),
    "guarded-download": (
        {
            "description": "Downloads what a grant lets it reach, as long as the grant lasts.",
            "execution_target": "process",
            "lease": _QUICK,
        },
        "guarded_download.py",
    ),
    "hands-on": (
        {
            "description": "For your own first requests: the demo's runner leaves it alone.",
            "execution_target": "runner",
        },
        None,
    ),
}


@dataclass(frozen=True)
class Stage:
    """Who and what the demo has. `passwords` are by e-mail address."""

    organization: str
    passwords: Mapping[str, str]
    client_id: str
    client_secret_file: Path

    def client(self, url: str, role: Role) -> DemoClient:
        """Signed in as the demo's person of this role."""
        email = f"{role}@demo.example"
        return DemoClient(url, self.organization, email, self.passwords[email])


def set_up(data_dir: Path) -> Stage:
    """The demo's people and machine; made when the database does not have them yet."""
    directory = data_dir / "demo"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = directory / "stage.json"
    if kept.exists():
        known = json.loads(kept.read_text())
        if _still_there(known["organization"]):
            return _stage(known, directory)
    known = _make(directory)
    _write_private(kept, json.dumps(known, indent=2))
    return _stage(known, directory)


def _stage(known: dict[str, Any], directory: Path) -> Stage:
    return Stage(
        known["organization"], known["passwords"], known["client_id"], directory / "client-secret"
    )


def _still_there(organization: str) -> bool:
    organization_id = ids.decode("org", organization)
    with organization_scope(organization_id):
        return Organization.objects.filter(id=organization_id).exists()


def _make(directory: Path) -> dict[str, Any]:
    organization = accounts.create_organization("Demo")
    password = secrets.token_urlsafe(12)
    passwords = {}
    with organization_scope(organization.id):
        for role in ROLES:
            email = f"{role}@demo.example"
            user = _user(email, password, staff=role is Role.ADMIN)
            accounts.add_member(organization.id, user, role)
            passwords[email] = password
        account, secret = accounts.create_service_account(
            organization.id, "demo runner", Role.RUNNER
        )
    _write_private(directory / "client-secret", secret)
    return {
        "organization": ids.encode("org", organization.id),
        "passwords": passwords,
        "client_id": ids.encode("sa", account.id),
    }


def _user(email: str, password: str, *, staff: bool) -> User:
    """One who is left from an earlier stage gets the new stage's password."""
    user = User.objects.filter(email=email).first()
    if user is None:
        return accounts.create_user(email, password, staff=staff)
    user.set_password(password)
    user.save(update_fields=["password"])
    return user


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def publish(admin: DemoClient) -> dict[str, str]:
    """The demo's profiles by name → id, each with the harness file pinned by its digest now.

    A file that has changed since is published as a further revision.
    """
    known = {item["name"]: item["id"] for item in admin.pages("/v1/runners/profiles")}
    for name, (body, harness) in PROFILES.items():
        if name not in known:
            made = admin.call("POST", "/v1/runners/profiles", {"name": name, **body})
            known[name] = made["id"]
        if harness is not None:
            _publish_harness(admin, known[name], HARNESSES / harness)
    return {name: known[name] for name in PROFILES}


def _publish_harness(admin: DemoClient, profile_id: str, file: Path) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    path = f"/v1/runners/profiles/{profile_id}/harnesses"
    published = {item["image_digest"] for item in admin.pages(path)}
    if f"sha256:{digest}" not in published:
        admin.call(
            "POST",
            path,
            {
                "version": digest[:12],
                "image_ref": f"file:{file.name}",
                "image_digest": f"sha256:{digest}",
                "entrypoint": ["{python}", "{harness}"],
            },
        )
