"""What a harness in Python may import: its session, over HTTP with the session token.

The runner places this file beside the harness. It needs nothing but the standard library and the
environment that the runner gives. A harness is then::

    import keeptrusts_harness

    def main(session):
        session.progress(1, 2, "files", "reading")
        session.checkpoint({"after": "a.txt"})
        return {"files": 2}

    keeptrusts_harness.run(main)
"""

import base64
import hashlib
import json
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

STOPPED_STATUS = 75
_WAIT_SLICE = 0.1
_PROGRESS_SECONDS = 0.5
_PATIENCE = 60.0
_OVER = ("denied", "lapsed", "revoked", "expired", "ended", "consumed")


class Stopped(Exception):
    """The session is to stop; raised by the harness or by a wait, it ends with status 75."""


class Failure(Exception):
    """Ends the session as failed, with a stable code and a sentence for people."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class ApiError(Exception):
    """The control plane refused a request; `code` is the problem's stable code."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code") or f"http_{status}")
        super().__init__(f"{self.code}: {problem.get('detail') or problem.get('title') or status}")


class Session:
    """The running session: its input, its last checkpoint, and what may be said about it."""

    def __init__(self) -> None:
        self.id = os.environ["KEEPTRUSTS_SESSION_ID"]
        self.input: Any = _read_json("KEEPTRUSTS_INPUT_FILE")
        self.checkpoint_data: Any = _read_json("KEEPTRUSTS_CHECKPOINT_FILE")
        self.output_dir = _path("KEEPTRUSTS_OUTPUT_DIR")
        self._url = f"{os.environ['KEEPTRUSTS_URL']}/v1/runners/sessions/{self.id}"
        self._terminated = False
        self._desired_state = "running"
        self._progress_at = 0.0
        signal.signal(signal.SIGTERM, self._on_sigterm)

    @property
    def stop_requested(self) -> bool:
        """Look often: after this turns True there is a short time for a last checkpoint."""
        control = _read_json("KEEPTRUSTS_CONTROL_FILE") or {}
        wishes = (control.get("desired_state", "running"), self._desired_state)
        return self._terminated or wishes != ("running", "running")

    def wait(self, seconds: float) -> None:
        """Sleep that long; raises Stopped as soon as the session is to stop."""
        ends = time.monotonic() + seconds
        while not self.stop_requested:
            left = ends - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _WAIT_SLICE))
        raise Stopped

    def event(
        self,
        kind: str,
        message: str,
        *,
        level: str = "info",
        step: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Add an event to the session's ledger."""
        event = {"kind": kind, "message": message, "level": level, "step": step, "data": data}
        said = {name: value for name, value in event.items() if value is not None}
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self._send("POST", "/events", {**said, "occurred_at": at, "client_id": str(uuid.uuid4())})

    def progress(self, current: int, total: int, unit: str, message: str) -> None:
        """Say how far it is; between the first and the last at most twice a second."""
        now = time.monotonic()
        if current < total and now - self._progress_at < _PROGRESS_SECONDS:
            return
        self._progress_at = now
        progress = {"current": current, "total": total, "unit": unit, "message": message}
        self._send("PATCH", "", {"progress": progress})

    def checkpoint(self, data: dict[str, Any], label: str | None = None) -> None:
        """Record where the next attempt goes on."""
        body = {"data": data, **({"label": label} if label else {})}
        self._send("POST", "/checkpoint", body, repeatable=True)
        _write_json("KEEPTRUSTS_CHECKPOINT_FILE", data)

    def obtain_grant(
        self, operation: str, resource: str, reason: str, ttl_seconds: int, *, poll: float = 1.0
    ) -> str:
        """Ask for a permission grant and wait until it is active; its id.

        Raises Failure when it is denied or lapses, Stopped when the session is to stop.
        """
        asked = {"operation": operation, "resource": resource, "reason": reason}
        grant = self._send(
            "POST", "/permissions", {**asked, "ttl_seconds": ttl_seconds}, repeatable=True
        )
        while grant["state"] != "active":
            if grant["state"] in _OVER:
                self._stop_rather()
                raise Failure(f"grant_{grant['state']}", _ending_of(grant))
            self.wait(poll)
            listed = self._send("GET", "/permissions?limit=200")["items"]
            grant = next(item for item in listed if item["id"] == grant["id"])
        return str(grant["id"])

    def use_grant(self, grant_id: str, target: str | None = None) -> None:
        """Record a use before acting on it. Raises Failure when the grant does not allow it."""
        body = {"target": target} if target else {}
        try:
            allowed = self._send("POST", f"/permissions/{grant_id}/use", body, repeatable=True)
        except ApiError as error:
            self._stop_rather()
            raise Failure("grant_refused", str(error)) from error
        if allowed.get("allowed") is not True:
            self._stop_rather()
            raise Failure("grant_refused", f"the use of {grant_id} was not allowed")

    def upload(self, path: Path, name: str, kind: str, media_type: str) -> dict[str, Any]:
        """Store a file as an artifact now, instead of leaving it in the output directory."""
        data = path.read_bytes()
        digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
        headers = {"Content-Type": media_type, "Content-Digest": f"sha-256=:{digest}:"}
        target = f"/artifacts?{urlencode({'name': name, 'kind': kind})}"
        stored: dict[str, Any] = self._send(
            "POST", target, data=data, headers=headers, repeatable=True
        )
        return stored

    def download(self, artifact_id: str, target: Path) -> None:
        """Fetch the content of one of this session's artifacts."""
        request = Request(f"{self._url}/artifacts/{artifact_id}/content")  # noqa: S310 - the runner's own address
        with self._open(request) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)

    def _send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        repeatable: bool = False,
    ) -> Any:
        """One request with one effect, however often it has to be sent."""
        sent = {"Accept": "application/json", **(headers or {})}
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        if repeatable:
            sent["Idempotency-Key"] = str(uuid.uuid4())
        with self._open(Request(self._url + path, data, sent, method=method)) as answer:  # noqa: S310 - the runner's own address
            text = answer.read()
        said = json.loads(text) if text else {}
        if isinstance(said, dict):
            self._desired_state = said.get("desired_state") or self._desired_state
        return said

    def _open(self, request: Request) -> Any:
        ends = time.monotonic() + _PATIENCE
        delay = 0.2
        while True:
            # Read anew: the runner replaces the token at each heartbeat.
            token = _path("KEEPTRUSTS_SESSION_TOKEN_FILE").read_text()
            request.add_header("Authorization", f"Bearer {token}")
            try:
                return urlopen(request, timeout=30)  # noqa: S310 - the runner's own address
            except HTTPError as error:
                failure, delay = _refusal(error), _next_delay(error, delay)
                # Another executor may be at work: there is nobody to go on for.
                self._terminated |= failure.code == "lease_lost"
                passes = error.code >= 500 or error.code in (408, 429)
                if not passes or time.monotonic() + delay > ends:
                    raise failure from None
            except (OSError, HTTPException):
                delay = min(delay * 2, 5.0)
                if time.monotonic() + delay > ends:
                    raise
            time.sleep(delay)

    def _stop_rather(self) -> None:
        """A grant that ended with its session's run is no failure of the harness."""
        if self.stop_requested:
            raise Stopped

    def _on_sigterm(self, *_: object) -> None:
        self._terminated = True


