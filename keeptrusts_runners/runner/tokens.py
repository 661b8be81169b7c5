"""The two kinds of bearer token a runner holds: its own, and one per claimed session."""

import base64
import os
import threading
import time
from pathlib import Path
from urllib.parse import quote

from keeptrusts_runners.runner.client import ApiError
from keeptrusts_runners.runner.transport import Content, Transport

RENEWED_AT = 0.75
"""Share of its life after which a token is renewed, so that a slow request cannot outlive it."""


class SecretUnreadable(Exception):
    """The client secret's file is missing, empty, or not readable."""


class ClientCredentials:
    """The executor's own token, by ``client_credentials`` with HTTP Basic (RFC 6749, 4.4)."""

    def __init__(self, transport: Transport, client_id: str, secret_file: Path) -> None:
        self._transport = transport
        self._client_id = client_id
        self._secret_file = secret_file
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
        asked_at = time.monotonic()
        answer = self._transport.send(
            "POST",
            "/v1/auth/token",
            {"Authorization": f"Basic {self._basic()}"},
            Content.of_form("grant_type=client_credentials"),
        )
        if answer.status != 200 or not isinstance(answer.body, dict):
            raise ApiError.from_answer(answer)
        self._token = str(answer.body["access_token"])
        self._fresh_until = asked_at + RENEWED_AT * float(answer.body.get("expires_in", 60))

    def _basic(self) -> str:
        # The file is read each time: a rotated secret is picked up without a restart.
        pair = f"{quote(self._client_id, safe='')}:{quote(read_secret(self._secret_file), safe='')}"
        return base64.b64encode(pair.encode()).decode()


def read_secret(path: Path) -> str:
    """The secret in the file, without surrounding white space."""
    try:
        secret = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SecretUnreadable(f"cannot read the client secret in {path}: {reason}") from error
    if not secret:
        raise SecretUnreadable(f"the client secret file {path} is empty")
    return secret


class SessionToken:
    """A session's token: handed out by the claim, replaced by heartbeats, shared by a file."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._file: Path | None = None

    def bearer(self) -> str:
        return self._token

    def renew(self, refused: str) -> bool:
        # Only a heartbeat brings another one; it may have come while the request was under way.
        return self._token != refused

    def keep_in(self, file: Path) -> None:
        """From now on hold the token in this file as well, for the harness to read."""
        self._file = file
        self._write()

    def replace(self, token: str) -> None:
        self._token = token
        self._write()

    def _write(self) -> None:
        if self._file is not None:
            replace_file(self._file, self._token.encode())


def replace_file(path: Path, data: bytes) -> None:
    """Give the file new content in one step, readable by its owner alone."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    fresh.replace(path)
