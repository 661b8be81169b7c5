"""Clients that keep a server busy, send again as the reference runner does, and keep a journal.

Each dispatches sessions, claims what comes next, and runs it: heartbeat, events, checkpoint,
completion. One in four is impatient: it sends everything once, and drops a session at the first
request that fails, so that there is something which was never acknowledged.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keeptrusts_runners.runner.client import ApiError, Client, Credentials
from keeptrusts_runners.runner.tokens import ClientCredentials, SessionToken
from keeptrusts_runners.runner.transport import Answer, Transport, Unreachable
from tests.faults.journal import Journal

CLIENTS = 4
PATIENCE = 60.0
SESSIONS = "/v1/runners/sessions"


class WatchedTransport(Transport):
    """Notes what no server may answer, whatever has happened to it."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout=20)
        self.wrong: list[str] = []

    def send(self, method: str, path: str, *more: Any, **options: Any) -> Answer:
        answer = super().send(method, path, *more, **options)
        excused = answer.status == 503 and "retry-after" in answer.headers
        if answer.status >= 500 and not excused:
            self.wrong.append(f"{method} {path}: {answer.status} {answer.body}")
        return answer


@dataclass(frozen=True)
class Target:
    """A server, who may use it, and profiles: one for work, and one of which nothing is claimed."""

    url: str
    operator: tuple[str, Path]
    runner: tuple[str, Path]
    work: str
    unclaimed: str


class WorkingClient:
    """One client's life, on a thread."""

    def __init__(
        self, target: Target, directory: Path, number: int, events: int, stop: threading.Event
    ) -> None:
        self.transport = WatchedTransport(target.url)
        self.journal = Journal(directory)
        self.failures: list[BaseException] = []
        self._target, self._events_each, self._stop = target, events, stop
        self._impatient = number % CLIENTS == CLIENTS - 1
        self._operator = self._client(ClientCredentials(self.transport, *target.operator))
        self._runner = self._client(ClientCredentials(self.transport, *target.runner))
        self._rounds = 0
        self.thread = threading.Thread(target=self._live, name=f"client {number}")

    def _client(self, credentials: Credentials) -> Client:
        # Sooner again than a runner would be: what counts here is how often, and not how long.
        return Client(self.transport, credentials, lambda seconds: self._stop.wait(seconds / 10))

    def _live(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._round()
                except (ApiError, Unreachable) as error:
                    self._expect(error)
        except BaseException as error:
            self.failures.append(error)
        finally:
            self.journal.close()
            self.transport.close()

    def _expect(self, error: ApiError | Unreachable) -> None:
        """Who waits long enough is refused by nothing but the loss of a lease."""
        if self._impatient or self._stop.is_set():
            self._stop.wait(0.05)
        elif not (isinstance(error, ApiError) and error.code == "lease_lost"):
            raise error

    def _round(self) -> None:
        self._rounds += 1
        self._dispatch(self._target.work)
        if self._rounds % 3 == 0:
            # The loop's part of the load: nobody claims it, and its time is over in a second.
            self._dispatch(self._target.unclaimed, queue_timeout_seconds=1)
        for item in self._claim():
            self._run(item)

    def _dispatch(self, profile: str, **fields: Any) -> None:
        task = uuid.uuid4().hex
        body = {"profile_id": profile, "task_id": task, **fields}
        asked = {"task": task, "expires": bool(fields)}
        with self._write("dispatch", **asked) as told:
            answer = self._send(self._operator, "POST", SESSIONS, body, idempotency_key=task)
            told["session"] = answer.body["id"]

    def _claim(self) -> list[Any]:
        claim_id = uuid.uuid4().hex
        body = {"claim_id": claim_id, "max": 2, "profiles": [self._target.work]}
        if self._impatient:
            # What it drops is soon lost, and the loop's to settle.
            body["lease_ttl_seconds"] = 5
        place = self.journal.ask("claim", claim_id=claim_id)
        answer = self._send(self._runner, "POST", f"{SESSIONS}/claim", body)
        items: list[Any] = answer.body["items"] if answer.status == 200 else []
        leases = [[item["id"], item["lease"]["epoch"]] for item in items]
        if leases:
            self.journal.acknowledge(place, "claim", leases=leases)
        return items

    def _run(self, item: Mapping[str, Any]) -> None:
        self._executing = self._client(SessionToken(item["session_token"]))
        self._session = f"{SESSIONS}/{item['id']}"
        self._under = {"session": item["id"], "epoch": item["lease"]["epoch"]}
        self._heartbeat()
        self._events()
        self._checkpoint()
        self._heartbeat()
        self._complete()

    def _heartbeat(self) -> None:
        with self._write("heartbeat", **self._under):
            self._send(self._executing, "POST", f"{self._session}/heartbeat", {})

    def _events(self) -> None:
        names = [uuid.uuid4().hex for _ in range(self._events_each)]
        events = [{"kind": "log", "message": name, "client_id": name} for name in names]
        with self._write("events", **self._under, names=names):
            self._send(self._executing, "POST", f"{self._session}/events", {"events": events})

    def _checkpoint(self) -> None:
        name = uuid.uuid4().hex
        body = {"data": {"name": name}, "label": name}
        with self._write("checkpoint", **self._under, name=name) as told:
            path = f"{self._session}/checkpoint"
            answer = self._send(self._executing, "POST", path, body, idempotency_key=name)
            told["number"] = answer.body["number"]

    def _complete(self) -> None:
        body = {"state": "completed", "result": {"by": self._under["epoch"]}}
        with self._write("complete", **self._under):
            self._send(self._executing, "PATCH", self._session, body)

    @contextmanager
    def _write(self, verb: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """Journal what is asked; and what is told, unless the request fails."""
        place = self.journal.ask(verb, **facts)
        told: dict[str, Any] = {}
        yield told
        self.journal.acknowledge(place, verb, **told)

    def _send(self, client: Client, method: str, path: str, body: Any, **options: Any) -> Answer:
        patience = 0.0 if self._impatient else PATIENCE
        return client.request(method, path, body, patience=patience, **options)


class Load:
    """Clients at work, until the block is left."""

    def __init__(self, target: Target, directory: Path, events: int = 20) -> None:
        self._stop = threading.Event()
        self.clients = [
            WorkingClient(target, directory, number, events, self._stop)
            for number in range(CLIENTS)
        ]

    def __enter__(self) -> Load:
        for client in self.clients:
            client.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self.clients:
            client.thread.join(PATIENCE)
        assert not any(client.thread.is_alive() for client in self.clients), "a client hangs"

    @property
    def acknowledged(self) -> int:
        return sum(client.journal.acknowledged for client in self.clients)

    def claimed_since(self, instant: float) -> float | None:
        """When a claim was acknowledged that was asked for after this, on the monotonic clock."""
        later = [c.journal.claimed_at for c in self.clients if c.journal.claim_asked_at > instant]
        return min(later, default=None)

    @property
    def journals(self) -> list[Path]:
        return [client.journal.path for client in self.clients]

    def assert_well(self) -> None:
        """No client was refused what it may have, and no server answered what none may."""
        assert not [failure for client in self.clients for failure in client.failures]
        assert not [wrong for client in self.clients for wrong in client.transport.wrong]
