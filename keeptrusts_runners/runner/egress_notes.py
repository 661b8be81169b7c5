"""What the proxy tells the ledger: the first of a kind at once, repeats together."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from keeptrusts_runners.runner.egress_target import Target

TOGETHER_SECONDS = 60.0
KINDS_LIMIT = 200
_LOOK_SECONDS = 5.0


@dataclass(frozen=True)
class Note:
    """`what` is refused or cut; no target where the request named none that can be read."""

    what: str
    reason: str
    target: Target | None = None

    def event(self, count: int) -> dict[str, Any]:
        """The arguments of EventStream.put."""
        where = "a request" if self.target is None else str(self.target)
        times = f", {count} times" if count > 1 else ""
        named = {} if self.target is None else {"host": self.target.host, "port": self.target.port}
        return {
            "kind": f"x.egress.{self.what}",
            "message": f"egress {self.what}: {where} ({self.reason}){times}",
            "level": "warning",
            "data": {**named, "reason": self.reason, "count": count},
        }


class Notes:
    """Counts by note, in bounded memory: beyond so many different ones only reasons are told.

    A thread of its own records them, since a stream of events that is full makes whoever adds to
    it wait.
    """

    def __init__(self, put: Callable[..., None]) -> None:
        self._put = put
        self._counts: dict[Note, int] = {}
        self._due_at: dict[Note, float] = {}
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._tell, name="egress notes", daemon=True)
        self._thread.start()

    def add(self, note: Note) -> None:
        with self._changed:
            if note not in self._counts and len(self._counts) >= KINDS_LIMIT:
                note = Note(note.what, note.reason)
            self._counts[note] = self._counts.get(note, 0) + 1
            self._changed.notify_all()

    def close(self, give_up: Callable[[], bool]) -> None:
        """Record what is left; returns when that is done, or is not worth while any more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        while self._thread.is_alive() and not give_up():
            self._thread.join(1.0)

    def _tell(self) -> None:
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._is_due(), _LOOK_SECONDS)
                closing = self._closing
                told = list(self._take_due())
            for note, count in told:
                self._put(**note.event(count))

    def _is_due(self) -> bool:
        return any(note not in self._due_at for note in self._counts)

    def _take_due(self) -> Iterator[tuple[Note, int]]:
        now = time.monotonic()
        for note, count in list(self._counts.items()):
            if self._closing or self._due_at.get(note, now) <= now:
                del self._counts[note]
                self._due_at.pop(note, None)
                if count:
                    # Kept at zero: what repeats is counted, and told when the time is over.
                    self._counts[note] = 0
                    self._due_at[note] = now + TOGETHER_SECONDS
                    yield note, count
