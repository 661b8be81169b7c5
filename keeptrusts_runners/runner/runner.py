"""The runner's main loop: ask for work while a slot is free, execute each claim on a thread."""

import os
import select
import signal
import threading
import traceback
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from keeptrusts_runners.runner import VERSION
from keeptrusts_runners.runner.attempt import Attempt
from keeptrusts_runners.runner.client import ApiError, Client, spread
from keeptrusts_runners.runner.options import Options
from keeptrusts_runners.runner.report import Report
from keeptrusts_runners.runner.session import Claim
from keeptrusts_runners.runner.tokens import ClientCredentials, SecretUnreadable
from keeptrusts_runners.runner.transport import Transport, Unreachable
from keeptrusts_runners.runner.workspace import WorkArea

_KILLED_WITHIN = 15.0
_TOKEN_ERRORS = frozenset({"invalid_client", "unauthorized_client", "invalid_grant"})


class CannotWork(Exception):
    """A refusal that asking again will not change; the message says what to do."""


class Runner:
    """Executes sessions until it is told to stop, or one session with ``once``."""

    def __init__(self, options: Options, report: Report) -> None:
        self._options = options
        self._report = report
        self._transport = Transport(options.url)
        credentials = ClientCredentials(
            self._transport, options.client_id, options.client_secret_file
        )
        self._client = Client(self._transport, credentials, self._sleep)
        self._area = WorkArea(options.work_dir)
        self._attempts: dict[Attempt, threading.Thread] = {}
        self._over: deque[Attempt] = deque()
        self._ended: list[str | None] = []
        self._claim_id: str | None = None
        self._server_away = False
        # Written by signal handlers and by ending attempts, read by the main thread alone: the
        # one way to wake it that is safe inside a signal handler.
        self._wake_reader, self._waker = os.pipe()
        os.set_blocking(self._waker, False)
        os.set_blocking(self._wake_reader, False)
        self._signals = 0
        self._last_signal = 0

    def run(self) -> int:
        """Exit status: 0, or 1 when with ``once`` the session did not complete.

        128 + the signal's number after a second signal. Raises CannotWork.
        """
        self._say_ready()
        try:
            with self._signals_handled():
                self._work()
                return self._status()
        finally:
            self._kill_all()
            self._area.close()
            self._transport.close()

    def _work(self) -> None:
        try:
            while not self._signals and not self._done():
                self._reap()
                if self._free_slots() and self._claim():
                    continue
                self._sleep(self._options.poll_seconds * spread(0.75, 1.25))
        finally:
            # Also when claiming was refused: that says nothing about what is running.
            self._finish()

    def _done(self) -> bool:
        return self._options.once and bool(self._ended)

    def _free_slots(self) -> int:
        if self._options.once:
            return 0 if self._attempts or self._ended else 1
        return self._options.slots - len(self._attempts)

    def _claim(self) -> int:
        """Ask for work once and start what came; how many sessions that was."""
        # The same id until there is an answer: a claim whose answer was lost is given again.
        self._claim_id = self._claim_id or str(uuid.uuid4())
        try:
            answer = self._client.request(
                "POST", "/v1/runners/sessions/claim", self._claim_body(), patience=0.0
            )
        except (Unreachable, SecretUnreadable) as error:
            self._say_away(str(error))
            return 0
        except ApiError as error:
            self._refused(error)
            return 0
        self._claim_id = None
        self._say_back()
        items = answer.body.get("items", []) if isinstance(answer.body, dict) else []
        for item in items:
            self._start(item)
        return len(items)

    def _claim_body(self) -> dict[str, Any]:
        options = self._options
        executor: dict[str, Any] = {"name": options.name, "version": VERSION}
        body: dict[str, Any] = {"claim_id": self._claim_id, "max": self._free_slots()}
        if options.profiles:
            body["profiles"] = options.profiles
        if options.labels:
            body["labels"] = options.labels
            executor["labels"] = options.labels
        return {**body, "executor": executor}

    def _refused(self, error: ApiError) -> None:
        """Wait out what may pass; a claim that is over is forgotten; the rest ends the runner."""
        if error.may_pass:
            self._say_away(str(error))
        elif error.status == 409:
            self._claim_id = None
        elif error.code in _TOKEN_ERRORS or error.status == 401:
            raise CannotWork(
                f"{self._options.url} does not accept this client id and secret"
                f" ({error.code}); check --client-id and --client-secret-file"
            )
        elif error.status == 403:
            raise CannotWork(
                f"this service account may not claim ({error.detail or error.code});"
                " give it the role runner"
            )
        else:
            raise CannotWork(f"the control plane refused the claim: {error}")

    def _start(self, item: dict[str, Any]) -> None:
        try:
            claim = Claim.from_item(item)
        except (KeyError, TypeError, ValueError) as error:
            raise CannotWork(f"the answer to the claim is not one I know: {error!r}") from error
        attempt = Attempt(claim, self._transport, self._options, self._area, self._report)
        self._report.say(
            "session.claimed",
            f"{claim.session_id}  claimed: {claim.task_id}, attempt {claim.attempt}"
            f"{_checkpoint_note(claim)}",
            session_id=claim.session_id,
            task_id=claim.task_id,
            attempt=claim.attempt,
            epoch=claim.epoch,
        )
        thread = threading.Thread(
            target=self._execute, args=(attempt,), name=claim.session_id, daemon=True
        )
        self._attempts[attempt] = thread
        thread.start()

    def _execute(self, attempt: Attempt) -> None:
        state = None
        try:
            state = attempt.run()
        except Exception:
            # A defect of ours. Without heartbeats the lease ends, and the session goes on
            # elsewhere: nothing is claimed about an execution that we do not understand.
            self._report.say(
                "session.error",
                f"{attempt.claim.session_id}  runner error: {traceback.format_exc(limit=-1)}",
                session_id=attempt.claim.session_id,
            )
        finally:
            self._ended.append(state)
            self._over.append(attempt)
            self._wake()

    def _reap(self) -> None:
        while self._over:
            self._attempts.pop(self._over.popleft()).join()

    def _finish(self) -> None:
        """End the attempts: gracefully after one signal, at once after a second."""
        told = 0
        self._reap()
        while self._attempts:
            if self._signals > told:
                told = self._signals
                self._stop_attempts()
                if told > 1:
                    return
            self._sleep(1.0)
            self._reap()

    def _stop_attempts(self) -> None:
        running = len(self._attempts)
        if self._signals > 1:
            self._report.say("runner.killed", f"killed {running} of its sessions at once")
            return
        self._report.say(
            "runner.stopping",
            f"stopping {running} session{'s' * (running != 1)}; a second signal kills at once",
        )
        for attempt in self._attempts:
            attempt.stop()

    def _kill_all(self) -> None:
        for attempt, thread in self._attempts.items():
            if thread.is_alive():
                attempt.kill()
        for thread in self._attempts.values():
            thread.join(_KILLED_WITHIN)

    def _status(self) -> int:
        if self._signals > 1:
            return 128 + self._last_signal
        if self._options.once and self._ended:
            return 0 if self._ended[0] == "completed" else 1
        self._report.say("runner.stopped", "stopped")
        return 0

    @contextmanager
    def _signals_handled(self) -> Iterator[None]:
        """SIGTERM and SIGINT count; only the main thread may say so."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._last_signal = number
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._waker, b".")

    def _sleep(self, seconds: float) -> bool:
        """Until something happens or time is over; True when the runner is to stop."""
        if select.select([self._wake_reader], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                os.read(self._wake_reader, 512)
        return self._signals > 0

    def _say_ready(self) -> None:
        options = self._options
        taken = ", ".join(options.profiles) or "every profile"
        self._report.say(
            "runner.ready",
            f'runner "{options.name}" asks {options.url} for sessions of {taken};'
            f" {options.slots} at a time, harnesses from {options.harness_dir}",
            url=options.url,
            name=options.name,
            version=VERSION,
            slots=options.slots,
        )

    def _say_away(self, reason: str) -> None:
        if not self._server_away:
            self._server_away = True
            self._report.say("runner.waiting", f"cannot claim now, trying on: {reason}")

    def _say_back(self) -> None:
        if self._server_away:
            self._server_away = False
            self._report.say("runner.back", "the control plane answers again")


def _checkpoint_note(claim: Claim) -> str:
    if not claim.checkpoint:
        return ""
    return f", from checkpoint {claim.checkpoint.get('number', '?')}"