def run(main: Callable[[Session], dict[str, Any] | None]) -> NoReturn:
    """Execute `main` and end the process as the runner expects it."""
    session = Session()
    try:
        _write_json("KEEPTRUSTS_RESULT_FILE", {"result": main(session) or {}})
    except Stopped:
        sys.exit(STOPPED_STATUS)
    except (Failure, ApiError) as failure:
        error = {"code": failure.code, "message": str(failure)}
        retryable = isinstance(failure, Failure) and failure.retryable
        _write_json("KEEPTRUSTS_RESULT_FILE", {"error": error, "retryable": retryable})
        sys.exit(f"{failure.code}: {failure}")
    sys.exit(0)


def _ending_of(grant: dict[str, Any]) -> str:
    comments = [entry.get("comment") for entry in grant.get("approvals") or []]
    said = next((f": {comment}" for comment in reversed(comments) if comment), "")
    return f"the request for {grant['operation']} was {grant['state']}{said}"


def _refusal(error: HTTPError) -> ApiError:
    try:
        problem = json.loads(error.read())
    except (ValueError, OSError):
        problem = {}
    return ApiError(error.code, problem if isinstance(problem, dict) else {})


def _next_delay(error: HTTPError, delay: float) -> float:
    asked = error.headers.get("Retry-After") or ""
    return float(asked) if asked.isdigit() else min(delay * 2, 5.0)


def _path(variable: str) -> Path:
    return Path(os.environ[variable])


def _read_json(variable: str) -> Any:
    try:
        return json.loads(_path(variable).read_bytes())
    except FileNotFoundError:
        return None


def _write_json(variable: str, value: Any) -> None:
    path = _path(variable)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(value), "utf-8")
    fresh.replace(path)
