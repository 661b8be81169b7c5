"""What is reported of an attempt, and how it follows from the way its harness ended."""

from dataclasses import dataclass
from typing import Any

from keeptrusts_runners.runner.harness import HarnessRefused
from keeptrusts_runners.runner.process import Exit
from keeptrusts_runners.runner.workspace import Workspace

STOPPED_STATUS = 75
"""EX_TEMPFAIL: how a harness says that it stopped because it was asked to."""

MESSAGE_LIMIT = 2000


@dataclass(frozen=True)
class Outcome:
    """An ending (completed, failed), or the acknowledgement of a wish (paused, cancelled)."""

    state: str
    result: dict[str, Any] | None = None
    code: str = ""
    message: str = ""
    retryable: bool = False

    def change(self) -> dict[str, Any]:
        """The body of the PATCH that reports it."""
        if self.state == "completed":
            return {"state": "completed", "result": self.result or {}}
        if self.state == "failed":
            error = {"code": self.code, "message": self.message[:MESSAGE_LIMIT]}
            return {"state": "failed", "error": error, "retryable": self.retryable}
        return {"state": self.state}


def failed(code: str, message: str, *, retryable: bool = False) -> Outcome:
    return Outcome("failed", code=code, message=message, retryable=retryable)


def outcome_of_refusal(refusal: HarnessRefused) -> Outcome:
    """The harness was never started."""
    return failed(refusal.code, str(refusal), retryable=refusal.retryable)


def outcome_of_success(workspace: Workspace) -> Outcome:
    """Exit status 0: completed with the result the harness left, or with {}."""
    try:
        result = workspace.read_result().get("result")
    except ValueError as error:
        return failed("result_unreadable", str(error))
    return Outcome("completed", result=result if isinstance(result, dict) else {})


def outcome_of_failure(ended: Exit, workspace: Workspace, last_error_line: str) -> Outcome:
    """Any other end: the harness's own words for it, else how it ended and its last words."""
    said = _said(workspace)
    error = said.get("error")
    if isinstance(error, dict):
        code, message = str(error.get("code") or "harness_failed"), str(error.get("message") or "")
        return failed(code, message, retryable=said.get("retryable") is True)
    message = f"{ended}: {last_error_line}" if last_error_line else str(ended)
    if ended.error is not None:
        return failed("harness_not_started", message)
    # A signal nobody here sent is most often memory running out: elsewhere it may succeed.
    if ended.signal is not None:
        return failed("harness_killed", message, retryable=True)
    return failed("harness_failed", message)


def _said(workspace: Workspace) -> dict[str, Any]:
    try:
        return workspace.read_result()
    except ValueError:
        return {}
