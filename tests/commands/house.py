"""A server, its maintenance loop and an organization, for tests that start runners against them."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners.env import BASE_DIR
from tests.commands.product import Http, Product, Running, eventually, free_port, sign_in

HARNESSES = BASE_DIR / "keeptrusts_runners" / "runner" / "harnesses"
LEASE_SECONDS = 8
FINAL = ("completed", "failed", "cancelled", "timed_out", "expired", "lost")

# One process instead of three commands, which have tests of their own.
PEOPLE = """
import json
from keeptrusts_runners import ids
from keeptrusts_runners.identity import accounts
from keeptrusts_runners.identity.tenancy import organization_scope
made = accounts.create_organization("House")
with organization_scope(made.id):
    user = accounts.create_user("admin@house.example", "correct-horse-battery")
    accounts.add_member(made.id, user, "admin")
    runner, runner_secret = accounts.create_service_account(made.id, "runner", "runner")
    admin, admin_secret = accounts.create_service_account(made.id, "admin", "admin")
print(json.dumps({
    "organization": ids.encode("org", made.id),
    "runner": [ids.encode("sa", runner.id), runner_secret],
    "admin": [ids.encode("sa", admin.id), admin_secret],
}))
"""


@dataclass
class House:
    """What a test in it needs: the API as an administrator, and runners to start."""

    product: Product
    server: Running
    api: Http
    runner: tuple[str, str]

    @classmethod
    def open(cls, product: Product, *serve: str) -> House:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        server = product.start("serve", "--bind", f"127.0.0.1:{port}", "--migrate", *serve)
        page = Http(url)
        eventually(page.is_ready, "it is ready", instead=lambda: page.readiness() + server.said())
        people = product.ask("shell", "--no-imports", "-c", PEOPLE)
        return cls(product, server, sign_in(url, *people["admin"]), tuple(people["runner"]))

    def profile(self, name: str, harness: str | None, **more: Any) -> str:
        """A profile with a short lease whose harness is pinned; its id."""
        body = {
            "name": name,
            "execution_target": "process",
            "lease": {"ttl_seconds": LEASE_SECONDS, "heartbeat_interval_seconds": 1},
            "retry": {"max_attempts": 5, "backoff_seconds": 0},
            "grant_policy": [{"operation": "filesystem.read:*", "auto": True}],
        }
        made = self.api.post("/v1/runners/profiles", body | more)
        if harness is not None:
            digest = hashlib.sha256((HARNESSES / harness).read_bytes()).hexdigest()
            revision = {
                "version": digest[:12],
                "image_ref": f"file:{harness}",
                "image_digest": f"sha256:{digest}",
                "entrypoint": ["{python}", "{harness}"],
            }
            self.api.post(f"/v1/runners/profiles/{made['id']}/harnesses", revision)
        return str(made["id"])

    def dispatch(self, profile: str, **fields: Any) -> str:
        """A session's address below /v1."""
        body = {"profile_id": profile, "task_id": "task"} | fields
        made = self.api.post("/v1/runners/sessions", body)
        return f"/v1/runners/sessions/{made['id']}"

    def start_runner(self, name: str, profile: str, *more: str) -> Running:
        secret = self.product.data_dir / "client-secret"
        secret.write_text(self.runner[1])
        return self.product.start_command(
            [
                *(sys.executable, "-m", "keeptrusts_runners.runner", "--json"),
                *("--url", self.api.url, "--client-id", self.runner[0]),
                *("--client-secret-file", str(secret), "--name", name, "--profile", profile),
                *("--work-dir", str(self.work_dir(name)), *more),
            ]
        )

    def work_dir(self, name: str) -> Path:
        return self.product.data_dir / f"work-{name}"

    def wait_for_state(self, session: str, *states: str) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            found: dict[str, Any] = self.api.get(session)
            return found if found["state"] in states else None

        return eventually(look, f"it becomes {states}", instead=lambda: self.api.get(session))

    def wait_for_event(self, session: str, kind: str, number: int = 1) -> dict[str, Any]:
        """The so-manieth event of this kind."""

        def look() -> dict[str, Any] | None:
            found = [e for e in self.api.items(f"{session}/events") if e["kind"] == kind]
            return found[number - 1] if len(found) >= number else None

        return eventually(look, f"it has {number} × {kind}", instead=lambda: self.api.get(session))


def said_by(runner: Running) -> list[dict[str, Any]]:
    """What a runner with --json has said; its last line may still be on its way."""
    lines = runner.said().split("\n")[:-1]
    return [json.loads(line) for line in lines if line.startswith("{")]
