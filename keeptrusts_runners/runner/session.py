"""One claimed session as its executor sees it: what the claim said, and the writes it allows."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners.runner.client import ApiError, Client, Pause
from keeptrusts_runners.runner.resumable import ResumableUpload
from keeptrusts_runners.runner.tokens import SessionToken
from keeptrusts_runners.runner.transport import Answer, Content, Transport, content_digest

# A connection of the harness waits for these answers.
_FOR_GRANTS: dict[str, Any] = {"patience": 5.0, "timeout": 5.0}
_GRANT_PAGES = 5

OWNERSHIP_OVER = frozenset({401, 403, 404, 410})
"""Statuses that say, to a session token, that its authority has ended."""


class LeaseLost(Exception):
    """The session is no longer ours: nothing may be written, and the harness must not go on."""


@dataclass(frozen=True)
class Claim:
    """One item of a claim's answer, as far as the runner needs it."""

    session_id: str
    task_id: str
    attempt: int
    epoch: int
    lease_seconds: float
    heartbeat_seconds: float
    token: str
    input: Any
    harness: dict[str, Any] | None
    checkpoint: dict[str, Any] | None

    @classmethod
    def from_item(cls, item: dict[str, Any]) -> "Claim":
        """Raises KeyError, TypeError or ValueError for an answer of another shape."""
        lease = item["lease"]
        return cls(
            session_id=str(item["id"]),
            task_id=str(item.get("task_id") or ""),
            attempt=int(item["attempt"]),
            epoch=int(lease["epoch"]),
            lease_seconds=float(lease["ttl_seconds"]),
            heartbeat_seconds=float(lease["heartbeat_interval_seconds"]),
            token=str(item["session_token"]),
            input=item.get("input"),
            harness=item.get("harness"),
            checkpoint=item.get("checkpoint"),
        )


class SessionClient:
    """The requests of one session under its token, which names the epoch, so nothing else does.

    Every answer is shown to `observe` as ``desired_state``; every refusal that means the end of
    our authority is raised as LeaseLost.
    """

    def __init__(
        self, transport: Transport, claim: Claim, token: SessionToken, pause: Pause
    ) -> None:
        self._client, self._pause = Client(transport, token, pause), pause
        self._path = f"/v1/runners/sessions/{claim.session_id}"
        self.observe: Callable[[str], None] = lambda desired_state: None

    def heartbeat(self, *, patience: float, timeout: float) -> dict[str, Any]:
        body = self._send(
            "POST", "/heartbeat", {}, patience=patience, timeout=timeout, any_refusal_ends=True
        ).body
        return body if isinstance(body, dict) else {}

    def add_events(self, events: list[dict[str, Any]], *, patience: float) -> None:
        self._send("POST", "/events", {"events": events}, patience=patience)

    def end(self, change: dict[str, Any], *, patience: float) -> dict[str, Any]:
        """PATCH with an ending or an acknowledgement; answers the session."""
        body = self._send("PATCH", "", change, patience=patience).body
        return body if isinstance(body, dict) else {}

    def upload(
        self, path: Path, name: str, kind: str, media_type: str, resumed_from: int = 1 << 62
    ) -> dict[str, Any]:
        """Store one file as an artifact; its digest travels with it and is checked there. One of
        `resumed_from` bytes or more goes on where it was cut."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
        size = path.stat().st_size
        key = hashlib.sha256(f"{name}\0{kind}\0{sha256.hex()}".encode()).hexdigest()[:40]
        if size >= max(resumed_from, 1):
            query = {"name": name, "kind": kind, "sha256": sha256.hex()}
            return ResumableUpload(self._send, self._pause, path, query).run(media_type, key)
        answer = self._send(
            "POST",
            "/artifacts",
            content=Content(media_type, path=path, length=size),
            query={"name": name, "kind": kind},
            headers={"Content-Digest": content_digest(sha256)},
            idempotency_key=key,
            patience=120.0,
        )
        return answer.body if isinstance(answer.body, dict) else {}

    def grants(self, **query: str) -> list[dict[str, Any]]:
        """Its permission grants by the filters of the list, newest first; a thousand at most."""
        found: list[dict[str, Any]] = []
        for _ in range(_GRANT_PAGES):
            asked = {"limit": "200", **query}
            body = self._send("GET", "/permissions", query=asked, **_FOR_GRANTS).body or {}
            found += body.get("items", [])
            if not body.get("next_cursor"):
                break
            query["cursor"] = body["next_cursor"]
        return found

    def request_grant(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Operation, reason and ttl_seconds; answers the grant, active or not."""
        return self._once("/permissions", wanted)

    def use_grant(self, grant_id: str, target: str) -> dict[str, Any]:
        """Record a use; answers among others `allowed` and `expires_at`."""
        return self._once(f"/permissions/{grant_id}/use", {"target": target})

    def _once(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        key = str(uuid.uuid4())
        answer = self._send("POST", path, body, idempotency_key=key, **_FOR_GRANTS).body
        return answer if isinstance(answer, dict) else {}

    def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        any_refusal_ends: bool = False,
        **options: Any,
    ) -> Answer:
        try:
            answer = self._client.request(method, self._path + path, body, **options)
        except ApiError as error:
            if _ends_ownership(error) or (any_refusal_ends and not error.may_pass):
                raise LeaseLost(error.code) from error
            raise
        if isinstance(answer.body, dict) and isinstance(answer.body.get("desired_state"), str):
            self.observe(answer.body["desired_state"])
        return answer


def _ends_ownership(error: ApiError) -> bool:
    if error.code == "upload_lost":
        return False
    return error.status in OWNERSHIP_OVER or error.code in ("lease_lost", "not_leased")
