"""`demo`: keeps dispatching sessions of a few kinds, so that there is always something to see.

One running, one waiting for a person's approval, one failed with its reason, one cancelled, and
completed ones in growing number.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from keeptrusts_runners import env
from keeptrusts_runners.demonstration.stage import Stage
from keeptrusts_runners.identity.scopes import Role
from keeptrusts_runners.runner.client import ApiError
from keeptrusts_runners.runner.transport import Unreachable

log = structlog.get_logger(__name__)

TURN_SECONDS = 2.0
TOKENS_SECONDS = 300
_WAITING_OR_RUNNING = "pending,dispatched,running"


class Show:
    """One turn looks at what is there and dispatches what is missing."""

    def __init__(self, stage: Stage, url: str, profiles: dict[str, str]) -> None:
        self.operator = stage.client(url, Role.OPERATOR)
        self.approver = stage.client(url, Role.APPROVER)
        self.stage, self.url, self.profiles = stage, url, profiles
        self._tasks = itertools.count(1)
        self._tokens_written = float("-inf")

    def run(self, tokens_file: Path, alive: Callable[[], bool]) -> None:
        """As long as the processes of the demo are `alive`."""
        while alive():
            try:
                if time.monotonic() - self._tokens_written > TOKENS_SECONDS:
                    self.write_tokens(tokens_file)
                self.turn()
            except (ApiError, Unreachable) as error:
                log.warning("demo.turn_failed", reason=str(error))
            time.sleep(TURN_SECONDS)

    def turn(self) -> None:
        if not self._some("patient-work", _WAITING_OR_RUNNING):
            self._dispatch("patient-work", {"seconds": 90})
        if not self._some("release", _WAITING_OR_RUNNING):
            self._dispatch(
                "release",
                {
                    "operation": "release.publish",
                    "resource": "production",
                    "reason": "Publish the release that passed its checks",
                },
            )
        if not self._some("reporting", f"{_WAITING_OR_RUNNING},failed", minutes=5):
            self._dispatch("reporting", {"source": "ledger-export"})
        if not self._some("patient-work", "cancelled,cancelling", minutes=5):
            session = self._dispatch("patient-work", {"seconds": 600})
            path = f"/v1/runners/sessions/{session['id']}/cancel"
            self.operator.call("POST", path, {"reason": "Superseded by a newer task"})
        if not (
            self._some("artifact-collection", _WAITING_OR_RUNNING)
            or self._some("artifact-collection", "completed", minutes=2)
        ):
            self._collect()
        self._approve_collections()

    def _collect(self) -> None:
        self._dispatch(
            "artifact-collection",
            {
                "job": "collect-artifacts",
                "root": str(env.BASE_DIR),
                "checkpoint_every": 50,
                "pause_ms": 20,
            },
        )

    def _some(self, profile: str, states: str, minutes: int | None = None) -> bool:
        query = {"profile_id": self.profiles[profile], "state": states, "limit": "1"}
        if minutes is not None:
            since = time.gmtime(time.time() - 60 * minutes)
            query["created_after"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", since)
        return next(self.operator.pages("/v1/runners/sessions", **query), None) is not None

    def _dispatch(self, profile: str, given: dict[str, Any]) -> dict[str, Any]:
        body = {
            "profile_id": self.profiles[profile],
            "task_id": f"{profile}-{next(self._tasks)}",
            "input": given,
        }
        dispatched: dict[str, Any] = self.operator.call("POST", "/v1/runners/sessions", body)
        return dispatched

    def _approve_collections(self) -> None:
        """Reading this checkout is approved by the demo; a release is left to you."""
        for grant in self.approver.pages("/v1/runners/permissions", state="requested"):
            if grant["operation"].startswith("filesystem.read:") and grant["state"] == "requested":
                path = f"/v1/runners/sessions/{grant['session_id']}/permissions/{grant['id']}"
                body = {"operation_digest": grant["operation_digest"]}
                self.approver.call("POST", f"{path}/approve", body)

    def write_tokens(self, file: Path) -> None:
        """Fresh tokens and ids, for requests typed by hand: `. .local/demo.env`."""
        lines = [f"KEEPTRUSTS_URL={self.url}", f"PROFILE_ID={self.profiles['hands-on']}"]
        for role in (Role.ADMIN, Role.OPERATOR, Role.APPROVER, Role.AUDITOR, Role.VIEWER):
            token = self.stage.client(self.url, role).credentials.bearer()
            lines.append(f"{role.upper()}_TOKEN={token}")
        draft = file.with_name(f"{file.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write("".join(f"export {line}\n" for line in lines))
        draft.replace(file)
        self._tokens_written = time.monotonic()
