"""A control plane of a few hundred lines, for the runner's own behaviour.

It answers the routes a runner and its harness use in the contract's shapes: token, claim,
heartbeat, checkpoint, events, artifacts, permissions, PATCH. It keeps one lease per session and
fences by the epoch in the session token; claims wait as long as they ask for. Tests set
`desired_state`, end leases, decide on grants, drain the executor, and let answers be lost.
"""

import base64
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

DEADLINE = 30.0
# Its clock is years ahead of that of any runner: nothing may compare the two.
AHEAD = timedelta(days=3650)
LOOK_SECONDS = 0.05
CLIENT = ("client_runner", "s3cret-of/the+runner")


@dataclass
class FakeSession:
    """One session, with everything that was ever recorded for it."""

    id: str
    input: Any
    harness: dict[str, Any] | None
    max_attempts: int = 1
    state: str = "pending"
    desired_state: str = "running"
    epoch: int = 0
    failures: int = 0
    lease_seconds: float = 60
    heartbeat_seconds: float = 0.1
    heartbeats: int = 0
    progress: dict[str, Any] | None = None
    endings: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    checkpoints: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[dict[str, Any]] = field(default_factory=list)
    grants: list[dict[str, Any]] = field(default_factory=list)

    @property
    def leased(self) -> bool:
        return self.state in ("dispatched", "running", "cancelling")

    def lines(self, stream: str) -> list[str]:
        """The output lines recorded so far."""
        return [
            event["message"]
            for event in self.events
            if event["kind"] == "log" and event.get("data", {}).get("stream") == stream
        ]

    def artifact(self, name: str) -> bytes:
        return next(item["bytes"] for item in self.artifacts if item["name"] == name)


def moment(seconds: float) -> str:
    """So many seconds from now by the control plane's clock."""
    return (datetime.now(UTC) + AHEAD + timedelta(seconds=seconds)).isoformat()


def state_of(grant: dict[str, Any]) -> str:
    """What a grant is now, whether or not anybody has come by."""
    over = grant["state"] == "active" and grant["expires_at"] <= moment(0)
    return "expired" if over else str(grant["state"])


class Refusal(Exception):
    """Answered as a problem document."""

    def __init__(self, status: int, code: str, detail: str = "", **members: str) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.members = members


class Gone(Exception):
    """Nobody is there to be answered."""


class Request:
    """A request as the routes below see it."""

    def __init__(self, handler: BaseHTTPRequestHandler, data: bytes) -> None:
        parts = urlsplit(handler.path)
        self.method = handler.command
        self.path = unquote(parts.path)
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.headers = handler.headers
        self.data = data
        self._connection = handler.connection

    @property
    def left(self) -> bool:
        """Whether the client has closed the connection."""
        try:
            return not self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    @property
    def json(self) -> Any:
        if self.data and "json" not in self.headers.get("Content-Type", ""):
            raise Refusal(415, "unsupported_media_type")
        return json.loads(self.data or b"{}")

    @property
    def bearer(self) -> str:
        return str(self.headers.get("Authorization", "")).removeprefix("Bearer ")


