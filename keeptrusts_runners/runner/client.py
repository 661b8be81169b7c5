"""The client: bearer tokens, problem documents as exceptions, and retries that have one effect.

Every request made through it may arrive twice without harm. Reads, heartbeats and endings are so
by the contract; events carry a ``client_id``, claims a ``claim_id``, and what creates carries an
``Idempotency-Key`` that stays the same over all tries.
"""

import http.client
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlencode

from keeptrusts_runners.runner.transport import (
    Answer,
    Content,
    Transport,
    Unreachable,
    read_answer,
)

FIRST_DELAY = 0.2
LONGEST_DELAY = 15.0

Pause = Callable[[float], bool]
"""Waits that many seconds; True when the wait was cut short and the caller should give up."""


class ApiError(Exception):
    """The server's refusal: an RFC 9457 problem, or an OAuth 2 error from the token endpoint."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        problem: Mapping[str, Any],
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" if detail else f"{status} {code}")
        self.status = status
        self.code = code
        self.detail = detail
        self.problem = problem
        self.retry_after = retry_after

    @classmethod
    def from_answer(cls, answer: Answer) -> "ApiError":
        problem = answer.body if isinstance(answer.body, dict) else {}
        code = problem.get("code") or problem.get("error") or f"http_{answer.status}"
        detail = (
            problem.get("detail") or problem.get("error_description") or problem.get("title") or ""
        )
        retry_after = _seconds(answer.headers.get("retry-after"))
        return cls(answer.status, str(code), str(detail), problem, retry_after)

    @property
    def may_pass(self) -> bool:
        """Whether the same request can succeed later: overload, a fault, or one still in flight."""
        in_flight = self.status == 409 and self.retry_after is not None
        return self.status >= 500 or self.status in (408, 429) or in_flight


class Credentials(Protocol):
    """Where a bearer token comes from."""

    def bearer(self) -> str:
        """The token to send now."""

    def renew(self, refused: str) -> bool:
        """After a 401 for `refused`: whether another token can be tried."""


def spread(least: float, most: float) -> float:
    """A random wait: runners that lost one server must not come back to it as one."""
    return random.uniform(least, most)  # noqa: S311 - nobody gains by guessing a wait


def sleep(seconds: float) -> bool:
    """The plain Pause: nothing cuts it short."""
    time.sleep(seconds)
    return False


class Client:
    """Requests to one control plane under one set of credentials; threads may share it."""

    def __init__(
        self, transport: Transport, credentials: Credentials, pause: Pause = sleep
    ) -> None:
        self._transport = transport
        self._credentials = credentials
        self._pause = pause

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: Content | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        patience: float = 60.0,
        timeout: float | None = None,
    ) -> Answer:
        """Send until a definite answer comes, at most `patience` seconds.

        `body` is sent as JSON, `content` as it is. Raises ApiError for a refusal, Unreachable
        when no answer came in that time.
        """
        if body is not None:
            content = Content.of_json(body)
        sent = {"X-Request-Id": str(uuid.uuid4()), **(headers or {})}
        if idempotency_key is not None:
            sent["Idempotency-Key"] = idempotency_key
        target = f"{path}?{urlencode(query)}" if query else path
        waits = Waits(patience, self._pause)
        while True:
            try:
                return self._once(method, target, sent, content, timeout)
            except (ApiError, Unreachable) as error:
                waits.before_next_try(error)

    def _once(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        content: Content | None,
        timeout: float | None,
    ) -> Answer:
        """One try; a refused token is renewed once within it."""
        token = self._credentials.bearer()
        for last_try in (False, True):
            signed = {**headers, "Authorization": f"Bearer {token}"}
            answer = self._transport.send(method, target, signed, content, timeout)
            if answer.status < 300:
                return answer
            if last_try or answer.status != 401 or not self._credentials.renew(token):
                break
            token = self._credentials.bearer()
        raise ApiError.from_answer(answer)

    @contextmanager
    def open(self, path: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """One GET whose answer is read piece by piece. Raises ApiError, Unreachable."""
        token = self._credentials.bearer()
        for last_try in (False, True):
            signed = {"X-Request-Id": str(uuid.uuid4()), **headers}
            signed |= {"Accept": "*/*", "Authorization": f"Bearer {token}"}
            with self._transport.open(path, signed) as response:
                if response.status < 300:
                    yield response
                    return
                error = ApiError.from_answer(read_answer(response))
            if last_try or error.status != 401 or not self._credentials.renew(token):
                raise error
            token = self._credentials.bearer()


class Waits:
    """Decides between tries: how long to wait, and when to stop trying."""

    def __init__(self, patience: float, pause: Pause) -> None:
        self._ends = time.monotonic() + patience
        self._pause = pause
        self._ceiling = FIRST_DELAY

    def before_next_try(self, error: ApiError | Unreachable) -> None:
        """Wait, or raise `error` when it is definite or time is over."""
        asked = None
        if isinstance(error, ApiError):
            if not error.may_pass:
                raise error
            asked = error.retry_after
        delay = spread(self._ceiling / 2, self._ceiling) + (asked or 0.0)
        self._ceiling = min(self._ceiling * 2, LONGEST_DELAY)
        if time.monotonic() + delay > self._ends or self._pause(delay):
            raise error


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After field, which may also be a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
