"""A client of event streams over real HTTP, which reads what stands there line by line."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from sessions.models import RunnerSession
from tests import factories
from tests.people import Org, token_of

PATIENCE = 30
PROCESSES = Path(__file__).with_name("processes")


def patched(**modules: Mapping[str, Any]) -> dict[str, str]:
    """For tests.live.serving: a server with these names of these modules changed; `__` is a dot."""
    patches = {module.replace("__", "."): names for module, names in modules.items()}
    return {"PYTHONPATH": str(PROCESSES), "PATCHES": json.dumps(patches)}


def record(org: Org, session: RunnerSession, number: int, **event: Any) -> None:
    """So many events of the session's executor."""
    events = [{"kind": "log", "message": f"number {n}"} | event for n in range(number)]
    answer = org.runner.api.post(factories.path(session, "events"), {"events": events})
    assert answer.status_code == 200, answer.content


def complete(org: Org, session: RunnerSession) -> None:
    answer = org.runner.api.patch(factories.path(session), {"state": "completed"})
    assert answer.status_code == 200, answer.content


def follow(url: str, org: Org, session: RunnerSession, query: str = "", **headers: str) -> Stream:
    """The session's stream as a viewer of its organization reads it."""
    path = factories.path(session, f"events/stream{query}")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Stream(url, path, token_of(org.viewer.principal), named)


@dataclass
class Message:
    """One event as a browser would see it; `name` is empty for a mere move of the id."""

    name: str = ""
    id: int | None = None
    data: Any = None


@dataclass
class Stream:
    """An open stream, or the refusal in its place. `comments` counts heartbeats."""

    url: str
    path: str
    token: str
    headers: dict[str, str] = field(default_factory=dict)
    comments: int = 0

    def __post_init__(self) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        self.connection.request("GET", self.address, headers=self.sent | self.headers)
        self.answer = self.connection.getresponse()
        self.status = self.answer.status

    @property
    def address(self) -> str:
        return f"/v1{self.path}"

    @property
    def sent(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}", "Accept": "text/event-stream"}

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.answer.close()
        self.connection.close()

    def __iter__(self) -> Iterator[Message]:
        """Until the server ends the answer."""
        lines: list[str] = []
        for raw in self.answer:
            line = raw.decode().removesuffix("\n")
            if line:
                lines.append(line)
            elif lines:
                message, lines = self._message(lines), []
                if message:
                    yield message

    def _message(self, lines: list[str]) -> Message | None:
        fields = dict(line.partition(": ")[::2] for line in lines)
        if set(fields) <= {":", "retry"}:
            self.comments += ":" in fields
            return None
        data, number = fields.get("data"), fields.get("id")
        return Message(
            fields.get("event", ""),
            None if number is None else int(number),
            None if data is None else json.loads(data),
        )

    def take(self, number: int) -> list[Message]:
        """The next so many."""
        messages = iter(self)
        return [next(messages) for _ in range(number)]


class Signals(Stream):
    """What an open page is told; `token` is the key of its browser's session."""

    @property
    def address(self) -> str:
        return f"/runners/stream?topics={self.path}"

    @property
    def sent(self) -> dict[str, str]:
        cookie = f"{settings.SESSION_COOKIE_NAME}={self.token}"
        return {"Cookie": cookie, "Accept": "text/event-stream"}
