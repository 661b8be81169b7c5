"""Asking for work: one claim at a time, on a thread, so that waiting for it holds up nothing."""

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from keeptrusts_runners.runner import VERSION
from keeptrusts_runners.runner.client import FIRST_DELAY, ApiError, Client, spread
from keeptrusts_runners.runner.options import Options
from keeptrusts_runners.runner.report import Report
from keeptrusts_runners.runner.tokens import ClientCredentials, SecretUnreadable
from keeptrusts_runners.runner.transport import Answer, Transport, Unreachable

ANSWER_SECONDS = 15.0
"""What an answer may take besides the waiting that was asked for."""

LAST_WORD_SECONDS = 5.0
DRAINED_SECONDS = 30.0
LONGEST_PAUSE = 300.0
_NEVER = float("inf")
_CUT_BY_A_PROXY = frozenset({408, 502, 504})
_TOKEN_ERRORS = frozenset({"invalid_client", "unauthorized_client", "invalid_grant"})


class CannotWork(Exception):
    """A refusal that asking again will not change; the message says what to do."""


class Claiming:
    """The claim that is under way, if any. `wake` is called, from its thread, when it is over.

    Everything is decided on the thread of the caller; the claim's own thread only waits.
    """

    def __init__(
        self,
        options: Options,
        transport: Transport,
        credentials: ClientCredentials,
        report: Report,
        wake: Callable[[], None],
    ) -> None:
        self._options = options
        self._report = report
        self._wake = wake
        # Connections of its own: cutting the claim that waits must cut nothing else.
        self._waiting = Transport(options.url)
        self._client = Client(self._waiting, credentials)
        self._last_client = Client(transport, credentials)
        self._claim_id = ""
        self._thread: threading.Thread | None = None
        self._outcome: Answer | Exception | None = None
        self._asked_at = self._due = 0.0
        self._asked_wait = 0
        self._longest_pause = FIRST_DELAY
        self._ask_plainly = self._unsettled = False
        self._away = self._drained = False
        self._asked_last = False
        self._over_at = _NEVER

    @property
    def under_way(self) -> bool:
        """Whether something may still come of a claim."""
        return self._thread is not None and time.monotonic() < self._over_at

    def ask(self, slots: int) -> float | None:
        """Have a claim for so many sessions under way as soon as the time for one has come.

        Answers in how many seconds to call again; None when only a wake-up can change anything.
        """
        if self._thread is not None or not slots:
            return None
        pause = self._due - time.monotonic()
        if pause > 0:
            return pause
        # After trouble first a plain question: whether all is well again is then known at once.
        self._asked_wait = 0 if self._ask_plainly else self._options.wait_seconds
        # The same id until there is an answer: a claim whose answer was lost is given again.
        self._claim_id = self._claim_id or str(uuid.uuid4())
        self._begin(self._client, slots, self._asked_wait, ANSWER_SECONDS)
        return None

    def take(self) -> list[dict[str, Any]]:
        """The sessions that the claim brought, once it is over. Raises CannotWork."""
        match self._collect():
            case None:
                return []
            case Answer() as answer:
                return self._answered(_items(answer))
            case ApiError() as error:
                self._refused(error)
            case Unreachable() | SecretUnreadable() as error:
                self._unanswered(error)
            case error:
                raise error
        return []

    def abandon(self) -> None:
        """The runner stops: cut the claim that waits. What it brought is left to `take_back`.

        The server may have claimed for it in this very moment, and the session would then wait
        for a whole lease. So the same claim is asked once more, without waiting and for no more
        than one session, since where nothing was claimed before this may take a fresh one.
        """
        self._over_at = time.monotonic() + LAST_WORD_SECONDS
        self._waiting.abort()
        self._ask_once_more()

    def take_back(self) -> list[dict[str, Any]]:
        """The sessions that came although the claim was abandoned, to be handed back."""
        outcome = self._collect()
        self._ask_once_more()
        return _items(outcome) if isinstance(outcome, Answer) else []

    def close(self) -> None:
        self._waiting.abort()
        self._waiting.close()

    # --- the thread ---------------------------------------------------------------------------

    def _begin(self, client: Client, slots: int, wait: int, answer_seconds: float) -> None:
        body, timeout = self._body(slots, wait), wait + answer_seconds
        self._outcome = None
        self._asked_at = time.monotonic()
        self._thread = threading.Thread(
            target=self._run, args=(client, body, timeout), name="claim", daemon=True
        )
        self._thread.start()

    def _run(self, client: Client, body: dict[str, Any], timeout: float) -> None:
        try:
            self._outcome = client.request(
                "POST", "/v1/runners/sessions/claim", body, patience=0.0, timeout=timeout
            )
        except Exception as error:
            self._outcome = error
        self._wake()

    def _body(self, slots: int, wait: int) -> dict[str, Any]:
        options = self._options
        executor: dict[str, Any] = {"name": options.name, "version": VERSION}
        body: dict[str, Any] = {"claim_id": self._claim_id, "max": slots, "wait_seconds": wait}
        if options.profiles:
            body["profiles"] = options.profiles
        if options.labels:
            body["labels"] = options.labels
            executor["labels"] = options.labels
        return {**body, "executor": executor}

    def _collect(self) -> Answer | Exception | None:
        """How the claim ended, once; None while it is under way and after that."""
        outcome = self._outcome
        if self._thread is None or outcome is None:
            return None
        self._thread.join()
        self._thread = self._outcome = None
        self._unsettled = isinstance(outcome, Unreachable) and outcome.sent
        return outcome

    def _ask_once_more(self) -> None:
        if self._unsettled and self._thread is None and not self._asked_last:
            self._asked_last = True
            self._begin(self._last_client, 1, 0, LAST_WORD_SECONDS)

    # --- what became of it --------------------------------------------------------------------

    def _answered(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        self._claim_id = ""
        self._say_back()
        self._ask_plainly = False
        if self._asked_wait == self._options.wait_seconds:
            self._longest_pause = FIRST_DELAY
            # An empty answer before its time is no invitation to ask again at once.
            waited = time.monotonic() - self._asked_at >= 0.9 * self._asked_wait > 0
            if not items and not waited:
                self._due = time.monotonic() + self._options.poll_seconds * spread(0.75, 1.25)
        return items

    def _unanswered(self, error: Exception) -> None:
        # A proxy may have cut a claim that waited: no news of the server, so ask that first.
        if not (self._asked_wait and isinstance(error, Unreachable) and error.sent):
            self._say_away(str(error))
        self._pause()

    def _refused(self, error: ApiError) -> None:
        """Wait out what may pass; a claim that is over is forgotten; the rest ends the runner."""
        if error.code == "executor_draining":
            asked = DRAINED_SECONDS if error.retry_after is None else error.retry_after
            pause = min(asked, LONGEST_PAUSE)
            self._say_drained(error, pause)
            self._pause(pause)
        elif error.may_pass:
            if not (self._asked_wait and error.status in _CUT_BY_A_PROXY):
                self._say_away(str(error))
            self._pause(error.retry_after or 0.0)
        elif error.status == 409:
            self._claim_id = ""
            self._pause()
        else:
            raise CannotWork(_reason(error, self._options.url)) from error

    def _pause(self, seconds: float = 0.0) -> None:
        """Ask again so much later at the earliest; while it goes on failing, ever more rarely."""
        longest = min(self._longest_pause, self._options.poll_seconds)
        self._longest_pause = 2 * longest
        soon = time.monotonic() + min(seconds, LONGEST_PAUSE) + spread(0.5, 1.0) * FIRST_DELAY
        # Counted from the asking: a claim that had waited for long is followed up soon.
        self._due = max(soon, self._asked_at + spread(longest / 2, longest))
        self._ask_plainly = True

    # --- what is said of it, once -------------------------------------------------------------

    def _say_away(self, reason: str) -> None:
        if not self._away:
            self._away = True
            self._report.say("runner.waiting", f"cannot claim now, trying on: {reason}")

    def _say_drained(self, error: ApiError, pause: float) -> None:
        self._say_answers_again()
        if self._drained:
            return
        self._drained = True
        reason = error.problem.get("reason")
        executor = error.problem.get("executor_id", "{id}")
        self._report.say(
            "runner.draining",
            f'runner "{self._options.name}" is drained{f" ({reason})" if reason else ""}: it is'
            " given no new sessions, and those that it runs go on. To have it work again, POST"
            f" /v1/runners/executors/{executor}/undrain: it asks every {pause:g} s. To retire it,"
            " stop it when they have ended",
            name=self._options.name,
            executor_id=error.problem.get("executor_id"),
            reason=reason,
            retry_after_seconds=pause,
        )

    def _say_back(self) -> None:
        self._say_answers_again()
        if self._drained:
            self._drained = False
            self._report.say(
                "runner.back",
                f'runner "{self._options.name}" is no longer drained: it gets sessions',
            )

    def _say_answers_again(self) -> None:
        if self._away:
            self._away = False
            self._report.say("runner.back", "the control plane answers again")


def _items(answer: Answer) -> list[dict[str, Any]]:
    items = answer.body.get("items") if isinstance(answer.body, dict) else None
    return items if isinstance(items, list) else []


def _reason(error: ApiError, url: str) -> str:
    if error.code in _TOKEN_ERRORS or error.status == 401:
        return (
            f"{url} does not accept this client id and secret ({error.code});"
            " check --client-id and --client-secret-file"
        )
    if error.status == 403:
        why = error.detail or error.code
        return f"this service account may not claim ({why}); give it the role runner"
    return f"the control plane refused the claim: {error}"
