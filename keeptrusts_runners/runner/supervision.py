"""A harness process while it runs: its output, the wishes to stop it, and its end."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from keeptrusts_runners.runner.events import EventStream
from keeptrusts_runners.runner.lease import HAND_BACK_SECONDS, Lease
from keeptrusts_runners.runner.outcome import STOPPED_STATUS
from keeptrusts_runners.runner.output import OutputReader
from keeptrusts_runners.runner.process import Exit, HarnessProcess
from keeptrusts_runners.runner.session import LeaseLost
from keeptrusts_runners.runner.workspace import Workspace

_NEVER = float("inf")
_LAST_WORDS = 500

Say = Callable[..., None]


@dataclass(frozen=True)
class End:
    """How a process ended, what it had been asked for by then, and the last line of its stderr."""

    exit: Exit
    asked_for: str | None
    last_words: str


class Supervision:
    """Watches over the processes of one attempt, one after the other."""

    def __init__(self, lease: Lease, grace_seconds: float, say: Say) -> None:
        self._lease = lease
        self._grace_seconds = grace_seconds
        self._say = say
        self._changed = threading.Condition()
        self._stopping = False
        lease.on_change = self._notify

    @property
    def wish(self) -> str | None:
        """Why a harness should stop now; the owner's wish weighs more than the runner's."""
        if self._lease.desired_state != "running":
            return self._lease.desired_state
        return "stopping" if self._stopping else None

    def stop(self) -> None:
        """The runner stops: from now on a harness is asked to stop, too."""
        self._stopping = True
        self._notify()

    def run(
        self,
        command: list[str],
        environment: Mapping[str, str],
        workspace: Workspace,
        events: EventStream,
    ) -> End:
        """One process from start to end. Raises LeaseLost, and OSError when it cannot start.

        When it should stop already it is not started, and counts as stopped.
        """
        if self.wish is not None:
            return End(Exit(status=STOPPED_STATUS), self.wish, "")
        workspace.ask_for("running")
        workspace.result_file.unlink(missing_ok=True)
        process = HarnessProcess(command, workspace.working_dir, environment, self._notify)
        last_words = ""

        def take(stream: str, text: str, cut: int) -> None:
            nonlocal last_words
            if stream == "stderr" and text.strip():
                last_words = text.strip()[:_LAST_WORDS]
            events.put_line(stream, text, cut)

        reader = OutputReader(process.stdout, process.stderr, take)
        try:
            ended, asked_for = self._watch(process, workspace)
        finally:
            process.close()
            self._lease.harness_ended()
        self._read_to_end(reader)
        return End(ended, asked_for, last_words)

    def _watch(self, process: HarnessProcess, workspace: Workspace) -> tuple[Exit, str | None]:
        asked_for: str | None = None
        kill_at = _NEVER
        while process.exit is None:
            if self._lease.lost is not None:
                raise LeaseLost(self._lease.lost)
            wish = self.wish
            if wish is not None and wish != asked_for:
                kill_at = kill_at if asked_for else time.monotonic() + self._grace_seconds
                asked_for = wish
                self._ask_to_stop(process, workspace, wish)
            elif time.monotonic() >= kill_at:
                kill_at = _NEVER
                process.kill()
                self._say("session.killed", "harness did not stop in time and was killed")
            self._wait(process, asked_for, kill_at)
        return process.exit, asked_for

    def _ask_to_stop(self, process: HarnessProcess, workspace: Workspace, wish: str) -> None:
        workspace.ask_for(wish)
        process.ask_to_stop()
        self._say("session.stopping", f"asked to stop ({wish})", wish=wish)

    def _wait(self, process: HarnessProcess, asked_for: str | None, kill_at: float) -> None:
        """Until the process has ended, the lease is lost, a wish is new, or time is over."""

        def happened() -> bool:
            over = process.exit is not None or self._lease.lost is not None
            return over or self.wish not in (None, asked_for)

        left = None if kill_at == _NEVER else max(0.0, kill_at - time.monotonic())
        with self._changed:
            self._changed.wait_for(happened, left)

    def _read_to_end(self, reader: OutputReader) -> None:
        """Until the last line is queued; that can take as long as the server is away."""
        ends = time.monotonic() + HAND_BACK_SECONDS
        while not reader.join(1.0) and time.monotonic() < ends:
            if self._lease.lost is not None:
                raise LeaseLost(self._lease.lost)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
