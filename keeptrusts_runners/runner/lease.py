"""Holding on to a claimed session: heartbeats, the state its owner wants, and losing it."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime

from keeptrusts_runners.runner.client import ApiError, spread
from keeptrusts_runners.runner.session import Claim, LeaseLost, SessionClient
from keeptrusts_runners.runner.tokens import SessionToken
from keeptrusts_runners.runner.transport import Unreachable

HAND_BACK_SECONDS = 300.0
_PATIENCE = 1.0

# Counts while the machine sleeps, where the system has such a clock: a laptop that was closed
# past its lease must find the lease over.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds of the clock that leases are counted by."""
    return time.clock_gettime(_CLOCK)


class Lease:
    """A live lease with its heartbeat thread.

    The lease counts as lost when the server says so, and also when no heartbeat was acknowledged
    for a whole lease: another executor may own the session by then, and we cannot know.
    """

    def __init__(self, session: SessionClient, claim: Claim, token: SessionToken) -> None:
        self._session = session
        self._token = token
        self._interval = claim.heartbeat_seconds
        self._seconds = claim.lease_seconds
        self._held_until = now() + claim.lease_seconds
        self._ends: tuple[float, datetime] | None = None
        self._beating = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._keep, name=f"heartbeat {claim.session_id}", daemon=True
        )
        self.on_change: Callable[[], None] = lambda: None
        self.on_lost: Callable[[], None] = lambda: None
        self.desired_state = "running"
        self.lost: str | None = None
        session.observe = self._observe

    def start(self) -> None:
        """Send the first heartbeat, which starts the session, and keep on sending them.

        Raises LeaseLost when the session went elsewhere between claim and first heartbeat.
        """
        self.beat()
        self._thread.start()

    def beat(self) -> None:
        """One acknowledged heartbeat, however many tries it takes. Raises LeaseLost."""
        with self._beating:
            while not self._closed.is_set():
                sent_at = now()
                try:
                    answer = self._session.heartbeat(
                        patience=_PATIENCE, timeout=self._answer_time()
                    )
                except LeaseLost as error:
                    self.lose(str(error))
                    raise
                except (ApiError, Unreachable) as error:
                    self._lose_when_overdue(error)
                else:
                    # Counted from sending: the server's clock for this lease started no earlier.
                    self._held_until = sent_at + self._seconds
                    self._take_terms(answer, sent_at)
                    return

    def harness_ended(self) -> None:
        """From here our silence endangers nobody: give an absent server time to come back.

        Only the server can still end the lease, so that a result survives an outage that is
        longer than the lease.
        """
        self._held_until = max(self._held_until, now() + HAND_BACK_SECONDS)

    def lose(self, reason: str) -> None:
        """Record that the session is not ours any more."""
        if self.lost is None:
            self.lost = reason
            self._closed.set()
            self.on_lost()
            self.on_change()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """No heartbeat runs inside: one that came after an ending would look like a lost lease."""
        with self._beating:
            yield

    def close(self) -> None:
        """End the heartbeats; the session has been handed back."""
        self._closed.set()

    def wait_closed(self, seconds: float) -> bool:
        """The Pause of everything that is written under this lease."""
        return self._closed.wait(seconds)

    def local_time(self, moment: str) -> float:
        """When `now` shows what the server calls `moment`, or a little earlier; never, when that
        is not to be told.

        The end of the lease is known by both clocks. That neither need be right is the point.
        """
        if self._ends is None:
            return math.inf
        here, there = self._ends
        try:
            return here + (datetime.fromisoformat(moment) - there).total_seconds()
        except (ValueError, TypeError):
            return math.inf

    def _keep(self) -> None:
        try:
            while not self._closed.wait(self._interval * spread(0.85, 1.0)):
                self.beat()
        except LeaseLost:
            return
        finally:
            # However this thread ends, a harness must not run on without heartbeats.
            if not self._closed.is_set():
                self.lose("the heartbeats ended")

    def _lose_when_overdue(self, error: Exception) -> None:
        if now() >= self._held_until:
            self.lose("no heartbeat was acknowledged for a whole lease")
            raise LeaseLost(self.lost) from error

    def _answer_time(self) -> float:
        left = self._held_until - now()
        return max(0.5, min(10.0, self._seconds / 4, left))

    def _take_terms(self, answer: dict[str, object], sent_at: float) -> None:
        terms = answer.get("lease")
        if isinstance(terms, dict):
            self._seconds = float(terms.get("ttl_seconds") or self._seconds)
            self._interval = float(terms.get("heartbeat_interval_seconds") or self._interval)
            with suppress(ValueError):
                there = datetime.fromisoformat(str(terms.get("expires_at")))
                self._ends = (sent_at + self._seconds, there)
        if isinstance(token := answer.get("session_token"), str):
            # A full disk is no reason to miss a heartbeat: the last token is good for long.
            with suppress(OSError):
                self._token.replace(token)

    def _observe(self, desired_state: str) -> None:
        if desired_state != self.desired_state:
            self.desired_state = desired_state
            self.on_change()
