"""One claimed session as its executor sees it: what the claim said, and the writes it allows."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners.runner.client import ApiError, Client, Pause
from keeptrusts_runners.runner.tokens import SessionToken
from keeptrusts_runners.runner.transport import Answer, Content, Transport, content_digest

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
    """The writes of one session under its token. The token names the epoch, so nothing else does.

    Every answer is shown to `observe` as ``desired_state``; every refusal that means the end of
    our authority is raised as LeaseLost.
    """

    def __init__(
        self, transport: Transport, claim: Claim, token: SessionToken, pause: Pause
    ) -> None:
        self._client = Client(transport, token, pause)
        self._path = f"/v1/runners/sessions/{claim.session_id}"
        self.observe: Callable[[str], None] = lambda desired_state: None

    def heartbeat(self, *, patience: float, timeout: float) -> dict[str, Any]:
        body = self._write(
            "POST", "/heartbeat", {}, patience=patience, timeout=timeout, any_refusal_ends=True
        ).body
        return body if isinstance(body, dict) else {}

    def add_events(self, events: list[dict[str, Any]], *, patience: float) -> None:
        self._write("POST", "/events", {"events": events}, patience=patience)

    def end(self, change: dict[str, Any], *, patience: float) -> dict[str, Any]:
        """PATCH with an ending or an acknowledgement; answers the session."""
        body = self._write("PATCH", "", change, patience=patience).body
        return body if isinstance(body, dict) else {}

    def upload(self, path: Path, name: str, kind: str, media_type: str) -> dict[str, Any]:
        """Store one file as an artifact; its digest travels with it and is checked there."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
        size = path.stat().st_size
        key = hashlib.sha256(f"{name}\0{kind}\0{sha256.hex()}".encode()).hexdigest()[:40]
        answer = self._write(
            "POST",
            "/artifacts",
            content=Content(media_type, path=path, length=size),
            query={"name": name, "kind": kind},
            headers={"Content-Digest": content_digest(sha256)},
            idempotency_key=key,
            patience=120.0,
        )
        return answer.body if isinstance(answer.body, dict) else {}

    def _write(
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
    return error.status in OWNERSHIP_OVER or error.code in ("lease_lost", "not_leased")
