"""The runner's main loop: ask for work while a slot is free, execute each claim on a thread."""

import os
import select
import signal
import threading
import traceback
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from keeptrusts_runners.runner import VERSION
from keeptrusts_runners.runner.attempt import Attempt
from keeptrusts_runners.runner.claiming import CannotWork, Claiming
from keeptrusts_runners.runner.options import Options
from keeptrusts_runners.runner.report import Report
from keeptrusts_runners.runner.session import Claim
from keeptrusts_runners.runner.tokens import ClientCredentials
from keeptrusts_runners.runner.transport import Transport
from keeptrusts_runners.runner.workspace import WorkArea

_KILLED_WITHIN = 15.0


class Runner:
    """Executes sessions until it is told to stop, or one session with ``once``."""

    def __init__(self, options: Options, report: Report) -> None:
        self._options = options
        self._report = report
        self._transport = Transport(options.url)
        credentials = ClientCredentials(
            self._transport, options.client_id, options.client_secret_file
        )
        self._claiming = Claiming(options, self._transport, credentials, report, self._wake)
        self._area = WorkArea(options.work_dir)
        self._attempts: dict[Attempt, threading.Thread] = {}
        self._over: deque[Attempt] = deque()
        self._ended: list[str | None] = []
        self._finishing = False
        # Written by signals, ending attempts and answered claims, read by the main thread alone.
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
            self._claiming.close()
            self._transport.close()

    def _work(self) -> None:
        try:
            while not self._signals and not self._done():
                self._reap()
                for item in self._claiming.take():
                    self._start(item)
                self._sleep(self._claiming.ask(self._free_slots()))
        finally:
            # Also when claiming was refused: that says nothing about what is running.
            self._finish()

    def _done(self) -> bool:
        return self._options.once and bool(self._ended)

    def _free_slots(self) -> int:
        if self._options.once:
            return 0 if self._attempts or self._ended else 1
        return self._options.slots - len(self._attempts)

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
        if self._finishing:
            attempt.stop()
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
        """End claim and attempts: gracefully after one signal, at once after a second."""
        told = 0
        self._finishing = True
        self._claiming.abandon()
        while self._is_at_work():
            if self._signals > told:
                told = self._signals
                self._stop_attempts()
                if told > 1:
                    return
            self._sleep(1.0)

    def _is_at_work(self) -> bool:
        """Whether anything is left to end; what was claimed meanwhile is handed back first."""
        self._reap()
        for item in self._claiming.take_back():
            self._start(item)
        return bool(self._attempts) or self._claiming.under_way

    def _stop_attempts(self) -> None:
        running = len(self._attempts)
        if self._signals > 1:
            self._report.say("runner.killed", f"killed {running} of its sessions at once")
            return
        if running:
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
        # Written where the signal arrives. The handler runs on this thread, and too late where it
        # has just gone to sleep, or where another thread was the one that was interrupted.
        before_fd = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        before = {number: signal.signal(number, self._on_signal) for number in numbers}
        try:
            yield
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        self._last_signal = number

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._waker, b".")

    def _sleep(self, seconds: float | None) -> None:
        """Until something happens or time is over; None = until something happens."""
        if select.select([self._wake_reader], [], [], seconds)[0]:
            with suppress(BlockingIOError):
                os.read(self._wake_reader, 512)

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


def _checkpoint_note(claim: Claim) -> str:
    if not claim.checkpoint:
        return ""
    return f", from checkpoint {claim.checkpoint.get('number', '?')}"
