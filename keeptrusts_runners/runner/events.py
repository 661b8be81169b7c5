"""A session's events on their way out: batched, bounded, each delivered once and in order."""

import json
import threading
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import Any

from keeptrusts_runners.runner.client import ApiError
from keeptrusts_runners.runner.lease import Lease
from keeptrusts_runners.runner.session import LeaseLost, SessionClient
from keeptrusts_runners.runner.transport import Unreachable

BATCH_EVENTS = 500
BATCH_BYTES = 512 * 1024
FLUSH_SECONDS = 0.5
HELD_BYTES = 4 * 1024 * 1024
_REFUSED_FOR_GOOD = frozenset({400, 409, 413, 415, 422})


class EventStream:
    """Sends from its own thread, one batch at a time.

    The next batch leaves only after the last was acknowledged, and a repeated batch carries the
    same ``client_id`` per event, so a lost answer changes neither number nor order.
    """

    def __init__(self, session: SessionClient, lease: Lease) -> None:
        self._session = session
        self._lease = lease
        self._waiting: deque[tuple[dict[str, Any], int]] = deque()
        self._bytes = 0
        self._oldest = 0.0
        self._closing = False
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._send_all, name="events", daemon=True)
        self._thread.start()

    def put(
        self,
        kind: str,
        message: str,
        *,
        level: str = "info",
        step: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        """Add one event; waits while HELD_BYTES are on their way."""
        event: dict[str, Any] = {
            "kind": kind,
            "level": level,
            "message": message,
            "occurred_at": datetime.now(UTC).isoformat(timespec="microseconds")[:26] + "Z",
            "client_id": str(uuid.uuid4()),
        }
        event |= {"step": step} if step is not None else {}
        event |= {"data": data} if data is not None else {}
        self._add(event, len(json.dumps(event, ensure_ascii=False).encode()))

    def put_line(self, stream: str, text: str, cut: int) -> None:
        """Add one line of output; a cut line says how much is missing."""
        data: dict[str, Any] = {"stream": stream}
        if cut:
            data["cut_bytes"] = cut
            text = f"{text} … [{cut} more bytes were cut]"
        self.put("log", text, data=data)

    def drain(self, seconds: float) -> bool:
        """Wait until everything was acknowledged; whether it was in that time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        return not self._thread.is_alive() and not self._waiting

    def abandon(self) -> None:
        """Drop what is left: there is no lease to send it under."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._bytes = 0
            self._changed.notify_all()

    def _add(self, event: dict[str, Any], size: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes < HELD_BYTES or self._stopped)
            if self._stopped:
                return
            if not self._waiting:
                self._oldest = time.monotonic()
            self._waiting.append((event, size))
            self._bytes += size
            self._changed.notify_all()

    def _send_all(self) -> None:
        try:
            while batch := self._next_batch():
                self._deliver(batch)
                self._forget(len(batch))
        except LeaseLost as error:
            self._lease.lose(str(error))
        finally:
            # However this thread ends, nobody may wait for it to make room.
            self.abandon()

    def _next_batch(self) -> list[dict[str, Any]]:
        """The next events, still held in memory; [] at the end."""
        with self._changed:
            while not self._due():
                if self._stopped or (self._closing and not self._waiting):
                    return []
                self._changed.wait(FLUSH_SECONDS)
            batch: list[dict[str, Any]] = []
            size = 0
            for event, length in self._waiting:
                if batch and (len(batch) == BATCH_EVENTS or size + length > BATCH_BYTES):
                    break
                batch.append(event)
                size += length
            return batch

    def _due(self) -> bool:
        if not self._waiting or self._stopped:
            return False
        full = len(self._waiting) >= BATCH_EVENTS or self._bytes >= BATCH_BYTES
        return full or self._closing or time.monotonic() - self._oldest >= FLUSH_SECONDS

    def _deliver(self, batch: list[dict[str, Any]]) -> None:
        """Until acknowledged. What the server refuses for good is narrowed down and noted."""
        while not self._stopped:
            try:
                self._session.add_events(batch, patience=30.0)
                return
            except Unreachable:
                continue
            except ApiError as error:
                if error.status in _REFUSED_FOR_GOOD and not error.may_pass:
                    self._deliver_parts(batch, error)
                    return
                if self._lease.wait_closed(FLUSH_SECONDS):
                    return

    def _deliver_parts(self, batch: list[dict[str, Any]], error: ApiError) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            self._deliver(batch[:middle])
            self._deliver(batch[middle:])
        elif batch[0]["kind"] != "warning":
            self._deliver([_refusal_note(batch[0], error)])

    def _forget(self, count: int) -> None:
        with self._changed:
            for _ in range(min(count, len(self._waiting))):
                self._bytes -= self._waiting.popleft()[1]
            self._oldest = time.monotonic()
            self._changed.notify_all()


def _refusal_note(event: dict[str, Any], error: ApiError) -> dict[str, Any]:
    """What stands in the ledger instead of an event that the server would not take."""
    return {
        "kind": "warning",
        "level": "warning",
        "message": f"an event of kind {event['kind']} was refused: {error.code}",
        "occurred_at": event["occurred_at"],
        "client_id": str(uuid.uuid4()),
    }
