"""A person's view of the API: the reference runner's client, signed in with a password."""

from __future__ import annotations

import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from keeptrusts_runners.runner.client import ApiError, Client
from keeptrusts_runners.runner.transport import Content, Transport

# The server is on this machine: one that is silent for longer has ended.
PATIENCE_SECONDS = 5.0


class PasswordCredentials:
    """A user's access token, renewed before it ends."""

    def __init__(self, transport: Transport, organization: str, email: str, password: str) -> None:
        self._transport = transport
        self._form = {
            "grant_type": "password",
            "username": email,
            "password": password,
            "organization": organization,
        }
        self._lock = threading.Lock()
        self._token = ""
        self._fresh_until = 0.0

    def bearer(self) -> str:
        with self._lock:
            if time.monotonic() >= self._fresh_until:
                self._fetch()
            return self._token

    def renew(self, refused: str) -> bool:
        with self._lock:
            if self._token == refused:
                self._fetch()
            return True

    def _fetch(self) -> None:
        form = Content.of_form(urlencode(self._form))
        answer = self._transport.send("POST", "/v1/auth/token", {}, form, None)
        if answer.status != 200:
            raise ApiError.from_answer(answer)
        self._token = answer.body["access_token"]
        self._fresh_until = time.monotonic() + answer.body["expires_in"] / 2


class DemoClient:
    """`call` answers the decoded body, and raises ApiError for a refusal."""

    def __init__(self, url: str, organization: str, email: str, password: str) -> None:
        self.credentials = PasswordCredentials(Transport(url), organization, email, password)
        self._client = Client(Transport(url), self.credentials)
        self._url = url

    def call(self, method: str, path: str, body: Any = None) -> Any:
        key = str(uuid.uuid4()) if method == "POST" else None
        return self._client.request(
            method, path, body, idempotency_key=key, patience=PATIENCE_SECONDS
        ).body

    def pages(self, path: str, **query: str) -> Iterator[Any]:
        """Every item of a list."""
        while True:
            answer = self._client.request("GET", path, query=query, patience=PATIENCE_SECONDS).body
            yield from answer["items"]
            if answer["next_cursor"] is None:
                return
            query["cursor"] = answer["next_cursor"]

    def download(self, path: str) -> bytes:
        """A body as it is."""
        signed = {"Authorization": f"Bearer {self.credentials.bearer()}"}
        request = urllib.request.Request(self._url + path, headers=signed)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  (our own server)
            return bytes(answer.read())
