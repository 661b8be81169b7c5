"""A large file as an artifact over several requests: what was cut goes on where the server stands
(draft-ietf-httpbis-resumable-upload)."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from keeptrusts_runners.runner.client import ApiError, Pause, Waits
from keeptrusts_runners.runner.transport import Answer, Content, Unreachable

PARTIAL = "application/partial-upload"
# One request's worth: what is in a proxy's limits, and no more is sent again than this.
PART_BYTES = 64 * 1024 * 1024
# Without a single byte more being taken.
PATIENCE_SECONDS = 120.0
_BEGINNINGS = 3
_TRY_ONCE: dict[str, Any] = {"patience": 0.0}


class Send(Protocol):
    """A request below the session's address, under its lease."""

    def __call__(self, method: str, path: str, **options: Any) -> Answer: ...


class ResumableUpload:
    """One file on its way. The lease is asked at each request; LeaseLost ends it."""

    def __init__(self, send: Send, pause: Pause, path: Path, query: Mapping[str, str]) -> None:
        self._send, self._pause, self._path = send, pause, path
        self._query, self._size = query, path.stat().st_size
        self._address = ""

    def run(self, media_type: str, key: str) -> dict[str, Any]:
        """The artifact. Raises ApiError or Unreachable once patience is over."""
        for number in range(_BEGINNINGS):
            # Another key for each: an upload that was lost is answered with itself by its own.
            fresh = hashlib.sha256(f"{key}\0{number}".encode()).hexdigest()[:40]
            offset = self._begin(media_type, fresh)
            try:
                return self._go_on(offset)
            except ApiError as error:
                if error.code != "upload_lost" or number == _BEGINNINGS - 1:
                    raise
        raise AssertionError("the last beginning returns or raises")

    def _begin(self, media_type: str, key: str) -> int:
        """Announce it; how much the server has of it, should it know it already."""
        headers = {"Upload-Complete": "?0", "Upload-Length": str(self._size)}
        answer = self._send(
            "POST",
            "/artifacts",
            content=Content(media_type),
            query=self._query,
            headers=headers,
            idempotency_key=key,
            patience=PATIENCE_SECONDS,
        )
        body = answer.body if isinstance(answer.body, dict) else {}
        self._address = f"/artifacts/{body.get('id', '')}"
        return 0 if answer.headers.get("idempotent-replayed") is None else self._offset()[0]

    def _go_on(self, offset: int) -> dict[str, Any]:
        waits = Waits(PATIENCE_SECONDS, self._pause)
        while True:
            try:
                made, offset = self._append(offset), min(offset + PART_BYTES, self._size)
                if made is not None:
                    return made
                waits = Waits(PATIENCE_SECONDS, self._pause)
            except (ApiError, Unreachable) as error:
                if not _is_about_the_offset(error):
                    waits.before_next_try(error)
                stood, complete = self._asked(waits)
                if complete:
                    return self._described()
                if stood > offset:
                    waits = Waits(PATIENCE_SECONDS, self._pause)
                offset = stood

    def _append(self, offset: int) -> dict[str, Any] | None:
        """Send the next part; the artifact, if it was the last."""
        length = min(PART_BYTES, self._size - offset)
        last = offset + length == self._size
        headers = {"Upload-Offset": str(offset), "Upload-Complete": "?1" if last else "?0"}
        part = Content(PARTIAL, path=self._path, length=length, offset=offset)
        answer = self._send(
            "PATCH", f"{self._address}/content", content=part, headers=headers, **_TRY_ONCE
        )
        return answer.body if last and isinstance(answer.body, dict) else None

    def _asked(self, waits: Waits) -> tuple[int, bool]:
        """Where the server stands, once it says so."""
        while True:
            try:
                return self._offset()
            except (ApiError, Unreachable) as error:
                waits.before_next_try(error)

    def _offset(self) -> tuple[int, bool]:
        """How many bytes the server has, and whether they are an artifact by now."""
        any_type = {"Accept": "*/*"}
        answer = self._send("HEAD", f"{self._address}/content", headers=any_type, **_TRY_ONCE)
        said = answer.headers
        return int(said.get("upload-offset", 0)), said.get("upload-complete") == "?1"

    def _described(self) -> dict[str, Any]:
        """The answer to the last part was lost: the artifact is there."""
        body = self._send("GET", self._address).body
        return body if isinstance(body, dict) else {}


def _is_about_the_offset(error: ApiError | Unreachable) -> bool:
    return isinstance(error, ApiError) and error.code in (
        "upload_offset_mismatch",
        "upload_completed",
    )