class ControlPlane:
    """The server and its state; `changed` is notified after each request."""

    def __init__(self) -> None:
        self.sessions: dict[str, FakeSession] = {}
        self.changed = threading.Condition(threading.RLock())
        self.requests: list[tuple[str, str]] = []
        self.claims: list[dict[str, Any]] = []
        self.claimed_at: list[float] = []
        self.tokens_issued = 0
        self.grants_become = "active"
        self.refuse_result = False
        self.away = False
        self.leave_after: str | None = None
        self.waiting = 0
        self.cuts = 0
        self.impatient = False
        self.drained = False
        self.retry_after = "0"
        self.claims_for_those_who_left: FakeSession | None = None
        self._executor_tokens: set[str] = set()
        self._claimed: dict[str, list[dict[str, Any]]] = {}
        self._answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self._lost_answers: list[str] = []
        self._once: dict[str, tuple[int, dict[str, str]]] = {}
        plane = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                plane._handle(self)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE)

    # What tests do

    def dispatch(
        self, harness: dict[str, Any] | None, given: Any = None, **facts: Any
    ) -> FakeSession:
        session_id = f"sess_{len(self.sessions) + 1:026}"
        session = FakeSession(session_id, given, harness, **facts)
        with self.changed:
            self.sessions[session_id] = session
            self.changed.notify_all()
        return session

    def wait_for(self, condition: Callable[[], Any], what: str = "the condition") -> None:
        with self.changed:
            assert self.changed.wait_for(condition, DEADLINE), f"{what} did not come about"

    def lose_answer(self, ending: str) -> None:
        """The next request whose path ends so takes effect, and its answer never arrives."""
        self._lost_answers.append(ending)

    def answer_once(self, ending: str, status: int, **headers: str) -> None:
        """The next request whose path ends so is only answered with this status."""
        self._once[ending] = (status, {name.replace("_", "-"): v for name, v in headers.items()})

    def drain(self, drained: bool, retry_after: str = "0") -> None:
        with self.changed:
            self.drained, self.retry_after = drained, retry_after
            self.changed.notify_all()

    def cut_waiting(self) -> None:
        """As a proxy does it to connections on which nothing happens."""
        with self.changed:
            self.cuts += 1
            self.changed.notify_all()

    def wait_for_a_waiting_claim(self) -> None:
        self.wait_for(lambda: self.waiting, "a claim that waits")

    def end_lease(self, session: FakeSession) -> None:
        """As the reaper does it."""
        with self.changed:
            session.state = "pending"

    def grant(self, session: FakeSession, operation: str, **facts: Any) -> dict[str, Any]:
        """An active grant, as a person issues it."""
        with self.changed:
            return self._grant(session, {"operation": operation, "ttl_seconds": 600, **facts})

    def want(self, session: FakeSession, state: str) -> None:
        with self.changed:
            session.desired_state = state
            if state == "cancelled":
                session.state = "cancelling"

    def requested(self, ending: str) -> int:
        return sum(path.endswith(ending) for _, path in self.requests)

    # HTTP

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        data = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if self.away:
            handler.close_connection = True
            with self.changed:
                self.changed.notify_all()
            return
        request = Request(handler, data)
        headers: dict[str, str] = {}
        with self.changed:
            ending = next((e for e in self._once if request.path.endswith(e)), None)
            if ending is not None:
                status, headers = self._once.pop(ending)
                body: Any = {"code": "unavailable", "status": status}
            else:
                try:
                    status, body = self._answer(request)
                except Gone:
                    handler.close_connection = True
                    return
            if status == 409 and body["code"] == "executor_draining":
                headers["Retry-After"] = self.retry_after
            self.requests.append((request.method, request.path))
            if self.leave_after is not None and request.path.endswith(self.leave_after):
                self.away = True
            lost = next((e for e in self._lost_answers if request.path.endswith(e)), None)
            if lost is not None:
                self._lost_answers.remove(lost)
            self.changed.notify_all()
        if lost is not None:
            handler.close_connection = True
            return
        # A test that is over kills its runner, whatever that waits for.
        with suppress(ConnectionError):
            self._write(handler, status, body, headers)

    @staticmethod
    def _write(
        handler: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str]
    ) -> None:
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        kind = "application/problem+json" if status >= 400 else "application/json"
        handler.send_response(status)
        handler.send_header("Content-Type", "application/gzip" if isinstance(body, bytes) else kind)
        handler.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(data)

    def _answer(self, request: Request) -> tuple[int, Any]:
        key = request.headers.get("Idempotency-Key")
        stored = self._answers.get((request.path, key)) if key else None
        if stored is not None:
            return stored
        try:
            answer = self._route(request)
        except Refusal as refusal:
            return refusal.status, {
                "type": f"/v1/docs/errors/{refusal.code}",
                "status": refusal.status,
                "code": refusal.code,
                "detail": refusal.detail,
                **refusal.members,
            }
        if key:
            self._answers[request.path, key] = answer
        return answer

    def _route(self, request: Request) -> tuple[int, Any]:
        if request.path == "/v1/auth/token":
            return self._token(request)
        if request.path == "/v1/runners/sessions/claim":
            return self._claim(request)
        match = re.fullmatch(r"/v1/runners/sessions/(sess_\w+)(/.*)?", request.path)
        if match is None:
            raise Refusal(404, "not_found")
        session = self._fenced(match[1], request)
        for method, pattern, verb in self._verbs():
            found = re.fullmatch(pattern, match[2] or "")
            if found and method == request.method:
                return verb(session, request, *found.groups())
        raise Refusal(404, "not_found")

    def _verbs(self) -> Iterator[tuple[str, str, Callable[..., tuple[int, Any]]]]:
        yield "POST", "/heartbeat", self._heartbeat
        yield "POST", "/checkpoint", self._checkpoint
        yield "POST", "/events", self._add_events
        yield "POST", "/artifacts", self._add_artifact
        yield "GET", "/artifacts/([^/]+)/content", self._artifact_content
        yield "GET", "/permissions", self._list_grants
        yield "POST", "/permissions", self._request_grant
        yield "POST", "/permissions/([^/]+)/use", self._use_grant
        yield "PATCH", "", self._patch

    # Routes

    def _token(self, request: Request) -> tuple[int, Any]:
        form = {name: values[0] for name, values in parse_qs(request.data.decode()).items()}
        assert form["grant_type"] == "client_credentials"
        basic = request.headers.get("Authorization", "").removeprefix("Basic ")
        pair = base64.b64decode(basic).decode().partition(":")[::2]
        given = tuple(unquote(part) for part in pair)
        if not basic:
            given = (form["client_id"], form["client_secret"])
        if given != CLIENT:
            return 401, {"error": "invalid_client", "error_description": "unknown client"}
        self.tokens_issued += 1
        token = f"executor-{self.tokens_issued}"
        self._executor_tokens = {token}
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 900}

    def forget_executor_token(self) -> None:
        self._executor_tokens.clear()

    def _claim(self, request: Request) -> tuple[int, Any]:
        body = request.json
        known = {"claim_id", "max", "wait_seconds", "profiles", "labels", "executor"}
        assert set(body) <= known
        self.claims.append(body)
        self.claimed_at.append(time.monotonic())
        self.changed.notify_all()
        if self.claims_for_those_who_left is not None:
            # Claims of one id are worked on one after the other.
            self.changed.wait_for(lambda: not self.waiting, DEADLINE)
        items = self._take(request, body)
        if items is None and body["wait_seconds"] and not self.impatient:
            items = self._wait_for_work(request, body)
        return (204, None) if items is None else (200, {"items": items})

    def _take(self, request: Request, body: dict[str, Any]) -> list[dict[str, Any]] | None:
        if request.bearer not in self._executor_tokens:
            raise Refusal(401, "invalid_token")
        if (again := self._claimed.get(body["claim_id"])) is not None:
            return again
        if self.drained:
            members = {"executor_id": "exec_1", "reason": "new disks"}
            raise Refusal(409, "executor_draining", "it is handed nothing new", **members)
        pending = [s for s in self.sessions.values() if s.state == "pending"]
        if not pending:
            return None
        items = [self._lease(session) for session in pending[: body.get("max", 1)]]
        self._claimed[body["claim_id"]] = items
        return items

    def _wait_for_work(self, request: Request, body: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Raises Gone when the client leaves meanwhile, or is cut off."""
        ends, cuts = time.monotonic() + body["wait_seconds"], self.cuts
        self.waiting += 1
        self.changed.notify_all()
        try:
            while (items := self._take(request, body)) is None and time.monotonic() < ends:
                self.changed.wait(LOOK_SECONDS)
                self._require_presence(request, cuts)
            return items
        finally:
            self.waiting -= 1
            self.changed.notify_all()

    def _require_presence(self, request: Request, cuts: int) -> None:
        if request.left and self.claims_for_those_who_left is not None:
            self.claims_for_those_who_left.state = "pending"
            self._take(request, request.json)
        if request.left or self.away or self.cuts > cuts:
            raise Gone

    @staticmethod
    def _lease(session: FakeSession) -> dict[str, Any]:
        session.state, session.desired_state = "dispatched", "running"
        session.epoch += 1
        return {
            "id": session.id,
            "task_id": "task_1",
            "state": "dispatched",
            "attempt": session.epoch,
            "input": session.input,
            "lease": {
                "epoch": session.epoch,
                "expires_at": "2030-01-01T00:00:00.000000Z",
                "ttl_seconds": session.lease_seconds,
                "heartbeat_interval_seconds": session.heartbeat_seconds,
            },
            "session_token": f"{session.id}.{session.epoch}.0",
            "harness": session.harness,
            "checkpoint": session.checkpoints[-1] if session.checkpoints else None,
        }

    def _fenced(self, session_id: str, request: Request) -> FakeSession:
        holder, _, rest = request.bearer.partition(".")
        session = self.sessions.get(session_id)
        if session is None or holder != session_id:
            raise Refusal(404, "not_found")
        writes = request.method != "GET" and not self._is_repeated_ending(session, request)
        if writes and (rest.split(".")[0] != str(session.epoch) or not session.leased):
            raise Refusal(409, "lease_lost", "another epoch is current")
        return session

    @staticmethod
    def _is_repeated_ending(session: FakeSession, request: Request) -> bool:
        return request.method == "PATCH" and request.json in session.endings

    def _heartbeat(self, session: FakeSession, request: Request) -> tuple[int, Any]:
        session.heartbeats += 1
        if session.state == "dispatched":
            session.state = "running"
        return 200, {
            "id": session.id,
            "state": session.state,
            "desired_state": session.desired_state,
            "lease": {
                "epoch": session.epoch,
                "expires_at": moment(session.lease_seconds),
                "ttl_seconds": session.lease_seconds,
                "heartbeat_interval_seconds": session.heartbeat_seconds,
            },
            "session_token": f"{session.id}.{session.epoch}.{session.heartbeats}",
        }

    def _checkpoint(self, session: FakeSession, request: Request) -> tuple[int, Any]:
        number = len(session.checkpoints) + 1
        checkpoint = {"id": f"ckpt_{number}", "number": number, **request.json}
        session.checkpoints.append(checkpoint)
        return 201, {**checkpoint, "desired_state": session.desired_state}

    def _add_events(self, session: FakeSession, request: Request) -> tuple[int, Any]:
        body = request.json
        batch = body.get("events", [body])
        for event in batch:
            assert set(event) <= {
                *("kind", "level", "step", "message", "data", "occurred_at", "client_id"),
            }
        if any("refuse me" in event["message"] for event in batch):
            raise Refusal(422, "invalid_event", "one of the messages")
        known = {event["client_id"] for event in session.events}
        fresh = [event for event in batch if event["client_id"] not in known]
        session.events += fresh
        answer = {"accepted": len(fresh), "duplicates": len(batch) - len(fresh)}
        return 200, {**answer, "desired_state": session.desired_state}

    def _add_artifact(self, session: FakeSession, request: Request) -> tuple[int, Any]:
        sha256 = hashlib.sha256(request.data).digest()
        digest = f"sha-256=:{base64.b64encode(sha256).decode()}:"
        assert request.headers["Content-Digest"] == digest
        artifact = {
            "id": f"art_{len(session.artifacts) + 1}",
            **request.query,
            "media_type": request.headers["Content-Type"],
            "sha256": sha256.hex(),
            "size_bytes": len(request.data),
        }
        session.artifacts.append({**artifact, "bytes": request.data})
        return 201, {**artifact, "desired_state": session.desired_state}

    def _artifact_content(self, session: FakeSession, _: Request, wanted: str) -> tuple[int, Any]:
        return 200, next(item["bytes"] for item in session.artifacts if item["id"] == wanted)

    def _list_grants(self, session: FakeSession, request: Request) -> tuple[int, Any]:
        found = [{**grant, "state": state_of(grant)} for grant in reversed(session.grants)]
        if (states := request.query.get("state")) is not None:
            found = [grant for grant in found if grant["state"] in states.split(",")]
        if (operation := request.query.get("operation")) is not None:
            found = [grant for grant in found if grant["operation"] == operation]
        return 200, {"items": found, "next_cursor": None}

    def _request_grant(self, session: FakeSession, request: Request) -> tuple[int, Any]:
        assert set(request.json) <= {"operation", "resource", "reason", "ttl_seconds"}
        grant = self._grant(session, {"state": self.grants_become, **request.json})
        return 201, {**grant, "desired_state": session.desired_state}

    @staticmethod
    def _grant(session: FakeSession, facts: dict[str, Any]) -> dict[str, Any]:
        grant = {
            "id": f"grant_{len(session.grants) + 1}",
            "approvals": [],
            "constraints": {},
            "uses": 0,
            "targets": [],
            "state": "active",
            "single_use": False,
            "lease_epoch": session.epoch,
            "expires_at": moment(facts["ttl_seconds"]),
            **facts,
        }
        session.grants.append(grant)
        return grant

    def _use_grant(self, session: FakeSession, request: Request, wanted: str) -> tuple[int, Any]:
        grant = next(item for item in session.grants if item["id"] == wanted)
        allowed = state_of(grant) == "active" and grant["lease_epoch"] == session.epoch
        if allowed:
            grant["uses"] += 1
            grant["targets"].append(request.json.get("target"))
            grant["state"] = "consumed" if grant["single_use"] else "active"
        return 200, {
            "id": wanted,
            "allowed": allowed,
            "uses": grant["uses"],
            "expires_at": grant["expires_at"],
            "state": state_of(grant),
            "desired_state": session.desired_state,
        }

    def _patch(self, session: FakeSession, request: Request) -> tuple[int, Any]:
        body = request.json
        if "progress" in body:
            session.progress = body["progress"]
        wanted = body.get("state")
        if wanted is not None and body not in session.endings:
            if wanted == "completed" and self.refuse_result:
                raise Refusal(422, "invalid_result", "too large")
            if wanted == "paused" and session.desired_state != "paused":
                raise Refusal(409, "state_conflict", "no pause is wanted")
            session.endings.append(body)
            session.state = self._state_after(session, body)
        return 200, {
            "id": session.id,
            "state": session.state,
            "desired_state": session.desired_state,
        }

    @staticmethod
    def _state_after(session: FakeSession, ending: dict[str, Any]) -> str:
        if session.state == "cancelling":
            return "cancelled"
        if ending["state"] == "failed" and ending["retryable"]:
            session.failures += 1
            return "pending" if session.failures < session.max_attempts else "failed"
        return str(ending["state"])


@contextmanager
def control_plane() -> Iterator[ControlPlane]:
    plane = ControlPlane()
    try:
        yield plane
    finally:
        plane.close()
