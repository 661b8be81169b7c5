"""One claimed session, from its first heartbeat to the answer to its ending."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keeptrusts_runners.runner.client import ApiError
from keeptrusts_runners.runner.egress import EgressProxy
from keeptrusts_runners.runner.egress_grants import Grants
from keeptrusts_runners.runner.events import EventStream
from keeptrusts_runners.runner.harness import HarnessRefused, Prepared, prepare
from keeptrusts_runners.runner.lease import HAND_BACK_SECONDS, Lease
from keeptrusts_runners.runner.options import Options
from keeptrusts_runners.runner.outcome import (
    STOPPED_STATUS,
    Outcome,
    failed,
    outcome_of_failure,
    outcome_of_refusal,
    outcome_of_success,
)
from keeptrusts_runners.runner.report import Report
from keeptrusts_runners.runner.session import Claim, LeaseLost, SessionClient
from keeptrusts_runners.runner.supervision import End, Supervision
from keeptrusts_runners.runner.tokens import SessionToken
from keeptrusts_runners.runner.transport import Transport, Unreachable
from keeptrusts_runners.runner.uploads import UploadFailed, upload_outputs
from keeptrusts_runners.runner.workspace import WorkArea, Workspace

_REFUSED_RESULT = frozenset({400, 413, 422})


class Attempt:
    """Executes one claim. `run` is called once, on a thread of its own."""

    def __init__(
        self, claim: Claim, transport: Transport, options: Options, area: WorkArea, report: Report
    ) -> None:
        self.claim = claim
        self._options = options
        self._area = area
        self._report = report
        self._token = SessionToken(claim.token)
        self._session = SessionClient(transport, claim, self._token, self._pause)
        self._lease = Lease(self._session, claim, self._token)
        self._supervision = Supervision(self._lease, options.stop_grace_seconds, self._say)
        self._events = EventStream(self._session, self._lease)
        self._started_at = time.monotonic()

    def stop(self) -> None:
        """The runner stops: end the harness gracefully and hand the session back."""
        self._supervision.stop()

    def kill(self) -> None:
        """The runner stops now: kill the harness and report nothing."""
        self._lease.lose("the runner was stopped at once")

    def run(self) -> str | None:
        """The state the session ended this attempt in, or None when the lease was lost."""
        try:
            if self._supervision.wish is not None:
                return self._hand_back()
            self._lease.start()
            return self._execute()
        except LeaseLost as error:
            self._lease.lose(str(error))
            self._say("session.lost", f"lost its lease ({error}); harness killed, nothing reported")
            return None
        finally:
            self._lease.close()
            self._events.abandon()

    def _hand_back(self) -> str:
        """Stopped before it began: no heartbeat, so that to the server it has not begun either."""
        message = "the runner was stopped before it began"
        return self._end(failed("runner_stopped", message, retryable=True))

    def _execute(self) -> str:
        try:
            with self._area.workspace(self.claim.input, self.claim.checkpoint) as workspace:
                self._token.keep_in(workspace.token_file)
                harness = prepare(
                    self.claim.harness, self._options.harness_dir, workspace.harness_dir
                )
                self._record_start(harness)
                return self._run_until_settled(harness, workspace)
        except HarnessRefused as refusal:
            outcome = outcome_of_refusal(refusal)
        except OSError as error:
            # No room for its files, no process to be had: this host's trouble, not the task's.
            outcome = failed("runner_error", f"the runner's host: {error}", retryable=True)
        return self._end(outcome)

    def _run_until_settled(self, harness: Prepared, workspace: Workspace) -> str:
        """Run the harness; again, when a wish to stop it was withdrawn while it stopped."""
        while True:
            with self._way_out() as proxy_variables:
                environment = self._environment(workspace) | proxy_variables
                end = self._supervision.run(harness.command, environment, workspace, self._events)
            outcome = self._judge(end, workspace)
            try:
                if outcome is not None:
                    return self._end(self._with_outputs(outcome, workspace))
            except _PauseRefused as refusal:
                self._look_again(refusal)
            self._say("session.resumed", "goes on: the wish to stop was withdrawn")

    def _judge(self, end: End, workspace: Workspace) -> Outcome | None:
        """From how the harness ended to what is reported; None to start it again."""
        if end.exit.status == 0:
            return outcome_of_success(workspace)
        if end.asked_for is None and end.exit.status != STOPPED_STATUS:
            return outcome_of_failure(end.exit, workspace, end.last_words)
        # Ask what is wanted now: a harness may hear of a wish before we do, and a wish may have
        # been withdrawn or become another one while it was stopping.
        self._lease.beat()
        wish = self._supervision.wish
        if wish == "stopping":
            message = "the runner was stopped; the next attempt goes on from the checkpoint"
            return failed("runner_stopped", message, retryable=True)
        if wish is None and end.asked_for is None:
            message = "the harness stopped by itself, unfinished"
            return failed("harness_stopped", message, retryable=True)
        return None if wish is None else Outcome(wish)

    def _with_outputs(self, outcome: Outcome, workspace: Workspace) -> Outcome:
        """Store the outputs; a session is not completed whose outputs are not stored."""
        if outcome.state not in ("completed", "failed"):
            return outcome
        try:
            resumed_from = int(self._options.resumable_from_mib * 1024 * 1024)
            count = upload_outputs(self._session, workspace.output_dir, resumed_from)
        except UploadFailed as error:
            if outcome.state == "failed":
                return outcome
            return failed("artifact_not_stored", str(error), retryable=error.retryable)
        if count:
            self._say("session.uploaded", f"stored {count} output{'s' * (count != 1)}")
        return outcome

    def _end(self, outcome: Outcome) -> str:
        """Report, after everything else was acknowledged. Raises LeaseLost, _PauseRefused."""
        if not self._events.drain(HAND_BACK_SECONDS) and self._lease.lost is None:
            self._say("session.events_missing", "ends although some events were not taken in time")
        with self._lease.at_rest():
            if self._lease.lost is not None:
                raise LeaseLost(self._lease.lost)
            answer = self._report_end(outcome)
            self._lease.close()
        state = str(answer.get("state") or outcome.state)
        self._say_ended(outcome, state)
        return state

    def _report_end(self, outcome: Outcome) -> dict[str, Any]:
        try:
            return self._session.end(outcome.change(), patience=HAND_BACK_SECONDS)
        except ApiError as error:
            if outcome.state == "completed" and error.status in _REFUSED_RESULT:
                message = f"the result was refused: {error.code} {error.detail}"
                return self._report_end(failed("result_refused", message))
            if outcome.state == "paused" and error.status == 409:
                raise _PauseRefused(str(error)) from error
            raise LeaseLost(f"the ending was refused: {error}") from error
        except Unreachable as error:
            raise LeaseLost(f"the ending could not be delivered: {error}") from error

    def _look_again(self, refusal: "_PauseRefused") -> None:
        """After a refused pause: something else is wanted by now, or there is no going on."""
        self._lease.beat()
        if self._lease.desired_state == "paused":
            raise LeaseLost(f"the pause was refused: {refusal}") from refusal
        self._events = EventStream(self._session, self._lease)

    @contextmanager
    def _way_out(self) -> Iterator[dict[str, str]]:
        """The variables that lead one harness process to its proxy; none without one."""
        options = self._options
        if not options.egress:
            yield {}
            return
        grants = Grants(self._session, self._lease, self.claim.epoch, options.egress_request)
        proxy = EgressProxy(grants, self._lease, self._events, options.url, options.egress_private)
        with proxy:
            yield proxy.environment()

    def _environment(self, workspace: Workspace) -> dict[str, str]:
        passed = ("PATH", "LANG", *self._options.pass_env)
        return {
            **{name: os.environ[name] for name in passed if name in os.environ},
            **workspace.environment(),
            "KEEPTRUSTS_URL": self._options.url,
            "KEEPTRUSTS_SESSION_ID": self.claim.session_id,
            "KEEPTRUSTS_LEASE_EPOCH": str(self.claim.epoch),
        }

    def _record_start(self, harness: Prepared) -> None:
        self._events.put(
            "x.runner.harness_started",
            f"{self._options.name} starts {harness.name}",
            data={
                "executor": self._options.name,
                "harness": harness.name,
                "image_digest": harness.digest,
                "helper_digest": harness.helper_digest,
                "attempt": self.claim.attempt,
                "from_checkpoint": (self.claim.checkpoint or {}).get("number"),
            },
        )
        version = f" {harness.version}" if harness.version else ""
        self._say("session.started", f"runs {harness.name}{version}", harness=harness.name)

    def _say_ended(self, outcome: Outcome, state: str) -> None:
        seconds = time.monotonic() - self._started_at
        why = f" ({outcome.code}: {outcome.message})" if outcome.code else ""
        told = outcome.state if state == outcome.state else f"{outcome.state}, now {state}"
        self._say(
            "session.ended",
            f"{told} after {seconds:.1f} s{why}",
            state=state,
            outcome=outcome.state,
            code=outcome.code or None,
            seconds=round(seconds, 3),
        )

    def _say(self, event: str, text: str, **facts: Any) -> None:
        session = self.claim.session_id
        self._report.say(
            event, f"{session}  {text}", session_id=session, epoch=self.claim.epoch, **facts
        )

    def _pause(self, seconds: float) -> bool:
        return self._lease.wait_closed(seconds)


class _PauseRefused(Exception):
    """The acknowledgement of a pause came when no pause was wanted any more."""
